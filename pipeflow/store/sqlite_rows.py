"""How rows cross between SQLite and Python: few statements, one result row. Imports the rows of base.

A result of many rows costs a change of thread for each, so results come as one row that holds JSON; and many rows go
in by one statement with many values. JSON keeps 15 digits of a float, so a time travels as whole seconds and the rest.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson

from pipeflow.store.base import Attempt, Owned, Run, StoredEvent

# Few sizes, so that the connection keeps the statements prepared; what is missing to the next one is filled up.
_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)

Json = Any


def time_columns(column: str) -> str:
    """Say how to select a time for `time_of`."""
    return f"CAST({column} AS INTEGER), {column} - CAST({column} AS INTEGER)"


def time_of(whole: int | None, rest: float | None) -> float | None:
    """Put a time together again, exactly."""
    return None if whole is None else whole + (rest or 0.0)


MOST_ROWS = _SIZES[-1]


def bulk(db: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute a statement for many rows at once.

    `sql` holds `{rows}`, a subquery of `column1`, `column2`, …; the first column of a row is never None.
    """
    for start in range(0, len(rows), MOST_ROWS):
        chunk = rows[start : start + MOST_ROWS]
        width = len(chunk[0])
        size = _SIZES[bisect_left(_SIZES, len(chunk))]
        values = [value for row in chunk for value in row]
        values += [None] * (size * width - len(values))
        # `execute` would also ask for the last row's id, and give up the interpreter once more for it.
        db.executemany(_for_rows(sql, width, size), (values,))


@lru_cache(maxsize=256)
def _for_rows(sql: str, width: int, size: int) -> str:
    row = "(" + ", ".join("?" * width) + ")"
    return sql.format(rows=f"(SELECT * FROM (VALUES {', '.join([row] * size)}) WHERE column1 IS NOT NULL)")


def one_json(db: sqlite3.Connection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Json:
    """Give the value of a statement that answers with one row of one JSON value."""
    (text,) = db.execute(sql, parameters).fetchone()
    return orjson.loads(text)


def many_json(columns: str, source: str) -> str:
    """Write a statement whose rows come as one JSON array of arrays; `source` is a subquery in order."""
    return f"SELECT json_group_array(json_array({columns})) FROM ({source})"


def array(values: Iterable[Any]) -> str:
    """Write a list as the argument of `json_each(?)`."""
    return orjson.dumps(list(values)).decode()


def dumps(value: Any) -> bytes:
    """Write JSON; what JSON does not know (Decimal, set, …) as text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def digest_of(company: int, key: str) -> bytes:
    """Give what makes an event the same event, in 16 bytes."""
    return blake2b(f"{company}:{key}".encode(), digest_size=16).digest()


def partition_filter(owned: Owned, parameters: dict[str, Any], total: int) -> str:
    """Write the condition that a row is in a partition of ours; nothing where all are."""
    if len(owned) >= total:
        return ""
    parameters["owned"] = array(owned)
    return " AND partition IN (SELECT value FROM json_each(:owned))"


EVENT_COLUMNS = (
    "id, company, key, name, json(names), kind, record_id, action, source, "
    + time_columns("received_at")
    + ", partition, delivery_id, "
    + time_columns("occurred_at")
    + ", "
    + time_columns("update_time")
    + ", actor_id, bulk, stale, status, "
    + time_columns("dispatched_at")
    + ", cause_run_id, json(chain), coalesce(body_id, id), size"
)

RUN_COLUMNS = (
    "id, event_id, handler, lane, company, kind, record_id, partition, status, attempts, "
    + time_columns("due_at")
    + ", error, replay_of, "
    + time_columns("created_at")
    + ", "
    + time_columns("finished_at")
    + ", priority, crashes, parked"
)

ATTEMPT_COLUMNS = (
    "run_id, number, "
    + time_columns("started_at")
    + ", "
    + time_columns("finished_at")
    + ", outcome, counted, alone, error, traceback"
)


def event_of(row: Sequence[Any], raw: bytes) -> StoredEvent:
    """Make an event of its EVENT_COLUMNS and its body."""
    return StoredEvent(
        id=row[0],
        company=row[1],
        key=row[2],
        name=row[3],
        names=tuple(row[4] or ()),
        kind=row[5],
        record_id=row[6],
        action=row[7],
        source=row[8],
        raw=raw,
        received_at=row[9] + row[10],
        partition=row[11],
        delivery_id=row[12],
        occurred_at=time_of(row[13], row[14]),
        update_time=time_of(row[15], row[16]),
        actor_id=row[17],
        bulk=bool(row[18]),
        stale=bool(row[19]),
        status=row[20],
        dispatched_at=time_of(row[21], row[22]),
        cause_run_id=row[23],
        chain=tuple(row[24] or ()),
    )


def run_of(row: Sequence[Any]) -> Run:
    """Make a run of its RUN_COLUMNS."""
    return Run(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        time_of(row[10], row[11]),
        row[12],
        row[13],
        row[14] + row[15],
        time_of(row[16], row[17]),
        row[18],
        row[19],
        bool(row[20]),
    )


def waits_in_lane(row: Sequence[Any]) -> bool:
    """Say whether the run of these RUN_COLUMNS waits for its turn in its lane."""
    return row[8] == "pending" and row[10] is None


def due_row(row: list[Any], due_at: float) -> list[Any]:
    """Give RUN_COLUMNS another due time."""
    row[10:12] = due_at, 0.0
    return row


def attempt_of(row: Sequence[Any]) -> Attempt:
    """Make an attempt of its ATTEMPT_COLUMNS."""
    return Attempt(
        row[0],
        row[1],
        row[2] + row[3],
        time_of(row[4], row[5]),
        row[6],
        bool(row[7]),
        bool(row[8]),
        row[9],
        row[10],
    )


def split(joined: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Cut bodies that came as one apart again."""
    start = 0
    for size in sizes:
        yield joined[start : start + size]
        start += size
