"""Webhooks: which there are, what is sent to them, when one is banned or deleted.

The registrations are kept with their company; sending is the sender's.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import orjson

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.clock import Clock
from pipeflow.sandbox.company import Change, Company
from pipeflow.sandbox.hook_bodies import body_v1, body_v2
from pipeflow.sandbox.sender import Delivery, Sender, Try

if TYPE_CHECKING:
    from collections.abc import Iterable

OBJECTS_V1: Final = frozenset(
    {"activity", "activityType", "deal", "note", "organization", "person", "pipeline", "product", "stage", "user"}
)
OBJECTS_V2: Final = frozenset(
    [
        "activity",
        "deal",
        "lead",
        "note",
        "organization",
        "person",
        "pipeline",
        "product",
        "stage",
        "user",
        "deal_product",
        "deal_installment",
        "project",
        "task",
        "board",
        "phase",
        "dealField",
        "personField",
        "organizationField",
        "productField",
        "projectField",
        "leadField",
    ]
)
ACTIONS: Final = {"1.0": ("added", "updated", "deleted", "merged"), "2.0": ("create", "change", "delete")}
BAN_AFTER: Final = 10
BAN_SECONDS: Final = 30 * 60.0
DARK_SECONDS: Final = 3 * 86400.0
LIMIT: Final = 40
HIDDEN: Final = frozenset({"failures", "banned_until", "dark_since", "client_id"})


class Modes:
    """How deliveries are made where Pipedrive's way is not published, and the mischief of a test.

    `duplicates` sends each delivery that many times more; `reorder` delays each by a random part of so many seconds;
    `hold` keeps deliveries back until it is taken away, and `order` (`first`, `last`, `shuffled`) is how they then go;
    `shared_event_id` gives the deliveries of one event to several webhooks one `meta.id`; `ban` can be switched off,
    `ban_resets` sets the counter back at a success; `remove_listed` keeps a deleted webhook in the list, inactive.
    """

    def __init__(self) -> None:
        self.duplicates = 0
        self.reorder = 0.0
        self.hold = False
        self.order = "first"
        self.shared_event_id = True
        self.ban = True
        self.ban_resets = False
        self.remove_listed = True


class Webhooks:
    """The webhooks of all companies."""

    def __init__(self, companies: dict[str, Company], clock: Clock, seed: int, keep: int) -> None:
        self._companies = companies
        self._clock = clock
        self._chance = random.Random(f"{seed}/deliveries")  # noqa: S311
        self.modes = Modes()
        self.sender = Sender(clock, self.target, self._settle, keep)
        self._held: list[Delivery] = []

    # Registrations

    def add(self, company: Company, owner: int, client_id: str | None, values: Record) -> Record:
        """Register a webhook."""
        number = company.next_number("webhook")
        webhook: Record = {
            "id": number,
            "company_id": company.id,
            "owner_id": owner,
            "user_id": values.get("user_id") or owner,
            "admin_id": owner,
            "event_action": values["event_action"],
            "event_object": values["event_object"],
            "subscription_url": values["subscription_url"],
            "version": values["version"],
            "type": "application" if client_id else "general",
            "name": values.get("name"),
            "is_active": 1,
            "add_time": self._clock.stamp(),
            "remove_time": None,
            "remove_reason": None,
            "last_delivery_time": None,
            "last_http_status": None,
            "http_auth_user": values.get("http_auth_user"),
            "http_auth_password": values.get("http_auth_password"),
            "failures": 0,
            "banned_until": None,
            "dark_since": None,
            "client_id": client_id,
        }
        company.webhooks[number] = webhook
        return webhook

    def remove(self, company: Company, webhook: Record, reason: str | None = None) -> None:
        """Remove a webhook; one that Pipedrive removed itself (`reason`) may stay in the list, inactive."""
        if reason is None or not self.modes.remove_listed:
            company.webhooks.pop(webhook["id"], None)
        webhook |= {"is_active": 0, "remove_time": self._clock.stamp(), "remove_reason": reason}

    def ban(self, webhook: Record) -> None:
        """Ban a webhook for 30 minutes."""
        webhook |= {"banned_until": self._clock.seconds() + BAN_SECONDS, "failures": 0}

    def expire(self) -> None:
        """Remove the webhooks that have been dark for three days."""
        for company in self._companies.values():
            for webhook in list(company.webhooks.values()):
                since = webhook["dark_since"]
                if webhook["is_active"] and since is not None and self._clock.seconds() - since >= DARK_SECONDS:
                    self.remove(company, webhook, "no successful delivery on three days")

    # Deliveries

    def publish(self, change: Change) -> None:
        """Deliver a change to every webhook that asks for it."""
        self.expire()
        for number, webhook in enumerate(self._matching(change)):
            shared = number == 0 or self.modes.shared_event_id
            event_id = change.event_id if shared else change.event_id[:-4] + f"{number:04x}"
            body = body_v1(change, webhook) if webhook["version"] == "1.0" else body_v2(change, webhook, event_id)
            for copy in range(1 + self.modes.duplicates):
                self._deliver(change, webhook, event_id, orjson.dumps(body), copy > 0)

    def _matching(self, change: Change) -> Iterable[Record]:
        record = change.after or change.before or {}
        for webhook in list(change.company.webhooks.values()):
            if not webhook["is_active"] or not wants(webhook, change):
                continue
            viewer = change.company.tables["user"].get(webhook["user_id"])
            if viewer is None or change.company.may_see(viewer, record):
                yield webhook

    def _deliver(self, change: Change, webhook: Record, event_id: str, payload: bytes, duplicate: bool) -> None:
        delivery = Delivery(
            number=self.sender.next_number(),
            company=change.company.domain,
            webhook_id=webhook["id"],
            event_id=event_id,
            kind=change.kind,
            record_id=str(change.record_id),
            action=change.action,
            version=webhook["version"],
            time=change.time,
            payload=payload,
            duplicate=duplicate,
        )
        self.sender.keep(delivery)
        if self._banned(webhook):
            delivery.status = "dropped"
            return
        if self.modes.hold:
            self._held.append(delivery)
            return
        self.sender.send(delivery, delay=self._chance.uniform(0, self.modes.reorder) if self.modes.reorder else 0.0)

    def again(self, number: int) -> Delivery | None:
        """Send a kept delivery once more, as a retry after a slow answer does."""
        kept = self.sender.find(number)
        if kept is not None:
            self.sender.send(kept)
        return kept

    def set_modes(self, **wanted: Any) -> None:
        """Change modes; a ValueError names the ones there are. Held deliveries go when `hold` is taken away."""
        known = vars(self.modes)
        if unknown := sorted(set(wanted) - set(known)):
            raise ValueError(f"there is no mode {', '.join(unknown)}; there are {', '.join(known)}")
        for name, value in wanted.items():
            setattr(self.modes, name, value)
        if not self.modes.hold:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        if self.modes.order == "last":
            held.reverse()
        if self.modes.order == "shuffled":
            self._chance.shuffle(held)
        for delivery in held:
            self.sender.send(delivery)

    def _banned(self, webhook: Record) -> bool:
        until = webhook["banned_until"]
        return self.modes.ban and until is not None and self._clock.seconds() < until

    def target(self, delivery: Delivery) -> Record | None:
        """Give the webhook of a delivery while it is active."""
        company = self._companies.get(delivery.company)
        webhook = company.webhooks.get(delivery.webhook_id) if company else None
        return webhook if webhook and webhook["is_active"] else None

    def _settle(self, delivery: Delivery, webhook: Record, attempt: Try) -> None:
        """Keep the books of a webhook after an attempt."""
        webhook |= {"last_delivery_time": attempt.time, "last_http_status": attempt.status}
        if attempt.ok:
            webhook["dark_since"] = None
            if self.modes.ban_resets:
                webhook["failures"] = 0
            return
        if webhook["dark_since"] is None:
            webhook["dark_since"] = self._clock.seconds()
        if len(delivery.attempts) == 1 and self.modes.ban and not delivery.duplicate:
            webhook["failures"] += 1
            if webhook["failures"] >= BAN_AFTER:
                self.ban(webhook)


def wants(webhook: Record, change: Change) -> bool:
    """Tell whether a webhook asks for a change."""
    old = webhook["version"] == "1.0"
    if change.kind not in (OBJECTS_V1 if old else OBJECTS_V2):
        return False
    if webhook["event_object"] not in ("*", change.kind):
        return False
    return webhook["event_action"] in ("*", _action(change, old=old)) and not (old and "merged_to_id" in change.meta)


def _action(change: Change, *, old: bool) -> str:
    if not old:
        return change.action
    if "merged_from_id" in change.meta:
        return "merged"
    return {"create": "added", "change": "updated", "delete": "deleted"}[change.action]


def shown(webhook: Record) -> Record:
    """Show a webhook as the API does; whether the password is masked there is not known, here it is."""
    data = {name: value for name, value in webhook.items() if name not in HIDDEN}
    return data | {"http_auth_password": "***" if webhook["http_auth_password"] else None}
