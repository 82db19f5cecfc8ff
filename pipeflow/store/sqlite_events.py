"""Events, their bodies and the last states of records, in SQL for SQLite. Imports the rows; called by sqlite.py.

Functions named `…_many` carry out several callers' operations in the writer's transaction; the others read.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import orjson

from pipeflow.store import bodies
from pipeflow.store.base import PARTITIONS, Dispatch, EventFilter, NewEvent, Owned, RecordState, StoredEvent
from pipeflow.store.sqlite_rows import (
    EVENT_COLUMNS,
    MOST_ROWS,
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

RecordKey = tuple[int, str, str]
Pack = tuple[range, bytes]

_RAW = NewEvent._fields.index("raw")
_FIELDS = [name for name in NewEvent._fields if name != "raw"]
_INSERT = (
    f"INSERT INTO incoming (id, digest, {', '.join(_FIELDS)}, size, body_id, entries, packed) SELECT * FROM {{rows}}"
)


class Adder:
    """Stores the events of many calls and gives each call its ids; one statement for up to `MOST_ROWS` new events.

    Ids are counted here. Where another process stored something meanwhile, the statement refuses them, and the counting
    goes on behind what the other stored.
    """

    def __init__(self) -> None:
        self._next_id = 0

    @staticmethod
    def is_one_statement(calls: Sequence[Sequence[NewEvent]]) -> bool:
        """Say whether these calls need no transaction around them."""
        return sum(map(len, calls)) <= MOST_ROWS and not any(one.source == "poll" for call in calls for one in call)

    def __call__(self, db: sqlite3.Connection, calls: Sequence[Sequence[NewEvent]]) -> list[list[int | None]]:
        """Store the events; None for those known already."""
        events = [event for call in calls for event in call]
        wanted = [True] * len(events)
        if any(event.source == "poll" for event in events):
            wanted = _news(db, events)
        ids = iter(self._add(db, [event for event, is_new in zip(events, wanted, strict=True) if is_new]))
        answers = iter([next(ids) if is_new else None for is_new in wanted])
        return [[next(answers) for _ in call] for call in calls]

    def _add(self, db: sqlite3.Connection, events: Sequence[NewEvent]) -> list[int | None]:
        packs = [(together, bodies.pack([events[n].raw for n in together])) for together in _packs(events)]
        before = db.total_changes
        first = self._insert(db, events, packs)
        self._next_id = first + len(events)
        ids: list[int | None] = list(range(first, self._next_id))
        if db.total_changes - before == len(events) + _CHANGES * len(packs):
            return ids
        stored = set(one_json(db, "SELECT json_group_array(id) FROM events WHERE id >= ?", (first,)))
        return [event_id if event_id in stored else None for event_id in ids]

    def _insert(self, db: sqlite3.Connection, events: Sequence[NewEvent], packs: Sequence[Pack]) -> int:
        first = self._next_id or _free_id(db)
        while True:
            try:
                bulk(db, _INSERT, list(_rows(first, events, packs)))
                break
            except sqlite3.IntegrityError:
                free = _free_id(db)
                if free == first:
                    raise
                first = free
        return first


_CHANGES = 2  # rows that a pack changes beside those of its events: itself, the counter


def _packs(events: Sequence[NewEvent]) -> Iterator[range]:
    """Say which events share a pack; never some that two statements store."""
    for start in range(0, len(events), MOST_ROWS):
        sizes = [len(event.raw) for event in events[start : start + MOST_ROWS]]
        yield from (range(start + one.start, start + one.stop) for one in bodies.groups(sizes))


def _rows(first: int, events: Sequence[NewEvent], packs: Sequence[Pack]) -> Iterator[tuple[Any, ...]]:
    for together, packed in packs:
        ids, raws = range(first + together.start, first + together.stop), [events[n].raw for n in together]
        for event_id, n in zip(ids, together, strict=True):
            event = events[n]
            brought = (bodies.entries(ids, raws), packed) if n == together[-1] else (None, None)
            yield (
                event_id,
                digest_of(event.company, event.key),
                *event[:_RAW],
                *event[_RAW + 1 :],
                len(event.raw),
                ids[0],
                *brought,
            )


def _free_id(db: sqlite3.Connection) -> int:
    """Give the first id above all that events have or had."""
    (last,) = db.execute(
        "SELECT max(purged_event_id, coalesce((SELECT max(id) FROM events), 0)) FROM counters"
    ).fetchone()
    return int(last) + 1


def _news(db: sqlite3.Connection, events: Sequence[NewEvent]) -> list[bool]:
    """Say which events tell something new: not those found by polling of which something as new is known, or waits."""
    known = _newest(db, {_key(event) for event in events if event.source == "poll"})
    news = []
    for event in events:
        newest, deleted = known.get(_key(event), _NOTHING)
        as_new = event.update_time is not None and newest >= event.update_time
        is_deletion = event.action == "deleted"
        news.append(event.source != "poll" or not (as_new or (is_deletion and deleted)))
        if news[-1]:
            known[_key(event)] = max(newest, event.update_time or newest), deleted or is_deletion
    return news


_NOTHING = (float("-inf"), False)


def _newest(db: sqlite3.Connection, keys: set[RecordKey]) -> dict[RecordKey, tuple[float, bool]]:
    """Read how new records are known to be, and whether as deleted, from their states and the events that wait."""
    wanted = dumps(list(keys)).decode()
    columns = f"r.company, r.kind, r.record_id, {time_columns('r.update_time')}"
    rows = one_json(db, f"SELECT json_group_array(json_array({columns}, r.deleted)) FROM {_RECORDS}", (wanted,))
    rows += one_json(
        db,
        f"SELECT json_group_array(json_array({columns}, r.action = 'deleted')) "
        "FROM events AS r INDEXED BY events_by_status WHERE status = 'stored' AND status <> 'dispatched' "
        "AND (kind, record_id, company) IN (SELECT json_extract(value, '$[1]'), json_extract(value, '$[2]'), "
        "json_extract(value, '$[0]') FROM json_each(?))",
        (wanted,),
    )
    known: dict[RecordKey, tuple[float, bool]] = {}
    for company, kind, record_id, whole, rest, deleted in rows:
        newest, gone = known.get((company, kind, record_id), _NOTHING)
        update_time = time_of(whole, rest)
        known[company, kind, record_id] = max(newest, update_time or newest), gone or bool(deleted)
    return known


def _key(event: NewEvent) -> RecordKey:
    return event.company, event.kind, event.record_id


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


_RECORDS = (
    "json_each(?) AS wanted CROSS JOIN records AS r ON r.company = json_extract(wanted.value, '$[0]') "
    "AND r.kind = json_extract(wanted.value, '$[1]') AND r.record_id = json_extract(wanted.value, '$[2]')"
)


def records(db: sqlite3.Connection, keys: Sequence[RecordKey]) -> dict[RecordKey, RecordState]:
    """Read record states; their JSON comes joined, like bodies."""
    meta, joined = db.execute(
        "SELECT json_group_array(json_array(r.company, r.kind, r.record_id, "
        f"{time_columns('r.update_time')}, r.source, length(r.state), r.deleted, "
        f"{time_columns('r.polled_from')}, {time_columns('r.polled_to')})), "
        f"CAST(group_concat(CAST(r.state AS TEXT), '') AS BLOB) FROM {_RECORDS}",
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
