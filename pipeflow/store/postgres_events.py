"""Events, their bodies and the last states of records, in SQL for PostgreSQL. Imports the rows."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pipeflow.store.base import Dispatch, EventFilter, NewEvent, Owned, RecordState, StoredEvent
from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_link import Connection, pairs, rows
from pipeflow.store.postgres_rows import EVENT_COLUMNS, clean, event_of, joined, many, one, prefixed
from pipeflow.store.sqlite_rows import digest_of

MOST_BYTES_AT_ONCE = 8 * 1024 * 1024

RecordKey = tuple[int, str, str]

_TYPES = {
    "company": "bigint",
    "partition": "integer",
    "bulk": "boolean",
    "received_at": "double precision",
    "occurred_at": "double precision",
    "update_time": "double precision",
    "digest": "uuid",
    "start": "integer",
    "size": "integer",
}
_TEXTS = [name for name in NewEvent._fields if name not in _TYPES and name != "raw"]
_COLUMNS = [*_TEXTS, *_TYPES]
# The rows travel column by column: a name a column is less to write and to read than one a value.
_ADD = f"""
WITH given AS MATERIALIZED (
    SELECT nextval('pipeflow.event_ids') AS id, g.* FROM json_to_record(%s::json) AS c(
        {", ".join(f"{name} {_TYPES.get(name, 'text')}[]" for name in _COLUMNS)})
    CROSS JOIN LATERAL unnest({", ".join(f"c.{name}" for name in _COLUMNS)})
        WITH ORDINALITY AS g({", ".join(_COLUMNS)}, n)
), stored AS (
    INSERT INTO pipeflow.events (id, digest, company, key, name, kind, record_id, action, source, status, partition,
        bulk, size, received_at, occurred_at, update_time, delivery_id, actor_id)
    SELECT id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, size,
        received_at, occurred_at, update_time, delivery_id, actor_id
    FROM given ORDER BY digest, id ON CONFLICT (digest) DO NOTHING RETURNING id
), kept AS (
    INSERT INTO pipeflow.bodies (event_id, raw)
    SELECT given.id, substring(%b::bytea FROM start FOR size) FROM given JOIN stored USING (id)
), counted AS (
    INSERT INTO pipeflow.counters AS c (process, events) SELECT %s, count(*) FROM stored HAVING count(*) > 0
    ON CONFLICT (process) DO UPDATE SET events = c.events + excluded.events
)
SELECT n, given.id FROM given JOIN stored USING (id)
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
        ids = iter(await self.add(work.db, [event for (events,) in calls for event in events]))
        return [[next(ids) for _ in events] for (events,) in calls]

    async def add(self, db: Connection, events: Sequence[NewEvent]) -> list[int | None]:
        """Store events; None for those known already."""
        if not events:
            return []
        columns = dict(zip(NewEvent._fields, zip(*events, strict=True), strict=True))
        body, places = joined(columns.pop("raw"))
        columns["start"], columns["size"] = zip(*places, strict=True)
        columns["digest"] = tuple(digest_of(event.company, event.key).hex() for event in events)
        stored = await pairs(db, _ADD, (one(columns), body, self._process))
        return [stored.get(n) for n in range(1, len(events) + 1)]

    async def _add_news(self, work: Work, calls: Sequence[tuple[Sequence[NewEvent]]]) -> list[list[int | None]]:
        """Store polled events of which nothing as new is known, nor waits."""
        events = [event for (given,) in calls for event in given]
        known = await _newest(work, {_key(event) for event in events if event.source == "poll"})
        wanted = [_is_news(event, known) for event in events]
        ids = iter(await self.add(work.db, [event for event, is_new in zip(events, wanted, strict=True) if is_new]))
        answers = iter([next(ids) if is_new else None for is_new in wanted])
        return [[next(answers) for _ in given] for (given,) in calls]


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


_WANTED = "json_to_recordset(%s::json) AS wanted(company bigint, kind text, record_id text)"


async def _newest(work: Work, keys: Iterable[RecordKey]) -> Known:
    """Read how new records are known to be, and whether as deleted, from their states and the events that wait."""
    wanted = _wanted(keys)
    found = await work.rows(
        "SELECT company, kind, record_id, update_time, deleted "
        f"FROM {_WANTED} JOIN pipeflow.records AS r USING (company, kind, record_id) "
        "UNION ALL SELECT company, kind, record_id, update_time, action = 'deleted' "
        f"FROM {_WANTED} JOIN pipeflow.events AS e USING (company, kind, record_id) WHERE e.status = 'stored'",
        wanted,
        wanted,
    )
    known: Known = {}
    for company, kind, record_id, update_time, deleted in found:
        newest, gone = known.get((company, kind, record_id), _NOTHING)
        known[company, kind, record_id] = max(newest, update_time or newest), gone or deleted
    return known


def _wanted(keys: Iterable[RecordKey]) -> str:
    return many([{"company": company, "kind": kind, "record_id": record_id} for company, kind, record_id in keys])


def _key(event: NewEvent) -> RecordKey:
    return event.company, event.kind, event.record_id


# Reading -------------------------------------------------------------------------------------------------------------
_WAITING = """
SELECT e.size, e.id, mine.partition FROM unnest(%(owned)s::int[]) AS mine(partition) CROSS JOIN LATERAL (
    SELECT id, size FROM pipeflow.events AS e
    WHERE e.partition = mine.partition AND e.status = 'stored' AND e.id > %(after)s AND {condition}
    ORDER BY e.id LIMIT %(share)s
) AS e ORDER BY e.id
"""
_ENDS = """
SELECT min(e.first), max(e.last) FROM unnest(%s::int[]) AS mine(partition) CROSS JOIN LATERAL (
    SELECT min(id) AS first, max(id) AS last FROM pipeflow.events AS e
    WHERE e.partition = mine.partition AND e.status = 'stored' AND e.id > %s
) AS e
"""
LOOKED_AT = 20_000
UNDER_WAY = 500
"""Ids that other processes may have taken and not committed."""


async def undispatched(db: Connection, owned: Owned, limit: int, after: int) -> list[StoredEvent]:
    """Read events that wait for dispatch, oldest first, and no more megabytes than fit well into memory."""
    return await _with_bodies(db, (await _waiting(db, owned, limit, after, "true"))[0])


async def undispatched_past(
    db: Connection, owned: Owned, companies: Collection[int], limit: int, after: int
) -> tuple[list[StoredEvent], int]:
    """Read those of all companies but these; one look passes so many ids that it takes some milliseconds."""
    ((first, newest),) = await rows(db, _ENDS, (list(owned), after))
    if newest is None:
        return [], after
    last = min(newest, first + LOOKED_AT)
    condition = "e.company <> ALL(%(companies)s::bigint[]) AND e.id <= %(last)s"
    found, is_all = await _waiting(db, owned, limit, after, condition, companies=list(companies), last=last)
    events = await _with_bodies(db, found)
    if is_all and len(events) == len(found):
        return events, max(after, last - UNDER_WAY)
    return events, events[-1].id


async def _waiting(
    db: Connection, owned: Owned, limit: int, after: int, condition: str, **more: Any
) -> tuple[list[tuple[Any, ...]], bool]:
    """Read the size and id of events, and whether these are all.

    Each partition gives its share; behind the last of one that may have more, nothing is told, so that none is skipped.
    """
    share = min(limit, 8 + limit // max(1, len(owned)))
    parameters = {"owned": list(owned), "after": after, "share": share, **more}
    found = await rows(db, _WAITING.format(condition=condition), parameters)
    counted = Counter(partition for _, _, partition in found)
    ends = {partition: event_id for _, event_id, partition in found if counted[partition] == share}
    last = min(ends.values(), default=None)
    told = [row for row in found if last is None or row[1] <= last][:limit]
    return told, not ends and len(told) == len(found)


_FULL = f"""
SELECT {prefixed(EVENT_COLUMNS, "e")}, b.raw FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted(id, n)
JOIN pipeflow.events AS e USING (id) JOIN pipeflow.bodies AS b ON b.event_id = e.id ORDER BY wanted.n
"""


async def _with_bodies(db: Connection, found: Sequence[tuple[Any, ...]]) -> list[StoredEvent]:
    """Read the events of these (size, id, …) in full, as many as fit."""
    found = found[: _that_fit(found)]
    if not found:
        return []
    return [event_of(row, row[-1]) for row in await rows(db, _FULL, ([row[1] for row in found],))]


def _that_fit(found: Sequence[tuple[Any, ...]]) -> int:
    size = 0
    for number, row in enumerate(found):
        size += row[0]
        if number and size > MOST_BYTES_AT_ONCE:
            return number
    return len(found)


async def records(db: Connection, keys: Iterable[RecordKey]) -> dict[RecordKey, RecordState]:
    """Read record states."""
    found = await rows(
        db,
        "SELECT company, kind, record_id, update_time, source, state, deleted, polled_from, polled_to "
        f"FROM {_WANTED} JOIN pipeflow.records USING (company, kind, record_id)",
        (_wanted(set(keys)),),
    )
    return {row[:3]: RecordState(*row) for row in found}


async def record_ids(db: Connection, company: int, kind: str, after: str, limit: int) -> list[str]:
    """Read the ids of known records that are not deleted."""
    found = await rows(
        db,
        "SELECT record_id FROM pipeflow.records WHERE company = %s AND kind = %s AND record_id > %s AND NOT deleted "
        "ORDER BY record_id LIMIT %s",
        (company, kind, after, limit),
    )
    return [record_id for (record_id,) in found]


# Dispatching ---------------------------------------------------------------------------------------------------------
_TOLD = """
WITH told AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS t(company bigint, kind text, record_id text,
        update_time double precision, source text, deleted boolean, start integer, size integer,
        polled_from double precision, polled_to double precision)
), remembered AS (
    INSERT INTO pipeflow.records AS r (company, kind, record_id, update_time, source, deleted, state, polled_from,
        polled_to)
    SELECT company, kind, record_id, update_time, source, deleted, substring(%b::bytea FROM start FOR size),
        polled_from, polled_to
    FROM told ORDER BY company, kind, record_id
    ON CONFLICT (company, kind, record_id) DO UPDATE SET"""
_MARK = f"""{_TOLD} update_time = coalesce(excluded.update_time, r.update_time),
        source = excluded.source, deleted = excluded.deleted, state = excluded.state,
        polled_from = excluded.polled_from, polled_to = excluded.polled_to
    WHERE excluded.update_time IS NULL OR r.update_time IS NULL OR excluded.update_time >= r.update_time
), given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS g(id bigint, status text, stale boolean, cause_run_id bigint,
        names text[], chain text[])
)
UPDATE pipeflow.events AS e SET status = g.status, stale = g.stale, cause_run_id = g.cause_run_id, names = g.names,
    chain = g.chain, dispatched_at = %s
FROM given AS g WHERE e.id = g.id
"""
_SAVE = f"""{_TOLD} update_time = excluded.update_time, source = excluded.source, deleted = excluded.deleted,
        state = excluded.state
    WHERE r.update_time IS NULL OR excluded.update_time > r.update_time
)
SELECT FROM told LIMIT 0
"""


async def mark_dispatched(work: Work, dispatches: Sequence[Dispatch], now: float) -> None:
    """Write what dispatching found out about events, and the record states they told."""
    if not dispatches:
        return
    given = [
        {
            "id": one.event_id,
            "status": one.status,
            "stale": one.stale,
            "cause_run_id": one.cause_run_id,
            "names": one.names,
            "chain": one.chain or None,
        }
        for one in dispatches
    ]
    told = _told(one.record for one in dispatches if one.record is not None)
    await work.run(_MARK, *told, many(given), now)


async def _save_records(work: Work, states: Sequence[RecordState]) -> None:
    """Write states that no event told."""
    await work.run(_SAVE, *_told(states))


save_records = Operation(each(_save_records))


def _told(states: Iterable[RecordState]) -> tuple[str, bytes]:
    last = _last_of_each(states)
    body, places = joined(state.state for state in last)
    return many([_record_row(state, place) for state, place in zip(last, places, strict=True)]), body


def _last_of_each(states: Iterable[RecordState]) -> list[RecordState]:
    """Keep what stands in the end: one statement cannot write a row twice."""
    last: dict[RecordKey, RecordState] = {}
    for state in states:
        key = (state.company, state.kind, state.record_id)
        before = last.get(key)
        older = (
            before is not None
            and before.update_time is not None
            and state.update_time is not None
            and state.update_time < before.update_time
        )
        if not older:
            last[key] = state
    return list(last.values())


def _record_row(state: RecordState, place: tuple[int, int | None]) -> dict[str, Any]:
    return {
        "company": state.company,
        "kind": state.kind,
        "record_id": state.record_id,
        "update_time": state.update_time,
        "source": state.source,
        "deleted": state.deleted,
        "polled_from": state.polled_from,
        "polled_to": state.polled_to,
        "start": place[0],
        "size": place[1],
    }


# Listing -------------------------------------------------------------------------------------------------------------
async def list_events(db: Connection, wanted: EventFilter, before: int, limit: int) -> list[StoredEvent]:
    """Read a page of a listing, newest first, from behind the event `before`."""
    conditions = ["id < %(before)s"]
    parameters: dict[str, Any] = {"before": before, "limit": limit}
    if wanted.status is not None:
        conditions.append(
            "status = %(status)s" + ("" if wanted.status == "dispatched" else " AND status <> 'dispatched'")
        )
    for column in ("company", "kind", "record_id", "source"):
        if getattr(wanted, column) is not None:
            conditions.append(f"{column} = %({column})s")
    if wanted.name is not None:
        conditions.append("(name = %(name)s OR names @> ARRAY[%(name)s::text])")
    if wanted.caused:
        conditions.append("cause_run_id IS NOT NULL")
    if wanted.since is not None:
        conditions.append("received_at >= %(since)s")
    if wanted.until is not None:
        conditions.append("received_at < %(until)s")
    if wanted.caused:
        conditions.append("cause_run_id IS NOT NULL")
    if wanted.ids is not None:
        conditions.append("id = ANY(%(ids)s::bigint[])")
        parameters["ids"] = list(wanted.ids)
    for name in ("status", "company", "kind", "record_id", "source", "name", "since", "until"):
        if getattr(wanted, name) is not None:
            parameters[name] = clean(getattr(wanted, name))
    source = f"FROM pipeflow.events WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s"
    return await _with_bodies(db, await rows(db, f"SELECT size, id {source}", parameters))
