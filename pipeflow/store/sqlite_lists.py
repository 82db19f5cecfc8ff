"""Listings, counts and retention, in SQL for SQLite. Imports the rows; called by sqlite.py."""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from pipeflow.store.base import Run, RunFilter
from pipeflow.store.sqlite_rest import many
from pipeflow.store.sqlite_rows import RUN_COLUMNS, array, many_json, one_json, run_of


def run_conditions(wanted: RunFilter) -> tuple[list[str], dict[str, Any]]:
    """Write the conditions of a listing."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    if wanted.status is None and not wanted.include_skipped:
        conditions.append("status <> 'skipped'")
    if wanted.status is not None:
        conditions.append(f"status = '{wanted.status}'" if wanted.status in _INDEXED else "status = :status")
    if wanted.status == "pending":
        conditions.append("id IN (SELECT id FROM runs INDEXED BY runs_open WHERE finished_at IS NULL)")
    if wanted.event_id is not None or wanted.record_id is not None:
        conditions.append(_OF_EVENTS)
    for column in ("company", "kind", "record_id", "handler", "event_id"):
        if getattr(wanted, column) is not None:
            conditions.append(f"{column} = :{column}")
    if wanted.parked:
        conditions.append("id IN (SELECT id FROM runs INDEXED BY runs_open WHERE finished_at IS NULL AND parked = 1)")
    if wanted.error is not None:
        conditions.append("instr(error, :error) > 0")
    if wanted.since is not None:
        conditions.append("created_at >= :since")
    if wanted.until is not None:
        conditions.append("created_at < :until")
    if wanted.ids is not None:
        conditions.append("id IN (SELECT value FROM json_each(:ids))")
        parameters["ids"] = array(wanted.ids)
    for name in ("status", "company", "kind", "record_id", "handler", "event_id", "error", "since", "until"):
        if getattr(wanted, name) is not None:
            parameters[name] = getattr(wanted, name)
    return conditions, parameters


_INDEXED = ("pending", "running", "dead")
_OF_EVENTS = (
    "id IN (SELECT id FROM runs WHERE event_id IN (SELECT value FROM json_each(:events)) AND replay_of IS NULL "
    "UNION ALL SELECT id FROM runs WHERE event_id IN (SELECT value FROM json_each(:events)) AND replay_of IS NOT NULL)"
)


def _events(db: sqlite3.Connection, wanted: RunFilter) -> str:
    """Give the ids of the events whose runs are wanted."""
    if wanted.event_id is not None:
        return array([wanted.event_id])
    (ids,) = db.execute(
        "SELECT json_group_array(id) FROM events INDEXED BY events_in_brief WHERE record_id = ?", (wanted.record_id,)
    ).fetchone()
    return str(ids)


def list_runs(db: sqlite3.Connection, wanted: RunFilter, before: int, limit: int) -> list[Run]:
    """Read a page of a listing, newest first, from behind the run `before`."""
    conditions, parameters = run_conditions(wanted)
    narrow = wanted.event_id is not None or wanted.record_id is not None
    if narrow:
        parameters["events"] = _events(db, wanted)
    narrow = narrow or wanted.ids is not None or wanted.status in _INDEXED
    brief = not narrow and (wanted.handler or wanted.since or wanted.until)
    table = "runs INDEXED BY runs_in_brief" if brief else "runs"
    conditions.append("id < :before")
    parameters |= {"before": before, "limit": limit}
    source = f"SELECT * FROM {table} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
    return [run_of(row) for row in one_json(db, many_json(RUN_COLUMNS, source), parameters)]


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Count what there is, from the small indexes."""
    found: dict[str, int] = one_json(
        db,
        "SELECT json_object('events', events, "
        "'undispatched', (SELECT count(*) FROM events WHERE status = 'stored' AND status <> 'dispatched'), "
        "'pending', (SELECT count(*) FROM runs INDEXED BY runs_open WHERE finished_at IS NULL) "
        "- (SELECT count(*) FROM runs WHERE status = 'running'), "
        "'running', (SELECT count(*) FROM runs WHERE status = 'running'), "
        "'dead', (SELECT count(*) FROM runs WHERE status = 'dead')) FROM counters",
    )
    return found


_NOTHING_OPEN = """
NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.event_id = events.id AND r.replay_of IS NULL AND r.finished_at IS NULL)
AND NOT EXISTS (
    SELECT 1 FROM runs AS r WHERE r.event_id = events.id AND r.replay_of IS NOT NULL AND r.finished_at IS NULL
)
"""


def finished_before(db: sqlite3.Connection, before: float, limit: int) -> list[int]:
    """Find the oldest events whose runs have all ended."""
    source = (
        "SELECT id FROM events INDEXED BY events_in_brief WHERE received_at < ? AND status <> 'stored' "
        f"AND {_NOTHING_OPEN} ORDER BY id LIMIT ?"
    )
    found: list[int] = one_json(db, f"SELECT json_group_array(id) FROM ({source})", (before, limit))
    return found


@many
def purge_many(db: sqlite3.Connection, event_ids: Sequence[int], before: float, limit: int) -> int:
    """Delete events with all that hangs on them, those left out that got an open run meanwhile; and what is as old."""
    for table, when in (("proofs", "proven_at"), ("writes", "run_id IS NULL AND intended_at")):
        db.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {when} < ? ORDER BY id LIMIT ?)",
            (before, limit),
        )
    gone: list[int] = one_json(
        db,
        "SELECT json_group_array(id) FROM events NOT INDEXED WHERE id IN (SELECT value FROM json_each(?)) "
        f"AND {_NOTHING_OPEN}",
        (array(event_ids),),
    )
    if not gone:
        return 0
    events = array(gone)
    runs = "SELECT id FROM runs WHERE event_id IN (SELECT value FROM json_each(?)) AND replay_of IS "
    run_ids = array(
        one_json(db, f"SELECT json_group_array(id) FROM ({runs} NULL UNION ALL {runs} NOT NULL)", (events, events))
    )
    for table, column, ids in (
        ("memories", "run_id", run_ids),
        ("attempts", "run_id", run_ids),
        ("writes", "run_id", run_ids),
        ("runs", "id", run_ids),
    ):
        db.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (ids,))
    _delete_events(db, events)
    db.execute(
        "UPDATE counters SET events = events - ?, purged_event_id = max(purged_event_id, ?)", (len(gone), max(gone))
    )
    return len(gone)


def _delete_events(db: sqlite3.Connection, events: str) -> None:
    """Delete events, and each pack of bodies with the last of its events."""
    among = "WHERE id IN (SELECT value FROM json_each(?))"
    packs = one_json(db, f"SELECT json_group_array(DISTINCT coalesce(body_id, id)) FROM events {among}", (events,))
    db.execute(f"DELETE FROM events {among}", (events,))
    db.execute(
        f"DELETE FROM bodies {among} AND NOT EXISTS (SELECT 1 FROM json_each(coalesce(entries, '[]')) AS entry "
        "JOIN events ON events.id = json_extract(entry.value, '$[0]'))",
        (array(packs),),
    )
