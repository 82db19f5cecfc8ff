"""Events, their bodies and the last states of records, in SQL for SQLite. Imports the rows; called by sqlite.py.

Functions named `…_many` carry out several callers' operations in the writer's transaction; the others read.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import orjson

from pipeflow.store.base import PARTITIONS, Dispatch, EventFilter, NewEvent, Owned, RecordState, StoredEvent
from pipeflow.store.rows import (
    EVENT_COLUMNS,
    array,
    bulk,
    digest_of,
    dumps,
    event_of,
    many_json,
    one_json,
    partition_filter,
    split,
    time_columns,
    time_of,
)

MOST_BYTES_AT_ONCE = 8 * 1024 * 1024

_COLUMNS = (
    "id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, size, received_at, "
    "occurred_at, update_time, delivery_id, actor_id"
)
_INSERT = f"INSERT INTO events ({_COLUMNS}) SELECT * FROM {{rows}} WHERE true ON CONFLICT (digest) DO NOTHING"
_INSERT_FOUND = f"""
INSERT INTO events ({_COLUMNS})
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18
WHERE NOT EXISTS (
    SELECT 1 FROM records WHERE company = ?3 AND kind = ?6 AND record_id = ?7
    AND (update_time >= ?16 OR (deleted AND ?8 = 'deleted'))
) AND NOT EXISTS (
    SELECT 1 FROM events WHERE company = ?3 AND kind = ?6 AND record_id = ?7 AND status = 'stored'
    AND (update_time >= ?16 OR (action = 'deleted' AND ?8 = 'deleted'))
)
ON CONFLICT (digest) DO NOTHING
"""


def add_many(db: sqlite3.Connection, calls: Sequence[Sequence[NewEvent]]) -> list[list[int | None]]:
    """Store the events of all calls; give each call its ids."""
    events = [event for call in calls for event in call]
    if not events:
        return [[] for _ in calls]
    first = take_ids(db, "event_id", len(events))
    rows = [_row(first + place, event) for place, event in enumerate(events)]
    before = db.total_changes
    for polled, group in groupby(zip(events, rows, strict=True), lambda pair: pair[0].source == "poll"):
        found = [row for _, row in group]
        if not polled:
            bulk(db, _INSERT, found)
            continue
        for row in found:
            db.execute(_INSERT_FOUND, row)
    stored: Iterable[int] = range(first, first + len(events))
    absent = len(events) - (db.total_changes - before)
    if absent:
        stored = one_json(db, "SELECT json_group_array(id) FROM events WHERE id >= ?", (first,))
        db.execute("UPDATE counters SET events_absent = events_absent + ?", (absent,))
    new = set(stored)
    bodies = [(first + place, event.raw) for place, event in enumerate(events) if first + place in new]
    bulk(db, "INSERT INTO bodies (event_id, raw) SELECT * FROM {rows}", bodies)
    ids = iter([event_id if event_id in new else None for event_id in range(first, first + len(events))])
    return [[next(ids) for _ in call] for call in calls]


def take_ids(db: sqlite3.Connection, counter: str, number: int) -> int:
    """Give the first of that many ids which nothing ever had."""
    (last,) = db.execute(f"UPDATE counters SET {counter} = {counter} + ? RETURNING {counter}", (number,)).fetchall()[0]
    return int(last) - number + 1


def _row(event_id: int, event: NewEvent) -> tuple[Any, ...]:
    return (
        event_id,
        digest_of(event.company, event.key),
        event.company,
        event.key,
        event.name,
        event.kind,
        event.record_id,
        event.action,
        event.source,
        event.status,
        event.partition,
        event.bulk,
        len(event.raw),
        event.received_at,
        event.occurred_at,
        event.update_time,
        event.delivery_id,
        event.actor_id,
    )


def undispatched(db: sqlite3.Connection, owned: Owned, limit: int, after: int) -> list[StoredEvent]:
    """Read events that wait for dispatch, oldest first, and no more megabytes than fit well into memory."""
    parameters: dict[str, Any] = {"after": after, "limit": limit}
    mine = partition_filter(owned, parameters, PARTITIONS)
    source = (
        "SELECT * FROM events INDEXED BY events_by_status WHERE status = 'stored' AND status <> 'dispatched' "
        f"AND id > :after{mine} ORDER BY id LIMIT :limit"
    )
    return _with_bodies(db, one_json(db, many_json(EVENT_COLUMNS, source), parameters))


def _with_bodies(db: sqlite3.Connection, rows: list[list[Any]]) -> list[StoredEvent]:
    rows = rows[: _that_fit(rows)]
    if not rows:
        return []
    ids, joined = db.execute(
        "SELECT json_group_array(json_array(event_id, length(raw))), "
        "CAST(group_concat(CAST(raw AS TEXT), '') AS BLOB) FROM bodies "
        "WHERE event_id IN (SELECT value FROM json_each(?))",
        (array(row[0] for row in rows),),
    ).fetchone()
    found = orjson.loads(ids)
    bodies = split(joined or b"", (size for _, size in found))
    raws = {event_id: raw for (event_id, _), raw in zip(found, bodies, strict=True)}
    return [event_of(row, raws.get(row[0], b"")) for row in rows]


def _that_fit(rows: list[list[Any]]) -> int:
    size = 0
    for number, row in enumerate(rows):
        size += row[-1]
        if number and size > MOST_BYTES_AT_ONCE:
            return number
    return len(rows)


def mark_dispatched(db: sqlite3.Connection, dispatches: Sequence[Dispatch], now: float) -> None:
    """Write what dispatching found out about events, and the record states they told."""
    bulk(
        db,
        "UPDATE events SET status = v.column2, stale = v.column3, cause_run_id = v.column4, names = v.column5, "
        "chain = v.column6, dispatched_at = v.column7 FROM {rows} AS v WHERE events.id = v.column1",
        [
            (
                one.event_id,
                one.status,
                one.stale,
                one.cause_run_id,
                array(one.names),
                array(one.chain) if one.chain else None,
                now,
            )
            for one in dispatches
        ],
    )
    states = [one.record for one in dispatches if one.record is not None]
    bulk(db, _UPSERT_RECORD, [_record_row(state) for state in states])


_UPSERT_RECORD = """
INSERT INTO records (company, kind, record_id, update_time, source, deleted, state) SELECT * FROM {rows} WHERE true
ON CONFLICT (company, kind, record_id) DO UPDATE SET
    update_time = coalesce(excluded.update_time, records.update_time), source = excluded.source,
    deleted = excluded.deleted, state = excluded.state
WHERE excluded.update_time IS NULL OR records.update_time IS NULL OR excluded.update_time >= records.update_time
"""


def _record_row(state: RecordState) -> tuple[Any, ...]:
    return (
        state.company,
        state.kind,
        state.record_id,
        state.update_time,
        state.source,
        state.deleted,
        state.state,
    )


def records(db: sqlite3.Connection, keys: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str, str], RecordState]:
    """Read record states; their JSON comes joined, like bodies."""
    meta, joined = db.execute(
        "SELECT json_group_array(json_array(r.company, r.kind, r.record_id, "
        + time_columns("r.update_time")
        + ", r.source, length(r.state), r.deleted)), "
        "CAST(group_concat(CAST(r.state AS TEXT), '') AS BLOB) FROM json_each(?) AS wanted CROSS JOIN records AS r "
        "ON r.company = json_extract(wanted.value, '$[0]') AND r.kind = json_extract(wanted.value, '$[1]') "
        "AND r.record_id = json_extract(wanted.value, '$[2]')",
        (dumps(list(set(keys))).decode(),),
    ).fetchone()
    rows = orjson.loads(meta)
    states = split(joined or b"", (row[6] or 0 for row in rows))
    return {
        (row[0], row[1], row[2]): RecordState(
            row[0], row[1], row[2], time_of(row[3], row[4]), row[5], None if row[6] is None else state, bool(row[7])
        )
        for row, state in zip(rows, states, strict=True)
    }


def event_conditions(wanted: EventFilter) -> tuple[list[str], dict[str, Any]]:
    """Write the conditions of a listing."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    if wanted.status is not None:
        conditions.append("status = :status" + ("" if wanted.status == "dispatched" else " AND status <> 'dispatched'"))
    for column in ("company", "kind", "record_id", "source"):
        if getattr(wanted, column) is not None:
            conditions.append(f"{column} = :{column}")
    if wanted.name is not None:
        conditions.append("(name = :name OR instr(names, :quoted) > 0)")
        parameters["quoted"] = dumps(wanted.name).decode()
    if wanted.since is not None:
        conditions.append("received_at >= :since")
    if wanted.until is not None:
        conditions.append("received_at < :until")
    if wanted.ids is not None:
        conditions.append("id IN (SELECT value FROM json_each(:ids))")
        parameters["ids"] = array(wanted.ids)
    for name in ("status", "company", "kind", "record_id", "source", "name", "since", "until"):
        if getattr(wanted, name) is not None:
            parameters[name] = getattr(wanted, name)
    return conditions, parameters


def list_events(
    db: sqlite3.Connection, wanted: EventFilter, before: tuple[float, int], limit: int
) -> list[StoredEvent]:
    """Read a page of a listing, newest first, from behind the event at `before`."""
    conditions, parameters = event_conditions(wanted)
    by_record = wanted.record_id is not None
    by_time = not by_record and (wanted.since is not None or wanted.until is not None)
    order = "received_at DESC, id DESC" if by_time else "id DESC"
    conditions.append("(received_at, id) < (:before_time, :before)" if by_time else "id < :before")
    parameters |= {"before_time": before[0], "before": before[1], "limit": limit}
    table = "events INDEXED BY events_in_brief" if by_record else "events"
    source = f"SELECT * FROM {table} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :limit"
    return _with_bodies(db, one_json(db, many_json(EVENT_COLUMNS, source), parameters))
