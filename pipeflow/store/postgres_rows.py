"""How rows cross between PostgreSQL and Python: columns, and many rows as one parameter. Imports the rows of base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from pipeflow.store.base import Attempt, Run, StoredEvent
from pipeflow.store.postgres_link import Row

EVENT_COLUMNS = (
    "id, company, key, name, names, kind, record_id, action, source, received_at, partition, delivery_id, occurred_at, "
    "update_time, actor_id, bulk, stale, status, dispatched_at, cause_run_id, chain"
)
RUN_COLUMNS = (
    "id, event_id, handler, lane, company, kind, record_id, partition, status, attempts, due_at, error, replay_of, "
    "created_at, finished_at, priority, crashes, parked"
)
ATTEMPT_COLUMNS = "run_id, number, started_at, finished_at, outcome, counted, alone, error, traceback"

_NUL = "\x00"


def event_of(row: Row, raw: bytes) -> StoredEvent:
    """Make an event of its EVENT_COLUMNS and its body."""
    return StoredEvent(*(*row[:4], tuple(row[4] or ()), *row[5:9], raw, *row[9:20], tuple(row[20] or ())))


def run_of(row: Row) -> Run:
    """Make a run of its RUN_COLUMNS."""
    return Run(*row)


def attempt_of(row: Row) -> Attempt:
    """Make an attempt of its ATTEMPT_COLUMNS."""
    return Attempt(*row)


def prefixed(columns: str, alias: str) -> str:
    """Write columns of the table `alias`."""
    return ", ".join(f"{alias}.{column}" for column in columns.split(", "))


def many(given: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as the argument of `json_to_recordset`; PostgreSQL keeps no NUL in a text, so it becomes U+FFFD."""
    text = orjson.dumps(given)
    if rb"\u0000" in text:
        text = orjson.dumps([{name: clean(value) for name, value in row.items()} for row in given])
    return text.decode()


def clean(value: Any) -> Any:
    """Replace what PostgreSQL keeps in no text."""
    if isinstance(value, str):
        return value.replace(_NUL, "\ufffd")
    if isinstance(value, list | tuple):
        return [clean(one) for one in value]
    return value


def joined(parts: Iterable[bytes | None]) -> tuple[bytes, list[tuple[int, int | None]]]:
    """Join bodies, so that they travel as one; gives where each begins (from 1) and how long it is (None: none)."""
    places: list[tuple[int, int | None]] = []
    start = 1
    kept = []
    for part in parts:
        places.append((start, None if part is None else len(part)))
        if part is not None:
            kept.append(part)
            start += len(part)
    return b"".join(kept), places
