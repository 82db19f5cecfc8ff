"""Generation 2: list, read, add, change and delete records of every kind it knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from pipeflow.sandbox.answers import Answer, Record, RefusedError, invalid, missing, ok
from pipeflow.sandbox.clock import parse, stamp
from pipeflow.sandbox.custom import ADDRESS, read_v2
from pipeflow.sandbox.filters import by_query
from pipeflow.sandbox.kinds import CUSTOM_KINDS, is_deleted, noun
from pipeflow.sandbox.paging import cursor_page
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.shapes_v2 import Shape2
from pipeflow.sandbox.validate import settle_nulls

RESOURCES: Final = {
    "deal": "deals",
    "person": "persons",
    "organization": "organizations",
    "activity": "activities",
    "product": "products",
    "pipeline": "pipelines",
    "stage": "stages",
    "project": "projects",
    "task": "tasks",
    "board": "boards",
    "phase": "phases",
}
UNPAGED: Final = frozenset({"board", "phase"})
CONTACT_SYNC: Final = ("postal_address", "notes", "im", "birthday", "job_title")
CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
VISIBLE_TO: Final = (1, 3, 5, 7)
MOMENTS: Final = ("add_time", "close_time", "won_time", "lost_time", "archive_time")


def shape(call: Call) -> Shape2:
    """Make the shape that the query asks for."""
    keys = call.listed("custom_fields")
    return Shape2(
        call.company,
        include=call.listed("include_fields"),
        keys=keys or None,
        option_labels=bool(call.flag("include_option_labels")),
        labels=bool(call.flag("include_labels")),
    )


def page(call: Call, kind: str, records: Iterable[Record]) -> Answer:
    """Answer a page of records by cursor."""
    visible = [record for record in records if call.company.may_see(call.user, record)]
    cut, following = cursor_page(
        visible,
        sort_by=call.query.get("sort_by", "id"),
        direction=call.query.get("sort_direction", "asc"),
        limit=call.number("limit", 100) or 100,
        cursor=call.query.get("cursor"),
    )
    shown = shape(call)
    return ok([shown.show(kind, record) for record in cut], {"next_cursor": following})


def listing(kind: str, call: Call) -> Answer:
    """List living records; deleted deals only where the status asks for them, archived ones never."""
    records: Iterable[Record] = call.company.living(kind)
    if kind == "deal":
        records = _deals(call, archived=False)
    if kind == "project":
        records = [record for record in records if record["archive_time"] is None]
    found = by_query(call, kind, records)
    if kind == "activity" and (done := call.flag("done")) is not None:
        found = [record for record in found if record["done"] == done]
    if kind == "person" and (deal_id := call.number("deal_id")) is not None:
        deal = call.company.get("deal", deal_id)
        people = {deal["person_id"], *call.company.extras.get(f"participants/{deal_id}", ())}
        found = [record for record in found if record["id"] in people]
    if kind in UNPAGED:
        return ok([shape(call).show(kind, record) for record in found])
    return page(call, kind, found)


def _deals(call: Call, *, archived: bool) -> list[Record]:
    wanted = set(call.listed("status"))
    found = []
    for record in call.company.tables["deal"].values():
        status = "deleted" if record["is_deleted"] else record["status"]
        if wanted and status not in wanted:
            continue
        if not wanted and status == "deleted":
            continue
        if record["is_archived"] == archived and call.company.find("deal", record["id"]):
            found.append(record)
    return found


@route("GET", "/api/v2/deals/archived")
def archived_deals(call: Call) -> Answer:
    """List archived deals."""
    return page(call, "deal", by_query(call, "deal", _deals(call, archived=True)))


@route("GET", "/api/v2/projects/archived")
def archived_projects(call: Call) -> Answer:
    """List archived projects."""
    records = [record for record in call.company.living("project") if record["archive_time"]]
    return page(call, "project", by_query(call, "project", records))


def reading(kind: str, call: Call) -> Answer:
    """Read one record, deleted or not."""
    record = call.company.get(kind, call.integer_id(), call.user)
    return ok(shape(call).show(kind, record))


def adding(kind: str, call: Call) -> Answer:
    """Add a record."""
    values = _read(call, kind, {})
    named = values.get("name", values.get("title")) or (values.get("first_name") and values.get("last_name"))
    if kind in ("person", "project", "task", "board") and not named:
        raise invalid(f"{'name' if kind in ('person', 'board') else 'title'}: is required")
    record = call.company.add(kind, values, call.actor)
    return ok(Shape2(call.company).show(kind, record), status=201)


def changing(kind: str, call: Call) -> Answer:
    """Change a record; what the body leaves out stays."""
    before = call.company.get(kind, call.integer_id(), call.user)
    if is_deleted(before):
        raise missing(noun(kind))
    if kind == "deal" and before["is_archived"] and call.fields.get("is_archived") is not False:
        raise RefusedError("Archived deals cannot be changed", 400, code="ERR_DEAL_ARCHIVED")
    record = call.company.change(kind, before["id"], _read(call, kind, before), call.actor)
    return ok(Shape2(call.company).show(kind, record))


def deleting(kind: str, call: Call) -> Answer:
    """Delete a record softly."""
    record_id = call.integer_id()
    call.company.get(kind, record_id, call.user)
    call.company.delete(kind, record_id, call.actor)
    return ok({"id": record_id})


def _read(call: Call, kind: str, before: Record) -> Record:
    """Read a checked body into the state's form."""
    values = dict(call.fields)
    settle_nulls(kind, values)
    if values.pop("is_deleted", False):
        raise invalid("is_deleted: a record is deleted with DELETE")
    if "custom_fields" in values:
        given = values["custom_fields"] or {}
        values["custom_fields"] = read_v2(given, call.company.custom_fields(kind)) if kind in CUSTOM_KINDS else {}
    for name in MOMENTS:
        if values.get(name):
            try:
                values[name] = stamp(parse(values[name]))
            except ValueError:
                raise invalid(f"{name}: must be an RFC 3339 time") from None
    for name in ("address", "location"):
        if values.get(name):
            if not values[name].get("value"):
                raise invalid(f"{name}.value: is required")
            values[name] = {part: values[name].get(part) for part in ADDRESS}
    for name in ("due_time", "duration"):
        if values.get(name) and not CLOCK.fullmatch(values[name]):
            raise invalid(f"{name}: must be a time such as 09:30")
    if values.get("visible_to", 3) not in VISIBLE_TO:
        raise invalid("visible_to: must be one of 1, 3, 5, 7")
    readers: dict[str, Callable[[Call, Record, Record], None]] = {"deal": _read_deal, "person": _read_person}
    if kind in readers:
        readers[kind](call, values, before)
    return values


def _read_deal(call: Call, values: Record, before: Record) -> None:
    status = values.get("status", before.get("status", "open"))
    if status not in ("open", "won", "lost"):
        raise invalid("status: must be one of open, won, lost")
    allowed = {
        "lost_reason": ("lost",),
        "lost_time": ("lost",),
        "won_time": ("won",),
        "close_time": ("won", "lost"),
    }
    for name, states in allowed.items():
        if values.get(name) is not None and status not in states:
            raise invalid(f"{name}: is allowed only with status {' or '.join(states)}")


def _read_person(call: Call, values: Record, before: Record) -> None:
    given = [name for name in CONTACT_SYNC if name in values]
    if given and not call.company.extras.get("contact_sync"):
        raise RefusedError(f"{', '.join(given)}: available only with Contact Sync", 403, code="ERR_FORBIDDEN_FIELD")


def _register() -> None:
    verbs: dict[tuple[str, str], Any] = {
        ("GET", ""): listing,
        ("POST", ""): adding,
        ("GET", "/{id}"): reading,
        ("PATCH", "/{id}"): changing,
        ("DELETE", "/{id}"): deleting,
    }
    for kind, resource in RESOURCES.items():
        for (method, tail), handler in verbs.items():
            route(method, f"/api/v2/{resource}{tail}")(partial(handler, kind))


_register()
