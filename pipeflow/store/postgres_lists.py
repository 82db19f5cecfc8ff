"""Listings, counts and retention, in SQL for PostgreSQL. Imports the rows; called by postgres.py."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeflow.store.base import Run, RunFilter
from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_link import Connection, rows
from pipeflow.store.postgres_rows import RUN_COLUMNS, clean, run_of

_INDEXED = ("pending", "running", "dead")


async def list_runs(db: Connection, wanted: RunFilter, before: int, limit: int) -> list[Run]:
    """Read a page of a listing, newest first, from behind the run `before`."""
    conditions = ["id < %(before)s"]
    parameters: dict[str, Any] = {"before": before, "limit": limit}
    if wanted.status is None and not wanted.include_skipped:
        conditions.append("status <> 'skipped'")
    if wanted.status is not None:
        conditions.append(f"status = '{wanted.status}'" if wanted.status in _INDEXED else "status = %(status)s")
    if wanted.status == "pending":
        conditions.append("finished_at IS NULL")
    if wanted.parked:
        conditions.append("finished_at IS NULL AND parked")
    if wanted.record_id is not None:
        conditions.append("event_id = ANY(array(SELECT id FROM pipeflow.events WHERE record_id = %(record_id)s))")
    for column in ("company", "kind", "record_id", "handler", "event_id"):
        if getattr(wanted, column) is not None:
            conditions.append(f"{column} = %({column})s")
    if wanted.parked:
        conditions.append("parked AND finished_at IS NULL")
    if wanted.error is not None:
        conditions.append("position(%(error)s IN error) > 0")
    if wanted.since is not None:
        conditions.append("created_at >= %(since)s")
    if wanted.until is not None:
        conditions.append("created_at < %(until)s")
    if wanted.ids is not None:
        conditions.append("id = ANY(%(ids)s::bigint[])")
        parameters["ids"] = list(wanted.ids)
    for name in ("status", "company", "kind", "record_id", "handler", "event_id", "error", "since", "until"):
        if getattr(wanted, name) is not None:
            parameters[name] = clean(getattr(wanted, name))
    source = f"FROM pipeflow.runs WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s"
    return [run_of(row) for row in await rows(db, f"SELECT {RUN_COLUMNS} {source}", parameters)]


async def counts(db: Connection) -> dict[str, int]:
    """Count what there is, from the small indexes."""
    (row,) = await rows(
        db,
        "SELECT (SELECT coalesce(sum(events), 0)::bigint FROM pipeflow.counters), "
        "(SELECT count(*) FROM pipeflow.events WHERE status = 'stored'), "
        "(SELECT count(*) FROM pipeflow.runs WHERE finished_at IS NULL), "
        "(SELECT count(*) FROM pipeflow.runs WHERE status = 'running'), "
        "(SELECT count(*) FROM pipeflow.runs WHERE status = 'dead')",
    )
    events, undispatched, unfinished, running, dead = row
    return {
        "events": events,
        "undispatched": undispatched,
        "pending": unfinished - running,
        "running": running,
        "dead": dead,
    }


_NOTHING_OPEN = (
    "NOT EXISTS (SELECT FROM pipeflow.runs AS r WHERE r.event_id = e.id AND r.replay_of IS NULL "
    "AND r.finished_at IS NULL) AND NOT EXISTS (SELECT FROM pipeflow.runs AS r WHERE r.event_id = e.id "
    "AND r.replay_of IS NOT NULL AND r.finished_at IS NULL)"
)


async def finished_before(db: Connection, before: float, limit: int) -> list[int]:
    """Find the oldest events whose runs have all ended."""
    found = await rows(
        db,
        "SELECT e.id FROM pipeflow.events AS e WHERE e.received_at < %s AND e.status <> 'stored' "
        f"AND {_NOTHING_OPEN} ORDER BY e.id LIMIT %s",
        (before, limit),
    )
    return [event_id for (event_id,) in found]


async def _purge(work: Work, event_ids: Sequence[int], before: float, limit: int, process: str) -> int:
    """Delete events with all that hangs on them, those left out that got an open run meanwhile; and what is as old."""
    for table, when in (("proofs", "proven_at"), ("writes", "run_id IS NULL AND intended_at")):
        await work.run(
            f"DELETE FROM pipeflow.{table} WHERE id IN "
            f"(SELECT id FROM pipeflow.{table} WHERE {when} < %s ORDER BY id LIMIT %s)",
            before,
            limit,
        )
    found = await work.rows(
        f"SELECT e.id FROM pipeflow.events AS e WHERE e.id = ANY(%s::bigint[]) AND {_NOTHING_OPEN}", list(event_ids)
    )
    gone = [event_id for (event_id,) in found]
    if not gone:
        return 0
    of_events = "SELECT id FROM pipeflow.runs WHERE event_id = ANY(%s::bigint[]) AND replay_of IS"
    run_ids = [run_id for (run_id,) in await work.rows(f"{of_events} NULL UNION ALL {of_events} NOT NULL", gone, gone)]
    for table, column, ids in (
        ("memories", "run_id", run_ids),
        ("attempts", "run_id", run_ids),
        ("writes", "run_id", run_ids),
        ("runs", "id", run_ids),
    ):
        await work.run(f"DELETE FROM pipeflow.{table} WHERE {column} = ANY(%s::bigint[])", ids)
    await _delete_events(work, gone)
    await work.run(
        "INSERT INTO pipeflow.counters AS c VALUES (%s, %s) "
        "ON CONFLICT (process) DO UPDATE SET events = c.events + excluded.events",
        process,
        -len(gone),
    )
    return len(gone)


async def _delete_events(work: Work, event_ids: list[int]) -> None:
    """Delete events, and each pack of bodies with the last of its events: whoever else purges the same one waits."""
    found = await work.rows(
        "SELECT id FROM pipeflow.bodies WHERE id = ANY(array(SELECT coalesce(body_id, id) FROM pipeflow.events "
        "WHERE id = ANY(%s::bigint[]))) ORDER BY id FOR UPDATE",
        event_ids,
    )
    await work.run("DELETE FROM pipeflow.events WHERE id = ANY(%s::bigint[])", event_ids)
    await work.run(
        "DELETE FROM pipeflow.bodies WHERE id = ANY(%s::bigint[]) AND NOT EXISTS (SELECT "
        "FROM json_array_elements(entries::json) AS entry JOIN pipeflow.events AS e ON e.id = (entry->>0)::bigint)",
        [pack_id for (pack_id,) in found],
    )


purge = Operation(each(_purge), events=lambda event_ids, *_: event_ids)
