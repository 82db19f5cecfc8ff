"""Storing events and their bodies, in SQL for SQLite. Imports the rows and the writer; called by sqlite.py.

What callers bring in one turn of the loop is packed there: a thread that compressed would have to ask a busy loop for
the interpreter once more each time.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from pipeflow.errors import StoreUnavailable
from pipeflow.store import bodies
from pipeflow.store.base import NewEvent
from pipeflow.store.sqlite_events import RECORDS, RecordKey
from pipeflow.store.sqlite_rows import MOST_ROWS, bulk, digest_of, dumps, one_json, time_columns, time_of
from pipeflow.store.sqlite_threads import Writer

CALLS_WORTH_A_COMMIT = 16

Pack = tuple[range, bytes]
_Brought = tuple[Sequence[NewEvent], "asyncio.Future[list[int | None]]"]

_RAW = NewEvent._fields.index("raw")
_FIELDS = [name for name in NewEvent._fields if name != "raw"]
_INSERT = (
    f"INSERT INTO incoming (id, digest, {', '.join(_FIELDS)}, size, body_id, entries, packed) SELECT * FROM {{rows}}"
)


@dataclass(slots=True, eq=False)
class Parcel:
    """Events on their way, and the packs with their bodies; none where polled ones are among them."""

    events: Sequence[NewEvent]
    packs: list[Pack] | None


class Basket:
    """Takes the events that callers bring in one turn of the loop, and has them stored together.

    Where something in a parcel cannot be stored, each caller's events are sent again on their own.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._add = Adder()
        self._brought: list[_Brought] = []
        self._is_open = True

    def add(self, events: Sequence[NewEvent]) -> asyncio.Future[list[int | None]]:
        """Give the ids of these events once they are committed; None for one known already."""
        loop = asyncio.get_running_loop()
        if not self._brought:
            loop.call_soon(self._send)
        ids: asyncio.Future[list[int | None]] = loop.create_future()
        self._brought.append((events, ids))
        if len(self._brought) >= CALLS_WORTH_A_COMMIT:
            self._send()
        return ids

    def close(self) -> None:
        """Send what was brought; nothing comes any more."""
        self._is_open = False
        self._send()

    def _send(self) -> None:
        if self._brought:
            brought, self._brought = self._brought, []
            self._submit(brought)
            self._writer.flush()

    def _submit(self, brought: Sequence[_Brought]) -> None:
        parcel = _pack([event for events, _ in brought for event in events])
        self._writer.submit(self._add, parcel, wakes=True).add_done_callback(partial(self._end, brought))

    def _end(self, brought: Sequence[_Brought], stored: asyncio.Future[list[int | None]]) -> None:
        error = stored.exception()
        if error is None:
            _give(brought, iter(stored.result()))
        elif len(brought) > 1 and self._is_open and not isinstance(error, StoreUnavailable):
            for one in brought:
                self._submit([one])
        else:
            for _, ids in brought:
                if not ids.done():
                    ids.set_exception(error)


def _give(brought: Sequence[_Brought], stored: Iterator[int | None]) -> None:
    for events, ids in brought:
        own = list(islice(stored, len(events)))
        if not ids.done():
            ids.set_result(own)


class Adder:
    """Stores parcels and gives the ids of each one's events; one statement for up to `MOST_ROWS` new events.

    Ids are counted here. Where another process stored something meanwhile, the statement refuses them, and the counting
    goes on behind what the other stored.
    """

    def __init__(self) -> None:
        self._next_id = 0

    @staticmethod
    def is_one_statement(parcels: Sequence[Parcel]) -> bool:
        """Say whether these need no transaction around them."""
        return sum(len(one.events) for one in parcels) <= MOST_ROWS and all(one.packs is not None for one in parcels)

    def __call__(self, db: sqlite3.Connection, parcels: Sequence[Parcel]) -> list[list[int | None]]:
        """Store the events; None for those known already."""
        if any(one.packs is None for one in parcels):
            return [self._add_news(db, one.events) for one in parcels]
        ids = iter(self._add(db, *_together(parcels)))
        return [list(islice(ids, len(one.events))) for one in parcels]

    def _add_news(self, db: sqlite3.Connection, events: Sequence[NewEvent]) -> list[int | None]:
        news = _news(db, events)
        new = [event for event, is_new in zip(events, news, strict=True) if is_new]
        ids = iter(self._add(db, new, _packs(new)))
        return [next(ids) if is_new else None for is_new in news]

    def _add(self, db: sqlite3.Connection, events: Sequence[NewEvent], packs: Sequence[Pack]) -> list[int | None]:
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


def _packs(events: Sequence[NewEvent]) -> list[Pack]:
    raws = [event.raw for event in events]
    return [(one, bodies.pack(raws[one.start : one.stop])) for one in bodies.groups([len(raw) for raw in raws])]


def _pack(events: Sequence[NewEvent]) -> Parcel:
    # Of polled events it is decided in the transaction which are news.
    return Parcel(events, None if any(event.source == "poll" for event in events) else _packs(events))


def _together(parcels: Sequence[Parcel]) -> tuple[list[NewEvent], list[Pack]]:
    """Put parcels behind one another."""
    events: list[NewEvent] = []
    packs: list[Pack] = []
    for parcel in parcels:
        start = len(events)
        events += parcel.events
        packs += ((range(start + one.start, start + one.stop), packed) for one, packed in parcel.packs or ())
    return events, packs


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
    rows = one_json(db, f"SELECT json_group_array(json_array({columns}, r.deleted)) FROM {RECORDS}", (wanted,))
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
