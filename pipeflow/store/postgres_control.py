"""What people and the fuse do to runs: park, release, retry, skip, pause, resume. In SQL for PostgreSQL."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeflow.store.base import Owned, Pause, Run
from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_link import Connection, rows
from pipeflow.store.postgres_runs import advance, end_runs, runs_by_id


async def _park(work: Work, run_ids: Sequence[int], owned: Owned, reason: str) -> list[Run]:
    pending = await work.rows(
        "SELECT id, partition FROM pipeflow.runs WHERE id = ANY(%s::bigint[]) AND status = 'pending' AND NOT parked",
        list(run_ids),
    )
    found = [run_id for run_id, partition in pending if work.owns(owned, partition)]
    await work.run("UPDATE pipeflow.runs SET parked = true, error = %s WHERE id = ANY(%s::bigint[])", reason, found)
    return await runs_by_id(work, found)


async def _release(work: Work, run_ids: Sequence[int], now: float) -> list[Run]:
    """Let parked runs start again; one behind another goes on waiting for its turn."""
    found = await _changed(
        work,
        "SET parked = false, error = NULL, due_at = CASE WHEN due_at IS NOT NULL THEN %s::double precision END "
        "WHERE id = ANY(%s::bigint[]) AND status = 'pending' AND parked",
        now,
        list(run_ids),
    )
    return await runs_by_id(work, found)


async def _retry(work: Work, run_ids: Sequence[int], now: float) -> list[Run]:
    found = await _changed(
        work,
        "SET due_at = %s WHERE id = ANY(%s::bigint[]) AND status = 'pending' AND NOT parked AND due_at > %s",
        now,
        list(run_ids),
        now,
    )
    return await runs_by_id(work, found)


async def _skip(work: Work, run_ids: Sequence[int], now: float, reason: str) -> list[Run]:
    pending = await work.rows(
        "SELECT id FROM pipeflow.runs WHERE id = ANY(%s::bigint[]) AND status = 'pending'", list(run_ids)
    )
    found = [run_id for (run_id,) in pending]
    await end_runs(work, found, "skipped", reason, now)
    skipped = await runs_by_id(work, found)
    await advance(work, {run.lane: now for run in skipped if run.lane is not None})
    return skipped


async def _dispatch_again(work: Work, event_ids: Sequence[int]) -> list[int]:
    """Let events that made no run wait for dispatch."""
    found = await work.rows(
        "UPDATE pipeflow.events SET status = 'stored', dispatched_at = NULL "
        "WHERE id = ANY(%s::bigint[]) AND status = 'unmatched' RETURNING id",
        list(event_ids),
    )
    return sorted(event_id for (event_id,) in found)


async def _changed(work: Work, change: str, *parameters: Any) -> list[int]:
    return [run_id for (run_id,) in await work.rows(f"UPDATE pipeflow.runs {change} RETURNING id", *parameters)]


async def _move_due_times(work: Work, owned: Owned, by: float) -> None:
    await work.run(
        "UPDATE pipeflow.runs SET due_at = due_at + %s "
        "WHERE finished_at IS NULL AND due_at IS NOT NULL AND partition = ANY(%s::int[])",
        by,
        [partition for partition in owned if work.owns(owned, partition)],
    )


async def _pause(work: Work, pause: Pause) -> None:
    """Insert a pause; a second one of the same changes the reason."""
    await work.run(
        "INSERT INTO pipeflow.pauses (what, company, handler, kind, record_id, reason, paused_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (what, company, handler, kind, record_id) DO UPDATE SET reason = excluded.reason",
        *_target(pause),
        pause.reason,
        pause.paused_at,
    )


async def _resume(work: Work, pause: Pause) -> bool:
    ended = await work.rows(
        "DELETE FROM pipeflow.pauses "
        "WHERE what = %s AND company = %s AND handler = %s AND kind = %s AND record_id = %s RETURNING what",
        *_target(pause),
    )
    return bool(ended)


def _target(pause: Pause) -> tuple[str, int, str, str, str]:
    return pause.what, pause.company, pause.handler, pause.kind, pause.record_id


async def pauses(db: Connection) -> list[Pause]:
    """Read pauses, oldest first."""
    columns = "what, company, handler, kind, record_id, reason, paused_at"
    found = await rows(db, f"SELECT {columns} FROM pipeflow.pauses ORDER BY paused_at, what, company, handler")
    return [Pause(*row) for row in found]


def _runs(run_ids: Sequence[int], *_: Any) -> Sequence[int]:
    return run_ids


park = Operation(each(_park), runs=_runs)
release = Operation(each(_release), runs=_runs)
retry = Operation(each(_retry), runs=_runs)
skip = Operation(each(_skip), runs=_runs)
dispatch_again = Operation(each(_dispatch_again), events=lambda event_ids: event_ids)
move_due_times = Operation(each(_move_due_times), partitions=lambda owned, _: owned)
pause = Operation(each(_pause))
resume = Operation(each(_resume))
