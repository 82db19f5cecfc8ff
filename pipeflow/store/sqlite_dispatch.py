"""Dispatch and replay: making runs at the end of their lanes, in SQL for SQLite. Imports the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby

from pipeflow.store.base import Dispatch, Owned, Run
from pipeflow.store.rules import SUPERSEDED, Head, Seed, seeds_again, seeds_of
from pipeflow.store.sqlite_events import mark_dispatched
from pipeflow.store.sqlite_rows import array, bulk, one_json
from pipeflow.store.sqlite_runs import end_runs, runs_by_id


def dispatch_many(db: sqlite3.Connection, calls: Sequence[tuple[Sequence[Dispatch], Owned, float]]) -> list[list[Run]]:
    """Commit dispatch decisions."""
    return [_dispatch(db, *call) for call in calls]


def _dispatch(db: sqlite3.Connection, dispatches: Sequence[Dispatch], owned: Owned, now: float) -> list[Run]:
    heads = {head.event_id: head for head in _waiting(db, [one.event_id for one in dispatches])}
    decided = {one.event_id: one for one in dispatches if one.event_id in heads}
    mine = [(heads[event_id], one) for event_id, one in decided.items() if heads[event_id].partition in owned]
    mark_dispatched(db, [one for _, one in mine], now)
    made: dict[int, Run] = {}
    for is_tick, group in groupby(mine, lambda pair: pair[0].kind == "job"):
        for part in ([pair] for pair in group) if is_tick else [list(group)]:
            seeds = [seed for head, one in part for seed in seeds_of(head, one.runs)]
            superseded = _supersede(db, seeds, now) if is_tick else ()
            made.update((run.id, run) for run in runs_by_id(db, made.keys() & superseded))
            made.update((run.id, run) for run in _insert(db, seeds, now))
    return list(made.values())


def _waiting(db: sqlite3.Connection, event_ids: Sequence[int]) -> list[Head]:
    rows = one_json(
        db,
        "SELECT json_group_array(json_array(id, company, kind, record_id, partition, bulk)) FROM events NOT INDEXED "
        "WHERE id IN (SELECT value FROM json_each(?)) AND status = 'stored'",
        (array(event_ids),),
    )
    return [Head(*row) for row in rows]


def _insert(db: sqlite3.Connection, seeds: Sequence[Seed], now: float) -> list[Run]:
    """Make runs at the end of their lanes."""
    if not seeds:
        return []
    occupied = _occupied(db, {seed.lane for seed in seeds if seed.lane is not None})
    ((last,),) = db.execute("UPDATE counters SET run_id = run_id + ? RETURNING run_id", (len(seeds),)).fetchall()
    first = last - len(seeds) + 1
    rows, made = [], []
    for run_id, seed in enumerate(seeds, first):
        due_at = None if seed.lane in occupied else now
        if seed.lane is not None:
            occupied.add(seed.lane)
        rows.append((run_id, *seed, due_at, now))
        made.append(Run(run_id, *seed[:7], "pending", 0, due_at, None, seed.replay_of, now, None, seed.priority))
    bulk(
        db,
        "INSERT INTO runs (id, event_id, handler, lane, company, kind, record_id, partition, priority, replay_of, "
        "status, due_at, created_at) SELECT * FROM {rows}",
        [(*row[:10], "pending", *row[10:]) for row in rows],
    )
    return made


def _occupied(db: sqlite3.Connection, lanes: Iterable[str]) -> set[str | None]:
    return set(
        one_json(
            db,
            "SELECT json_group_array(wanted.value) FROM json_each(?) AS wanted WHERE EXISTS ("
            "SELECT 1 FROM runs INDEXED BY runs_open WHERE lane = wanted.value AND finished_at IS NULL)",
            (array(lanes),),
        )
    )


def _supersede(db: sqlite3.Connection, seeds: Sequence[Seed], now: float) -> list[int]:
    """End the runs of older ticks that wait; give their ids."""
    superseded: list[int] = []
    for seed in seeds:
        superseded += one_json(
            db,
            "SELECT json_group_array(id) FROM runs INDEXED BY runs_open_ticks "
            "WHERE handler = ? AND company = ? AND kind = 'job' AND finished_at IS NULL AND status = 'pending'",
            (seed.handler, seed.company),
        )
    end_runs(db, superseded, "skipped", SUPERSEDED, now)
    return superseded


def replay_many(db: sqlite3.Connection, calls: Sequence[tuple[Sequence[int], float]]) -> list[list[Run]]:
    """Make new runs of old ones."""
    return [_replay(db, *call) for call in calls]


def _replay(db: sqlite3.Connection, run_ids: Sequence[int], now: float) -> list[Run]:
    return _insert(db, seeds_again(run_ids, runs_by_id(db, run_ids)), now)
