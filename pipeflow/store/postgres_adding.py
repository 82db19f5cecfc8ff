"""Storing events and their bodies, in SQL for PostgreSQL. Imports the rows."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from pipeflow.store import bodies
from pipeflow.store.base import NewEvent
from pipeflow.store.postgres_batches import Operation, Work
from pipeflow.store.postgres_binary import Binary, Composite, blobs, integers
from pipeflow.store.postgres_events import WANTED, RecordKey, as_wanted
from pipeflow.store.postgres_link import Connection, rows
from pipeflow.store.sqlite_rows import digest_of

# The attributes of the type pipeflow.incoming, in its order.
_INCOMING = {
    "n": "integer",
    "first": "integer",
    "digest": "uuid",
    "company": "bigint",
    "partition": "integer",
    "bulk": "boolean",
    "size": "integer",
    "received_at": "time",
    "occurred_at": "double",
    "update_time": "double",
    "name": "word",
    "kind": "word",
    "action": "word",
    "source": "word",
    "status": "word",
    "key": "text",
    "record_id": "text",
    "delivery_id": "text",
    "actor_id": "text",
}
_WRITE = Composite(_INCOMING)
_COLUMNS = [name for name in _INCOMING if name not in ("n", "first")]
_ADD = f"""
WITH given AS MATERIALIZED (
    SELECT sizes, array(SELECT nextval('pipeflow.event_ids') FROM generate_series(1, cardinality(sizes))) AS ids
    FROM (SELECT %b::integer[] AS sizes) AS sent
), stored AS (
    INSERT INTO pipeflow.events (id, body_id, {", ".join(_COLUMNS)})
    SELECT ids[n], ids[first], {", ".join(_COLUMNS)} FROM given, unnest(%b::pipeflow.incoming[])
    ON CONFLICT (digest) DO NOTHING RETURNING id, body_id
), kept AS (
    INSERT INTO pipeflow.bodies (id, entries, packed)
    SELECT ids[first], (
        SELECT '[' || string_agg('[' || id || ',' || size || ']', ',' ORDER BY id) || ']'
        FROM unnest(ids[first:last], sizes[first:last]) AS entry(id, size)
    ), packed FROM given, unnest(%b::integer[], %b::integer[], %b::bytea[]) AS pack(first, last, packed)
    WHERE EXISTS (SELECT FROM stored WHERE body_id = ids[first])
), counted AS (
    INSERT INTO pipeflow.counters AS c (process, events) SELECT %s, count(*) FROM stored HAVING count(*) > 0
    ON CONFLICT (process) DO UPDATE SET events = c.events + excluded.events
)
SELECT ids, array(SELECT id FROM stored) FROM given
"""


class Adder:
    """Stores the events of many calls with one statement, and gives each call its ids; None for those known already.

    Sorted by what makes them unique, so that two processes that store the same never wait for each other in a circle.
    """

    def __init__(self, process: str) -> None:
        self._process = process
        self.deliveries = Operation(self._add_many, plain=True)
        self.polled = Operation(self._add_news, partitions=_partitions)

    async def _add_many(self, work: Work, calls: Sequence[tuple[Sequence[NewEvent]]]) -> list[list[int | None]]:
        ids = iter(await self._add(work.db, [event for (events,) in calls for event in events]))
        return [list(islice(ids, len(events))) for (events,) in calls]

    async def _add_news(self, work: Work, calls: Sequence[tuple[Sequence[NewEvent]]]) -> list[list[int | None]]:
        """Store polled events of which nothing as new is known, nor waits."""
        events = [event for (given,) in calls for event in given]
        known = await _newest(work, {_key(event) for event in events if event.source == "poll"})
        news = [_is_news(event, known) for event in events]
        ids = iter(await self._add(work.db, [event for event, is_new in zip(events, news, strict=True) if is_new]))
        answers = iter([next(ids) if is_new else None for is_new in news])
        return [list(islice(answers, len(given))) for (given,) in calls]

    async def _add(self, db: Connection, events: Sequence[NewEvent]) -> list[int | None]:
        if not events:
            return []
        ((ids, stored),) = await rows(db, _ADD, (*_parameters(events), self._process))
        if len(stored) == len(ids):
            return list(ids)
        new = set(stored)
        return [event_id if event_id in new else None for event_id in ids]


def _parameters(events: Sequence[NewEvent]) -> tuple[Binary, ...]:
    raws = [event.raw for event in events]
    sizes = [len(raw) for raw in raws]
    packs = list(bodies.groups(sizes))
    packed = [bodies.pack(raws[pack.start : pack.stop]) for pack in packs]
    firsts = [pack.start + 1 for pack in packs for _ in pack]
    return (
        integers(sizes),
        _incoming(events, sizes, firsts),
        integers([pack.start + 1 for pack in packs]),
        integers([pack.stop for pack in packs]),
        blobs(packed),
    )


def _incoming(events: Sequence[NewEvent], sizes: Sequence[int], firsts: Sequence[int]) -> Binary:
    digests = [digest_of(event.company, event.key) for event in events]
    order = sorted(range(len(events)), key=digests.__getitem__)
    fields = zip(*[events[n] for n in order], strict=True)
    values: dict[str, Sequence[Any]] = dict(zip(NewEvent._fields, fields, strict=True)) | {
        "n": [n + 1 for n in order],
        "first": [firsts[n] for n in order],
        "digest": [digests[n] for n in order],
        "size": [sizes[n] for n in order],
    }
    return _WRITE.array(values)


def _partitions(events: Sequence[NewEvent]) -> Iterable[int]:
    return {event.partition for event in events}


Known = dict[RecordKey, tuple[float, bool]]
_NOTHING = (float("-inf"), False)


def _is_news(event: NewEvent, known: Known) -> bool:
    """Say whether an event tells something new, and remember that it does."""
    newest, deleted = known.get(_key(event), _NOTHING)
    as_new = event.update_time is not None and newest >= event.update_time
    is_deletion = event.action == "deleted"
    is_news = event.source != "poll" or not (as_new or (is_deletion and deleted))
    if is_news:
        known[_key(event)] = max(newest, event.update_time or newest), deleted or is_deletion
    return is_news


async def _newest(work: Work, keys: Iterable[RecordKey]) -> Known:
    """Read how new records are known to be, and whether as deleted, from their states and the events that wait."""
    asked = as_wanted(keys)
    found = await work.rows(
        "SELECT company, kind, record_id, update_time, deleted "
        f"FROM {WANTED} JOIN pipeflow.records AS r USING (company, kind, record_id) "
        "UNION ALL SELECT company, kind, record_id, update_time, action = 'deleted' "
        f"FROM {WANTED} JOIN pipeflow.events AS e USING (company, kind, record_id) WHERE e.status = 'stored'",
        asked,
        asked,
    )
    known: Known = {}
    for company, kind, record_id, update_time, deleted in found:
        newest, gone = known.get((company, kind, record_id), _NOTHING)
        known[company, kind, record_id] = max(newest, update_time or newest), gone or deleted
    return known


def _key(event: NewEvent) -> RecordKey:
    return event.company, event.kind, event.record_id
