"""What follows from a write: defaults, derived times, checks of links. Knows the kinds one by one.

`on_add` and `on_change` complete the new record in place; both refuse what Pipedrive would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

from pipeflow.sandbox.answers import Record, RefusedError
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.kinds import LINKS, is_deleted, noun


class Records(Protocol):
    """What rules may see of a company."""

    tables: dict[str, dict[Any, Record]]

    def find(self, kind: str, record_id: Any) -> Record | None:
        """Give a record, None if there is none."""

    def get(self, kind: str, record_id: Any) -> Record:
        """Give a record; refuses with 404."""

    def living(self, kind: str) -> Iterator[Record]:
        """Go through what is not deleted."""


Rule: TypeAlias = Callable[[Records, Record | None, Record, Record, Actor, str], None]


def on_add(company: Records, kind: str, record: Record, given: Record, actor: Actor, now: str) -> None:
    """Complete a new record."""
    if "owner_id" in record and record["owner_id"] is None:
        record["owner_id"] = actor.user_id
    _check_links(company, given)
    if rule := RULES.get(kind):
        rule(company, None, record, given, actor, now)


def on_change(
    company: Records, kind: str, before: Record, after: Record, given: Record, actor: Actor, now: str
) -> None:
    """Complete a changed record."""
    _check_links(company, given)
    if rule := RULES.get(kind):
        rule(company, before, after, given, actor, now)


def children(company: Records, kind: str, record_id: Any) -> Iterator[tuple[str, Any]]:
    """List what is deleted together with a record."""
    links = {
        "pipeline": (("stage", "pipeline_id"),),
        "board": (("phase", "board_id"), ("project", "board_id")),
        "project": (("task", "project_id"),),
        "deal": (("deal_product", "deal_id"), ("deal_installment", "deal_id")),
    }
    for child, link in links.get(kind, ()):
        for record in company.living(child):
            if record[link] == record_id:
                yield child, record["id"]


def _check_links(company: Records, given: Record) -> None:
    for name, kind in LINKS.items():
        target = given.get(name)
        if target is None:
            continue
        record = company.find(kind, target)
        if record is None or (is_deleted(record) and kind != "user"):
            raise RefusedError(f"{noun(kind)} with {name} {target} was not found", 400, code="ERR_REFERENCE_NOT_FOUND")


def _deal(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    if before is None:
        after["creator_user_id"] = after["creator_user_id"] or actor.user_id
    _place(company, before, after, given)
    if before is not None and before["stage_id"] != after["stage_id"]:
        after["stage_change_time"] = now
    _settle(before, after, given, now)
    if after["is_archived"] and not (before and before["is_archived"]):
        after["archive_time"] = after["archive_time"] or now
    if not after["is_archived"]:
        after["archive_time"] = None


def _place(company: Records, before: Record | None, after: Record, given: Record) -> None:
    """Settle stage and pipeline: each follows the other where only one is given."""
    if given.get("stage_id") is not None:
        home = company.get("stage", given["stage_id"])["pipeline_id"]
        if given.get("pipeline_id") not in (None, home):
            raise RefusedError("The stage does not belong to the given pipeline", 400, code="ERR_INVALID_STAGE")
        after["pipeline_id"] = home
        return
    moved = before is not None and given.get("pipeline_id") not in (None, before["pipeline_id"])
    if before is not None and not moved:
        after["stage_id"], after["pipeline_id"] = before["stage_id"], before["pipeline_id"]
        return
    if after["pipeline_id"] is None:
        after["pipeline_id"] = next(company.living("pipeline"))["id"]
    stages = [stage for stage in company.living("stage") if stage["pipeline_id"] == after["pipeline_id"]]
    if not stages:
        raise RefusedError("The pipeline has no stage", 400)
    after["stage_id"] = min(stages, key=lambda stage: (stage["order_nr"], stage["id"]))["id"]


def _settle(before: Record | None, after: Record, given: Record, now: str) -> None:
    """Derive the times that belong to a deal's status."""
    status, old = after["status"], before["status"] if before else "open"
    if status == "open":
        after |= {"won_time": None, "lost_time": None, "close_time": None, "lost_reason": None}
    if status == "won":
        fresh = None if before is None or old != "won" else after["won_time"]
        after["won_time"] = given.get("won_time") or fresh or now
        after["first_won_time"] = after["first_won_time"] or after["won_time"]
        after |= {"lost_time": None, "lost_reason": None, "close_time": given.get("close_time") or after["won_time"]}
    if status == "lost":
        fresh = None if before is None or old != "lost" else after["lost_time"]
        after["lost_time"] = given.get("lost_time") or fresh or now
        after |= {"won_time": None, "close_time": given.get("close_time") or after["lost_time"]}


def _person(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    if "name" in given:
        first, _, last = str(given["name"] or "").partition(" ")
        after["first_name"], after["last_name"] = first or None, last or None
    elif "first_name" in given or "last_name" in given:
        after["name"] = " ".join(part for part in (after["first_name"], after["last_name"]) if part)
    for name in ("emails", "phones"):
        if name in given:
            after[name] = with_primary(given[name] or [])


def with_primary(items: list[Record]) -> list[Record]:
    """Complete e-mails or phones: the label is `work` by default, the first is primary if none is."""
    chosen = next((number for number, item in enumerate(items) if item.get("primary")), 0)
    return [
        {"label": item.get("label") or "work", "value": item.get("value"), "primary": number == chosen}
        for number, item in enumerate(items)
    ]


def _activity(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    types = {one["key_string"]: one["name"] for one in company.living("activityType")}
    if before is None:
        after["creator_user_id"] = after["creator_user_id"] or actor.user_id
        after["type"] = after["type"] or next(iter(types))
    else:
        after["update_user_id"] = actor.user_id
    if "type" in given and after["type"] not in types:
        raise RefusedError(f"Activity type {after['type']} does not exist", 400)
    after["subject"] = after["subject"] or types.get(after["type"], "")
    _attend(before, after, given)
    for name in ("due_time", "duration"):
        if after[name] and len(after[name]) == 5:
            after[name] += ":00"
    if after["done"] and not (before and before["done"]):
        after["marked_as_done_time"] = now
    if not after["done"]:
        after["marked_as_done_time"] = None


def _attend(before: Record | None, after: Record, given: Record) -> None:
    """Keep `person_id` and the primary participant the same."""
    if "participants" in given:
        people = [one for one in given["participants"] or [] if one.get("person_id") is not None]
        primary = next((one for one in people if one.get("primary")), people[0] if people else None)
        after["person_id"] = primary["person_id"] if primary else None
        after["participants"] = [{"person_id": one["person_id"], "primary": one is primary} for one in people]
    elif given.get("person_id") is not None:
        after["participants"] = [{"person_id": given["person_id"], "primary": True}]
    elif "person_id" in given:
        after["participants"] = []


def _lead(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    if before is None:
        after["creator_id"] = after["creator_id"] or actor.user_id
    if after["person_id"] is None and after["organization_id"] is None:
        raise RefusedError("A lead must be linked to a person or an organization", 400)


def _note(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    if before is None:
        after["user_id"] = after["user_id"] or actor.user_id
    else:
        after["last_update_user_id"] = actor.user_id
    if not any(after[name] for name in ("deal_id", "person_id", "org_id", "lead_id", "project_id", "task_id")):
        raise RefusedError("A note must be linked to a deal, person, organization, lead or project", 400)


def _ordered(table: str, within: str | None) -> Rule:
    def rule(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
        if before is None and "order_nr" not in given:
            beside = [one for one in company.living(table) if within is None or one[within] == after[within]]
            after["order_nr"] = max((one["order_nr"] for one in beside), default=0) + 1

    return rule


def _activity_type(
    company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str
) -> None:
    if before is None:
        after["key_string"] = after["key_string"] or after["name"].lower().replace(" ", "_")
        after["order_nr"] = after["order_nr"] or len(company.tables["activityType"]) + 1


def _project(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    if before is not None and before["status"] != after["status"]:
        after["status_change_time"] = now


def _task(company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str) -> None:
    if before is None:
        after["creator_id"] = after["creator_id"] or actor.user_id
    if after["is_done"] and not (before and before["is_done"]):
        after["marked_as_done_time"] = now
    if not after["is_done"]:
        after["marked_as_done_time"] = None


def _deal_product(
    company: Records, before: Record | None, after: Record, given: Record, actor: Actor, now: str
) -> None:
    if before is None:
        product = company.get("product", after["product_id"])
        after["name"] = product["name"]
        after["currency"] = company.get("deal", after["deal_id"])["currency"]
    total = after["item_price"] * after["quantity"]
    off = total * after["discount"] / 100 if after["discount_type"] == "percentage" else after["discount"]
    after["sum"] = round(total - off, 2)


RULES: dict[str, Rule] = {
    "deal": _deal,
    "person": _person,
    "activity": _activity,
    "lead": _lead,
    "note": _note,
    "pipeline": _ordered("pipeline", None),
    "stage": _ordered("stage", "pipeline_id"),
    "board": _ordered("board", None),
    "phase": _ordered("phase", "board_id"),
    "activityType": _activity_type,
    "project": _project,
    "task": _task,
    "deal_product": _deal_product,
}
