"""Pages: by opaque cursor and by offset. Imports nothing of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypeVar

from pipeflow.sandbox.answers import Record, invalid

T = TypeVar("T")


def cursor_page(
    records: Sequence[Record],
    *,
    sort_by: str = "id",
    direction: str = "asc",
    limit: int = 100,
    cursor: str | None = None,
) -> tuple[list[Record], str | None]:
    """Cut the page after `cursor` out of records, sorted; gives the page and the next cursor (None at the end)."""
    down = direction == "desc"
    keyed = [(_key(record, sort_by), record) for record in records]
    if cursor:
        after = _opened(cursor, sort_by, direction)
        keyed = [one for one in keyed if (one[0] < after if down else one[0] > after)]
    keyed.sort(key=itemgetter(0), reverse=down)
    page = keyed[:limit]
    following = _sealed(sort_by, direction, page[-1][0]) if len(keyed) > limit and page else None
    return [record for _, record in page], following


def _key(record: Record, sort_by: str) -> tuple[Any, ...]:
    value = record.get(sort_by)
    return (value is not None, "" if value is None else value, record["id"])


def _sealed(sort_by: str, direction: str, key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort_by, direction, *key]).encode()).decode().rstrip("=")


def _opened(cursor: str, sort_by: str, direction: str) -> tuple[Any, ...]:
    try:
        order, way, *key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise invalid("cursor: is not valid") from None
    if (order, way) != (sort_by, direction):
        raise invalid("cursor: belongs to another order")
    return tuple(key)


def offset_page(items: Sequence[T], start: int, limit: int) -> tuple[list[T], Record]:
    """Cut a page by offset; gives the page and generation 1's `pagination`."""
    page = list(items[start : start + limit])
    more = start + limit < len(items)
    pagination: Record = {"start": start, "limit": limit, "more_items_in_collection": more}
    if more:
        pagination["next_start"] = start + limit
    return page, pagination
