"""Which webhooks are to be made, kept and removed: compares what is there with what handlers need. No I/O.

Imports events, sources and the rows. Pipedrive cannot change a webhook, only make and delete one, and it shows no
password: which credentials one has is told by a mark in its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pipeflow.client.v1.models import Webhook as PipedriveWebhook
from pipeflow.engine.sources import ONLY_BY_POLLING, Need
from pipeflow.events import pipedrive_action
from pipeflow.store.base import Account, Webhook

VERSION = "2.0"
NAME = "pipeflow"
MOST = 40
"""Webhooks that one user may have, ours and others'."""
_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class Removal:
    """A webhook of ours that goes, and why."""

    webhook: Webhook
    why: str


@dataclass(frozen=True, slots=True)
class Want:
    """What our webhooks of one account must be like. `known` are the ids of those that we made."""

    account: Account
    url: str
    mark: str
    user_id: int | None
    known: frozenset[int]


@dataclass
class Plan:
    """What a sync of one account does. `lost`: a webhook that there was is not there, or does not work."""

    account: Account
    add: list[Need] = field(default_factory=list)
    keep: list[Webhook] = field(default_factory=list)
    remove: list[Removal] = field(default_factory=list)
    crowded: bool = False
    lost: bool = False


def name_of(need: Need, mark: str) -> str:
    """Name a webhook of ours: `pipeflow change.deal #1f0c93ab`."""
    return f"{NAME} {need[0]}.{need[1]} #{mark}"


def is_ours(webhook: PipedriveWebhook, url: str | None = None, known: Collection[int] = ()) -> bool:
    """Say whether we made a webhook: its name tells, and where a name alone might be another pipeflow's, its address.

    `url` is where our webhooks of the company lead, `known` the ids of those that this installation made.
    """
    if not (webhook.name or "").startswith(NAME):
        return False
    return url is None or webhook.subscription_url == url or webhook.id in known


def row_of(account: Account, found: PipedriveWebhook, now: float) -> Webhook:
    """Give a webhook as we keep it."""
    return Webhook(
        id=int(found.id or 0),
        company=account.company,
        account_id=account.id,
        action=found.event_action or "*",
        object=found.event_object or "*",
        url=found.subscription_url or "",
        version=str(found.version or ""),
        name=found.name or "",
        active=bool(found.is_active) and not found.remove_time,
        seen_at=now,
    )


def plan(found: Sequence[PipedriveWebhook], wanted: Collection[Need], want: Want, now: float) -> Plan:
    """Compare what is at Pipedrive with what is wanted (action and object in Pipedrive's words)."""
    ours = [one for one in found if is_ours(one, want.url, want.known)]
    others = sum(1 for one in found if one not in ours and _is_of(one, want.account))
    needs = set(wanted) if others + len(wanted) <= MOST else {("*", "*")}
    made = Plan(want.account)
    missing = set(needs)
    for one in sorted(ours, key=lambda one: int(one.id or 0)):
        row = row_of(want.account, one, now)
        need = (row.action, row.object)
        why = None if need not in needs else _fault(one, row, want)
        if why is None and need in missing:
            missing.discard(need)
            made.keep.append(row)
            continue
        made.lost = made.lost or (why is not None and row.id in want.known)
        made.remove.append(Removal(row, why or ("is there twice" if need in needs else "is needed by no handler")))
    made.add = sorted(missing)
    seen = {int(one.id or 0) for one in ours}
    made.lost = made.lost or bool(missing and want.known - seen)
    made.crowded = others + len(ours) + len(missing) > MOST
    return made


def _is_of(webhook: PipedriveWebhook, account: Account) -> bool:
    return webhook.owner_id == account.user_id and bool(webhook.is_active)


def _fault(found: PipedriveWebhook, row: Webhook, want: Want) -> str | None:
    """Say what is wrong with a webhook of ours that is needed."""
    if not row.active:
        return f"was removed by Pipedrive ({getattr(found, 'remove_reason', None) or 'no reason given'})"
    if row.url != want.url:
        return f"leads to {row.url}"
    if row.version != VERSION:
        return f"has version {row.version}"
    if row.name != name_of((row.action, row.object), want.mark):
        return "has other credentials than are in force"
    if want.user_id is not None and found.user_id != want.user_id:
        return f"sees what user {found.user_id} may see"
    status = _number(found.last_http_status)
    if status is not None and status not in _OK:
        return f"got {status or 'no answer'} at its last delivery, and may be banned"
    return None


def _number(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def fewest(needs: Iterable[Need]) -> set[Need]:
    """Give the fewest webhooks that cover the needs (action and noun in our words), in Pipedrive's words."""
    wanted = {need for need in needs if need[1] not in ONLY_BY_POLLING}
    if ("*", "*") in wanted:
        return {("*", "*")}
    nouns = {noun for _, noun in wanted if noun != "*"}
    found: set[Need] = {need for need in wanted if need[1] == "*"}
    everywhere = {action for action, _ in found}
    for noun in nouns:
        actions = {action for action, its in wanted if its == noun} - everywhere
        found |= {("*", noun)} if "*" in actions or len(actions) > 1 else {(action, noun) for action in actions}
    return {(action if action == "*" else pipedrive_action(action), noun) for action, noun in found}
