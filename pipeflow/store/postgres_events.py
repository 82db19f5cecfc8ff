"""Events, their bodies and the last states of records, in SQL for PostgreSQL. Imports the rows."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pipeflow.store import bodies
from pipeflow.store.base import Dispatch, EventFilter, Owned, RecordState, StoredEvent
from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_link import Connection, rows
from pipeflow.store.postgres_rows import EVENT_COLUMNS, clean, event_of, joined, many, prefixed

MOST_BYTES_AT_ONCE = 8 * 1024 * 1024
PACKS_AT_ONCE = 100

RecordKey = tuple[int, str, str]

WANTED = "json_to_recordset(%s::json) AS wanted(company bigint, kind text, record_id text)"


def as_wanted(keys: Iterable[RecordKey]) -> str:
    """Write records as the argument of WANTED."""
    return many([{"company": company, "kind": kind, "record_id": record_id} for company, kind, record_id in keys])


# Reading -------------------------------------------------------------------------------------------------------------
_WAITING = """
SELECT e.size, e.id, e.pack, mine.partition FROM unnest(%(owned)s::int[]) AS mine(partition) CROSS JOIN LATERAL (
    SELECT id, size, coalesce(body_id, id) AS pack FROM pipeflow.events AS e
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
    counted = Counter(partition for *_, partition in found)
    ends = {partition: event_id for _, event_id, _, partition in found if counted[partition] == share}
    last = min(ends.values(), default=None)
    told = [row for row in found if last is None or row[1] <= last][:limit]
    return told, not ends and len(told) == len(found)


_FULL = f"""
SELECT {prefixed(EVENT_COLUMNS, "e")} FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted(id, n)
JOIN pipeflow.events AS e USING (id) ORDER BY wanted.n
"""


async def _with_bodies(db: Connection, found: Sequence[tuple[Any, ...]]) -> list[StoredEvent]:
    """Read the events of these (size, id, pack, …) in full, as many as fit."""
    found = found[: _that_fit(found)]
    if not found:
        return []
    raws = await _raws(db, found)
    events = await rows(db, _FULL, ([row[1] for row in found],))
    return [event_of(row, raws[row[0]]) for row in events if row[0] in raws]


async def _raws(db: Connection, found: Sequence[tuple[Any, ...]]) -> dict[int, bytes]:
    """Read the bodies of these (size, id, pack, …), each pack once; one that was purged just now is left out."""
    event_ids = {row[1] for row in found}
    pack_ids = list(dict.fromkeys(row[2] for row in found))
    raws: dict[int, bytes] = {}
    for start in range(0, len(pack_ids), PACKS_AT_ONCE):
        some = pack_ids[start : start + PACKS_AT_ONCE]
        packs = await rows(db, "SELECT id, entries, packed FROM pipeflow.bodies WHERE id = ANY(%s::bigint[])", (some,))
        for pack_id, entries, packed in packs:
            raws.update(bodies.unpack(pack_id, entries, packed, event_ids))
    return raws


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
        f"FROM {WANTED} JOIN pipeflow.records USING (company, kind, record_id)",
        (as_wanted(set(keys)),),
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
# As the indexes have it.
_STATUS = {"stored": "status = 'stored'", "dispatched": "status = 'dispatched'"}


async def list_events(db: Connection, wanted: EventFilter, before: int, limit: int) -> list[StoredEvent]:
    """Read a page of a listing, newest first, from behind the event `before`."""
    conditions = ["id < %(before)s"]
    parameters: dict[str, Any] = {"before": before, "limit": limit}
    if wanted.status is not None:
        conditions.append(_STATUS.get(wanted.status, "status = %(status)s AND status NOT IN ('stored', 'dispatched')"))
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
    return await _with_bodies(db, await rows(db, f"SELECT size, id, coalesce(body_id, id) {source}", parameters))
