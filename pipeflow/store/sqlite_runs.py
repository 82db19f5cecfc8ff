"""Runs, lanes and attempts, in SQL for SQLite. Imports the rows; called by sqlite.py.

A lane is the open runs that carry its name, in the order of their ids. Only its first has a due time, so that finding
what may start costs the same however many wait behind it. Functions named `…_many` carry out several callers'
operations in the writer's transaction; the others read.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeflow.store.base import PARTITIONS, Attempt, Closing, Owned, Run
from pipeflow.store.rules import CRASHES_ALLOWED, DIED, DIED_TOO_OFTEN, ENDED
from pipeflow.store.sqlite_rows import (
    ATTEMPT_COLUMNS,
    RUN_COLUMNS,
    array,
    attempt_of,
    bulk,
    due_row,
    many_json,
    one_json,
    partition_filter,
    run_of,
    time_columns,
    time_of,
    waits_in_lane,
)


def end_runs(db: sqlite3.Connection, run_ids: Sequence[int], status: str, error: str | None, now: float) -> None:
    """End runs without an attempt."""
    if run_ids:
        db.execute(
            "UPDATE runs SET status = ?, error = ?, finished_at = ?, due_at = NULL, suspect = 0 "
            "WHERE id IN (SELECT value FROM json_each(?))",
            (status, error, now, array(run_ids)),
        )


def runs_by_id(db: sqlite3.Connection, run_ids: Iterable[int]) -> list[Run]:
    """Read runs, oldest first."""
    return [run_of(row) for row in _rows_by_id(db, run_ids)]


def _rows_by_id(db: sqlite3.Connection, run_ids: Iterable[int]) -> list[list[Any]]:
    ids = list(run_ids)
    if not ids:
        return []
    source = "SELECT * FROM runs NOT INDEXED WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
    rows: list[list[Any]] = one_json(db, many_json(RUN_COLUMNS, source), (array(ids),))
    return rows


# What may start ------------------------------------------------------------------------------------------------------
def due_runs(
    db: sqlite3.Connection,
    owned: Owned,
    now: float,
    limit: int,
    handlers: Collection[str] | None,
    resting: Collection[int],
    plenty: Collection[tuple[int, str, int]],
) -> list[Run]:
    """Read what may start, interactive work first."""
    parameters: dict[str, Any] = {"now": now, "limit": limit}
    due = f"{_DUE} AND due_at <= :now{_that_may_start(db, parameters, owned, handlers, resting)}"
    if plenty:
        due += f" AND (company, handler, priority) NOT IN ({_PLENTY})"
        parameters["plenty"] = array(plenty)
    each = " UNION ALL ".join(
        f"SELECT * FROM (SELECT * FROM runs INDEXED BY runs_due WHERE priority = {priority} AND {due} "
        "ORDER BY due_at, id LIMIT :limit)"
        for priority in (0, 1)
    )
    rows = one_json(db, many_json(RUN_COLUMNS, f"SELECT * FROM ({each}) LIMIT :limit"), parameters)
    return [run_of(row) for row in rows]


_DUE = "status = 'pending' AND due_at IS NOT NULL AND parked = 0"
_PLENTY = "SELECT " + ", ".join(f"json_extract(value, '$[{n}]')" for n in range(3)) + " FROM json_each(:plenty)"


def _that_may_start(
    db: sqlite3.Connection,
    parameters: dict[str, Any],
    owned: Owned,
    handlers: Collection[str] | None,
    resting: Collection[int],
) -> str:
    conditions = partition_filter(owned, parameters, PARTITIONS) + not_paused(db)
    if handlers is not None:
        conditions += " AND handler IN (SELECT value FROM json_each(:handlers))"
        parameters["handlers"] = array(handlers)
    if resting:
        conditions += " AND company NOT IN (SELECT value FROM json_each(:resting))"
        parameters["resting"] = array(resting)
    return conditions


def not_paused(db: sqlite3.Connection) -> str:
    """Write the condition that a run is not paused; nothing, where nothing is."""
    kinds = one_json(db, "SELECT json_group_array(what) FROM (SELECT DISTINCT what FROM pauses)")
    return "".join(_NOT_PAUSED[what] for what in kinds)


_NOT_PAUSED = {
    "account": " AND company NOT IN (SELECT p.company FROM pauses AS p WHERE p.what = 'account')",
    "handler": " AND handler NOT IN (SELECT p.handler FROM pauses AS p WHERE p.what = 'handler')",
    "record": " AND (company, kind, record_id) NOT IN "
    "(SELECT p.company, p.kind, p.record_id FROM pauses AS p WHERE p.what = 'record')",
}


def next_due_at(
    db: sqlite3.Connection, owned: Owned, handlers: Collection[str] | None, resting: Collection[int]
) -> float | None:
    """Read when the next run may start."""
    parameters: dict[str, Any] = {}
    mine = _that_may_start(db, parameters, owned, handlers, resting)
    found = [
        db.execute(
            f"SELECT due_at FROM runs INDEXED BY runs_due WHERE priority = {priority} AND {_DUE}{mine} "
            "ORDER BY due_at LIMIT 1",
            parameters,
        ).fetchone()
        for priority in (0, 1)
    ]
    return min((row[0] for row in found if row), default=None)


# Attempts ------------------------------------------------------------------------------------------------------------
def open_many(db: sqlite3.Connection, calls: Sequence[tuple[int, Owned, float, bool]]) -> list[Attempt | None]:
    """Open attempts of runs that may start; None for the others."""
    rows = one_json(
        db,
        f"SELECT json_group_array(json_array(id, tries, partition, {time_columns('due_at')})) FROM runs NOT INDEXED "
        f"WHERE id IN (SELECT value FROM json_each(?)) AND {_DUE}{not_paused(db)}",
        (array(call[0] for call in calls),),
    )
    startable = {row[0]: row for row in rows}
    attempts: list[Attempt | None] = []
    for run_id, owned, now, alone in calls:
        row = startable.get(run_id)
        due_at = time_of(row[3], row[4]) if row else None
        if row is None or due_at is None or row[2] not in owned or due_at > now:
            attempts.append(None)
            continue
        del startable[run_id]
        attempts.append(Attempt(run_id, row[1] + 1, now, None, None, False, alone, None, None))
    opened = [one for one in attempts if one is not None]
    if opened:
        db.execute(
            "UPDATE runs SET status = 'running', due_at = NULL, tries = tries + 1 "
            "WHERE id IN (SELECT value FROM json_each(?))",
            (array(one.run_id for one in opened),),
        )
        bulk(
            db,
            "INSERT INTO attempts (run_id, number, started_at, alone) SELECT * FROM {rows}",
            [(one.run_id, one.number, one.started_at, one.alone) for one in opened],
        )
    return attempts


class _Running(NamedTuple):
    """A run with an open attempt."""

    id: int
    lane: str | None
    partition: int
    tries: int
    crashes: int = 0
    alone: int = 0


_CLOSE_ATTEMPTS = """
UPDATE attempts SET finished_at = v.column3, outcome = v.column4, counted = v.column5, error = v.column6,
    traceback = v.column7
FROM {rows} AS v WHERE attempts.run_id = v.column1 AND attempts.number = v.column2
"""
_CLOSE_RUNS = """
UPDATE runs SET status = v.column2, attempts = attempts + v.column3, due_at = v.column4, finished_at = v.column5,
    error = v.column6, crashes = 0, suspect = 0
FROM {rows} AS v WHERE runs.id = v.column1
"""


def close_many(db: sqlite3.Connection, calls: Sequence[tuple[Closing, Owned, float]]) -> list[Run | None]:
    """Close attempts; give each the run that its end made due."""
    rows = one_json(
        db,
        "SELECT json_group_array(json_array(id, lane, partition, tries)) FROM runs NOT INDEXED "
        "WHERE id IN (SELECT value FROM json_each(?)) AND status = 'running'",
        (array(call[0].run_id for call in calls),),
    )
    running = {row[0]: _Running(*row) for row in rows}
    closed: list[tuple[Closing, float, _Running]] = []
    for closing, owned, now in calls:
        run = running.get(closing.run_id)
        if run is not None and run.partition in owned:
            closed.append((closing, now, running.pop(closing.run_id)))
    if not closed:
        return [None] * len(calls)
    _write_closings(db, closed)
    ended = {run.lane: now for closing, now, run in closed if closing.status in ENDED and run.lane is not None}
    due = advance(db, ended)
    lanes = {closing.run_id: run.lane for closing, _, run in closed}
    return [due.pop(lanes.get(closing.run_id) or "", None) for closing, _, _ in calls]


def _write_closings(db: sqlite3.Connection, closed: Sequence[tuple[Closing, float, _Running]]) -> None:
    bulk(
        db,
        _CLOSE_ATTEMPTS,
        [
            (run.id, run.tries, now, closing.outcome, closing.counted, closing.error, closing.traceback)
            for closing, now, run in closed
        ],
    )
    bulk(db, _CLOSE_RUNS, [_run_row(closing, now) for closing, now, _ in closed])


def _run_row(closing: Closing, now: float) -> tuple[Any, ...]:
    if closing.status in ENDED:
        return (closing.run_id, closing.status, closing.counted, None, now, closing.error)
    due_at = now if closing.due_at is None else closing.due_at
    return (closing.run_id, "pending", closing.counted, due_at, None, closing.error)


def advance(db: sqlite3.Connection, lanes: Mapping[str, float]) -> dict[str, Run]:
    """Make the first run of each of these lanes due, where it waits; give those that may start, by lane."""
    if not lanes:
        return {}
    heads = one_json(
        db,
        "SELECT json_group_array(head) FROM (SELECT (SELECT id FROM runs INDEXED BY runs_open "
        "WHERE lane = wanted.value AND finished_at IS NULL ORDER BY id LIMIT 1) AS head FROM json_each(?) AS wanted) "
        "WHERE head IS NOT NULL",
        (array(lanes),),
    )
    due = [run_of(due_row(row, lanes[row[3]])) for row in _rows_by_id(db, heads) if waits_in_lane(row)]
    bulk(
        db,
        "UPDATE runs SET due_at = v.column2 FROM {rows} AS v WHERE runs.id = v.column1",
        [(run.id, run.due_at) for run in due],
    )
    return {run.lane or "": run for run in due if not run.parked}


def recover_many(db: sqlite3.Connection, calls: Sequence[tuple[Owned, float]]) -> list[list[Run]]:
    """Close what a dead owner left open."""
    return [_recover(db, *call) for call in calls]


def _recover(db: sqlite3.Connection, owned: Owned, now: float) -> list[Run]:
    rows = one_json(
        db,
        "SELECT json_group_array(json_array(r.id, r.lane, r.partition, r.tries, r.crashes, a.alone)) "
        "FROM runs AS r INDEXED BY runs_running CROSS JOIN attempts AS a ON a.run_id = r.id AND a.number = r.tries "
        "WHERE r.status = 'running'",
    )
    left = [run for run in (_Running(*row) for row in rows) if run.partition in owned]
    bulk(db, _CLOSE_ATTEMPTS, [(run.id, run.tries, now, "interrupted", run.alone, DIED, None) for run in left])
    dead = [run for run in left if run.crashes + run.alone >= CRASHES_ALLOWED]
    bulk(
        db,
        "UPDATE runs SET status = 'pending', due_at = v.column2, error = v.column3, suspect = 1, "
        "attempts = attempts + v.column4, crashes = crashes + v.column4 FROM {rows} AS v WHERE runs.id = v.column1",
        [(run.id, now, DIED, run.alone) for run in left],
    )
    end_runs(db, [run.id for run in dead], "dead", DIED_TOO_OFTEN, now)
    advance(db, {run.lane: now for run in dead if run.lane is not None})
    source = "SELECT * FROM runs INDEXED BY runs_suspect WHERE suspect = 1 AND parked = 0 ORDER BY id"
    suspects = (run_of(row) for row in one_json(db, many_json(RUN_COLUMNS, source)))
    return [run for run in suspects if run.partition in owned and run.status == "pending"]


def attempts(db: sqlite3.Connection, run_id: int) -> list[Attempt]:
    """Read a run's attempts, oldest first."""
    source = "SELECT * FROM attempts WHERE run_id = ? ORDER BY number"
    return [attempt_of(row) for row in one_json(db, many_json(ATTEMPT_COLUMNS, source), (run_id,))]
