"""Events, their bodies and the last states of records, in SQL for SQLite. Imports the rows; called by sqlite.py.

Functions named `…_many` carry out several callers' operations in the writer's transaction; the others read.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import orjson

from pipeflow.store import bodies
from pipeflow.store.base import PARTITIONS, Dispatch, EventFilter, Owned, RecordState, StoredEvent
from pipeflow.store.sqlite_rows import (
    EVENT_COLUMNS,
    array,
    bulk,
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

RecordKey = tuple[int, str, str]

RECORDS = (
    "json_each(?) AS wanted CROSS JOIN records AS r ON r.company = json_extract(wanted.value, '$[0]') "
    "AND r.kind = json_extract(wanted.value, '$[1]') AND r.record_id = json_extract(wanted.value, '$[2]')"
)
"""The wanted records that are known, of a parameter that lists company, kind and id of each."""

_STORED = "events INDEXED BY events_by_status WHERE status = 'stored' AND status <> 'dispatched'"
LOOKED_AT = 5_000


def undispatched(db: sqlite3.Connection, owned: Owned, limit: int, after: int) -> list[StoredEvent]:
    """Read events that wait for dispatch, oldest first, and no more megabytes than fit well into memory."""
    parameters: dict[str, Any] = {"after": after, "limit": limit}
    mine = partition_filter(owned, parameters, PARTITIONS)
    source = f"SELECT * FROM {_STORED} AND id > :after{mine} ORDER BY id LIMIT :limit"
    return _with_bodies(db, one_json(db, many_json(EVENT_COLUMNS, source), parameters))


def undispatched_past(
    db: sqlite3.Connection, owned: Owned, companies: Collection[int], limit: int, after: int
) -> tuple[list[StoredEvent], int]:
    """Read those of all companies but these; one look passes so many ids that it takes some milliseconds."""
    ends = f"SELECT (SELECT min(id) FROM {_STORED} AND id > :after), (SELECT max(id) FROM {_STORED} AND id > :after)"
    first, newest = db.execute(ends, {"after": after}).fetchone()
    if newest is None:
        return [], after
    last = min(newest, first + LOOKED_AT)
    parameters: dict[str, Any] = {"after": after, "last": last, "companies": array(companies), "limit": limit}
    others = "company NOT IN (SELECT value FROM json_each(:companies))"
    mine = partition_filter(owned, parameters, PARTITIONS)
    source = f"SELECT * FROM {_STORED} AND id > :after AND id <= :last AND {others}{mine} ORDER BY id LIMIT :limit"
    rows = one_json(db, many_json(EVENT_COLUMNS, source), parameters)
    events = _with_bodies(db, rows)
    is_all = len(rows) < limit and len(events) == len(rows)
    return events, last if is_all else events[-1].id


def _with_bodies(db: sqlite3.Connection, rows: list[list[Any]]) -> list[StoredEvent]:
    rows = rows[: _that_fit(rows)]
    if not rows:
        return []
    wanted = {row[0] for row in rows}
    raws = dict(one for found in _packs_of(db, rows) for one in bodies.unpack(*found, wanted))
    return [event_of(row, raws.get(row[0], b"")) for row in rows]


def _packs_of(db: sqlite3.Connection, rows: list[list[Any]]) -> list[tuple[int, str | None, bytes]]:
    return db.execute(
        "SELECT id, entries, packed FROM bodies WHERE id IN (SELECT value FROM json_each(?))",
        (array({row[-2] for row in rows}),),
    ).fetchall()


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


_INSERT_RECORD = """
INSERT INTO records (company, kind, record_id, update_time, source, deleted, state, polled_from, polled_to)
SELECT * FROM {rows} WHERE true
"""
_UPSERT_RECORD = f"""
{_INSERT_RECORD} ON CONFLICT (company, kind, record_id) DO UPDATE SET
    update_time = coalesce(excluded.update_time, records.update_time), source = excluded.source,
    deleted = excluded.deleted, state = excluded.state, polled_from = excluded.polled_from,
    polled_to = excluded.polled_to
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
        state.polled_from,
        state.polled_to,
    )


_SAVE_RECORD = f"""
{_INSERT_RECORD} ON CONFLICT (company, kind, record_id) DO UPDATE SET
    update_time = excluded.update_time, source = excluded.source, deleted = excluded.deleted, state = excluded.state
WHERE records.update_time IS NULL OR excluded.update_time > records.update_time
"""


def save_records_many(db: sqlite3.Connection, calls: Sequence[tuple[Sequence[RecordState]]]) -> list[None]:
    """Write states that no event told."""
    for (states,) in calls:
        bulk(db, _SAVE_RECORD, [_record_row(state) for state in states])
    return [None] * len(calls)


def record_ids(db: sqlite3.Connection, company: int, kind: str, after: str, limit: int) -> list[str]:
    """Read the ids of known records that are not deleted."""
    rows = db.execute(
        "SELECT record_id FROM records WHERE company = ? AND kind = ? AND record_id > ? AND NOT deleted "
        "ORDER BY record_id LIMIT ?",
        (company, kind, after, limit),
    ).fetchall()
    return [record_id for (record_id,) in rows]


def records(db: sqlite3.Connection, keys: Sequence[RecordKey]) -> dict[RecordKey, RecordState]:
    """Read record states; their JSON comes joined, like bodies."""
    meta, joined = db.execute(
        "SELECT json_group_array(json_array(r.company, r.kind, r.record_id, "
        f"{time_columns('r.update_time')}, r.source, length(r.state), r.deleted, "
        f"{time_columns('r.polled_from')}, {time_columns('r.polled_to')})), "
        f"CAST(group_concat(CAST(r.state AS TEXT), '') AS BLOB) FROM {RECORDS}",
        (dumps(list(set(keys))).decode(),),
    ).fetchone()
    rows = orjson.loads(meta)
    states = split(joined or b"", (row[6] or 0 for row in rows))
    return {
        (row[0], row[1], row[2]): RecordState(
            row[0],
            row[1],
            row[2],
            time_of(row[3], row[4]),
            row[5],
            None if row[6] is None else state,
            bool(row[7]),
            time_of(row[8], row[9]),
            time_of(row[10], row[11]),
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
    if wanted.caused:
        conditions.append("cause_run_id IS NOT NULL")
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


def list_events(db: sqlite3.Connection, wanted: EventFilter, before: int, limit: int) -> list[StoredEvent]:
    """Read a page of a listing, newest first, from behind the event `before`."""
    conditions, parameters = event_conditions(wanted)
    brief = wanted.status is None and wanted.ids is None and (wanted.record_id or wanted.since or wanted.until)
    table = "events INDEXED BY events_in_brief" if brief else "events"
    conditions.append("id < :before")
    parameters |= {"before": before, "limit": limit}
    source = f"SELECT * FROM {table} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
    return _with_bodies(db, one_json(db, many_json(EVENT_COLUMNS, source), parameters))
