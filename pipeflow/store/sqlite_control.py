"""What people and the fuse do to runs: park, release, retry, skip, pause, resume. Imports the rows."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pipeflow.store.base import PARTITIONS, Owned, Pause, Run
from pipeflow.store.sqlite_rest import many
from pipeflow.store.sqlite_rows import array, one_json, partition_filter
from pipeflow.store.sqlite_runs import advance, end_runs, runs_by_id


@many
def park_many(db: sqlite3.Connection, run_ids: Sequence[int], owned: Owned, reason: str) -> list[Run]:
    """Park pending runs."""
    parameters: dict[str, Any] = {"ids": array(run_ids)}
    found = _ids(db, f"status = 'pending' AND parked = 0{partition_filter(owned, parameters, PARTITIONS)}", parameters)
    db.execute(
        "UPDATE runs SET parked = 1, error = ? WHERE id IN (SELECT value FROM json_each(?))", (reason, array(found))
    )
    return runs_by_id(db, found)


@many
def release_many(db: sqlite3.Connection, run_ids: Sequence[int], now: float) -> list[Run]:
    """Let parked runs start again; one behind another goes on waiting for its turn."""
    found = _ids(db, "status = 'pending' AND parked = 1", {"ids": array(run_ids)})
    db.execute(
        "UPDATE runs SET parked = 0, error = NULL, due_at = iif(due_at IS NULL, NULL, ?) "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (now, array(found)),
    )
    return runs_by_id(db, found)


@many
def retry_many(db: sqlite3.Connection, run_ids: Sequence[int], now: float) -> list[Run]:
    """Make runs due that wait for a later time."""
    found = _ids(db, "status = 'pending' AND parked = 0 AND due_at > :now", {"ids": array(run_ids), "now": now})
    db.execute("UPDATE runs SET due_at = ? WHERE id IN (SELECT value FROM json_each(?))", (now, array(found)))
    return runs_by_id(db, found)


@many
def skip_many(db: sqlite3.Connection, run_ids: Sequence[int], now: float, reason: str) -> list[Run]:
    """End pending runs, and let their lanes go on."""
    found = _ids(db, "status = 'pending'", {"ids": array(run_ids)})
    end_runs(db, found, "skipped", reason, now)
    skipped = runs_by_id(db, found)
    advance(db, {run.lane: now for run in skipped if run.lane is not None})
    return skipped


def _ids(db: sqlite3.Connection, condition: str, parameters: Mapping[str, Any]) -> list[int]:
    found: list[int] = one_json(
        db,
        "SELECT json_group_array(id) FROM runs NOT INDEXED "
        f"WHERE id IN (SELECT value FROM json_each(:ids)) AND {condition}",
        parameters,
    )
    return found


@many
def dispatch_again_many(db: sqlite3.Connection, event_ids: Sequence[int]) -> list[int]:
    """Let events that made no run wait for dispatch."""
    found: list[int] = one_json(
        db,
        "SELECT json_group_array(id) FROM events NOT INDEXED "
        "WHERE id IN (SELECT value FROM json_each(?)) AND status = 'unmatched'",
        (array(event_ids),),
    )
    db.execute(
        "UPDATE events SET status = 'stored', dispatched_at = NULL WHERE id IN (SELECT value FROM json_each(?))",
        (array(found),),
    )
    return found


@many
def move_due_times_many(db: sqlite3.Connection, owned: Owned, by: float) -> None:
    """Move all due times, also of parked runs."""
    parameters = {"by": by}
    mine = partition_filter(owned, parameters, PARTITIONS)
    db.execute(
        "UPDATE runs INDEXED BY runs_open SET due_at = due_at + :by "
        f"WHERE finished_at IS NULL AND due_at IS NOT NULL{mine}",
        parameters,
    )


@many
def pause_many(db: sqlite3.Connection, pause: Pause) -> None:
    """Insert a pause; a second one of the same changes the reason."""
    db.execute(
        "INSERT INTO pauses (what, company, handler, kind, record_id, reason, paused_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET reason = excluded.reason",
        (*_target(pause), pause.reason, pause.paused_at),
    )


@many
def resume_many(db: sqlite3.Connection, pause: Pause) -> bool:
    """Delete a pause."""
    done = db.execute(
        "DELETE FROM pauses WHERE what = ? AND company = ? AND handler = ? AND kind = ? AND record_id = ?",
        _target(pause),
    )
    return done.rowcount > 0


def _target(pause: Pause) -> tuple[str, int, str, str, str]:
    return pause.what, pause.company, pause.handler, pause.kind, pause.record_id


def pauses(db: sqlite3.Connection) -> list[Pause]:
    """Read pauses, oldest first."""
    columns = "what, company, handler, kind, record_id, reason, paused_at"
    return [Pause(*row) for row in db.execute(f"SELECT {columns} FROM pauses ORDER BY paused_at, 1, 2, 3").fetchall()]
