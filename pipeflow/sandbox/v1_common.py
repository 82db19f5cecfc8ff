"""What generation 1's handlers share: pages by offset, sorting, owners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeflow.sandbox.answers import Answer, Record, ok
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.paging import cursor_page, offset_page
from pipeflow.sandbox.routing import Call
from pipeflow.sandbox.shapes_v1 import Shape1


def shape(call: Call) -> Shape1:
    """Make generation 1's shape for the caller."""
    return Shape1(call.company, me=call.user["id"])


def page(
    call: Call, kind: str, records: Iterable[Record], *, related: bool = False, flat: bool = False, most: int = 500
) -> Answer:
    """Answer a page of records by offset; `flat` also gives the paging in the flat form that some lists have."""
    visible = ordered(call, [one for one in records if call.company.may_see(call.user, one)])
    cut, pagination = window(call, visible, most)
    shown = shape(call)
    data = [shown.show(kind, record) for record in cut]
    additional: Record = {"pagination": pagination}
    if flat:
        additional |= {name: value for name, value in pagination.items() if name != "next_start"}
    return ok(data or None, additional, related=shown.related(cut) if related else None)


def window(call: Call, items: Sequence[Any], most: int = 500) -> tuple[list[Any], Record]:
    """Cut the page that the query asks for."""
    start = max(0, call.number("start", 0) or 0)
    limit = min(most, max(1, call.number("limit", 100) or 100))
    return offset_page(items, start, limit)


def by_cursor(call: Call, records: Sequence[Record]) -> tuple[list[Record], Record]:
    """Cut a page by cursor, for the few lists of generation 1 that have one."""
    limit = min(500, max(1, call.number("limit", 100) or 100))
    cut, following = cursor_page(records, limit=limit, cursor=call.query.get("cursor"))
    return cut, {"next_cursor": following}


def ordered(call: Call, records: list[Record]) -> list[Record]:
    """Sort by `sort=field ASC, other DESC`; unknown fields leave the order alone."""
    for part in reversed(call.query.get("sort", "").split(",")):
        name, _, way = part.strip().partition(" ")
        if name and records and name in records[0]:
            records = _by(name, records, down=way.strip().upper() == "DESC")
    return records


def _by(name: str, records: list[Record], *, down: bool) -> list[Record]:
    def key(record: Record) -> tuple[bool, bool, Any]:
        value = record[name]
        is_number = isinstance(value, int | float)
        return (value is not None, not is_number, value if is_number else str(value))

    return sorted(records, key=key, reverse=down)


def one(call: Call, kind: str, record: Record, *, related: bool = False, status: int = 200) -> Answer:
    """Answer one record."""
    shown = shape(call)
    return ok(shown.show(kind, record), related=shown.related([record]) if related else None, status=status)


def owned(call: Call, records: Iterable[Record]) -> list[Record]:
    """Keep what the query's `user_id` or `owner_id` asks for; without it everything, 0 is everybody."""
    user_id = call.number("user_id", call.number("owner_id"))
    return [record for record in records if user_id in (None, 0) or record["owner_id"] == user_id]


def living_of(call: Call, kind: str, **links: Any) -> list[Record]:
    """List the living records of a kind that point to something."""
    return [
        record
        for record in call.company.tables[kind].values()
        if not is_deleted(record) and all(record.get(name) == value for name, value in links.items())
    ]
