"""Dispatch and replay: making runs at the end of their lanes, in SQL for PostgreSQL. Imports the rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from pipeflow.store.base import Dispatch, Owned, Run
from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_events import mark_dispatched
from pipeflow.store.postgres_rows import many
from pipeflow.store.postgres_runs import end_runs, runs_by_id
from pipeflow.store.rules import SUPERSEDED, Head, Seed, seeds_again, seeds_of


async def _dispatch(work: Work, dispatches: Sequence[Dispatch], owned: Owned, now: float) -> list[Run]:
    heads = await _waiting(work, [one.event_id for one in dispatches])
    decided = {one.event_id: one for one in dispatches if one.event_id in heads}
    mine = [(heads[event_id], one) for event_id, one in decided.items() if work.owns(owned, heads[event_id].partition)]
    await mark_dispatched(work, [one for _, one in mine], now)
    made: dict[int, Run] = {}
    for is_tick, group in groupby(mine, lambda pair: pair[0].kind == "job"):
        for part in ([pair] for pair in group) if is_tick else [list(group)]:
            seeds = [seed for head, one in part for seed in seeds_of(head, one.runs)]
            superseded = await _supersede(work, seeds, now) if is_tick else ()
            made.update((run.id, run) for run in await runs_by_id(work, made.keys() & superseded))
            made.update((run.id, run) for run in await _insert(work, seeds, now))
    return list(made.values())


dispatch = Operation(each(_dispatch), events=lambda dispatches, *_: [one.event_id for one in dispatches])


async def _waiting(work: Work, event_ids: Sequence[int]) -> dict[int, Head]:
    found = await work.rows(
        "SELECT id, company, kind, record_id, partition, bulk FROM pipeflow.events "
        "WHERE id = ANY(%s::bigint[]) AND status = 'stored'",
        list(event_ids),
    )
    return {row[0]: Head(*row) for row in found}


_OCCUPIED = """
SELECT (SELECT array_agg(nextval('pipeflow.run_ids')) FROM generate_series(1, %s)),
    array(SELECT lane FROM unnest(%s::text[]) AS wanted(lane) CROSS JOIN LATERAL (
        SELECT FROM pipeflow.runs AS r WHERE r.lane = wanted.lane AND r.finished_at IS NULL LIMIT 1) AS open)
"""
_INSERT = """
INSERT INTO pipeflow.runs (id, event_id, handler, lane, company, kind, record_id, partition, priority, replay_of,
    status, due_at, created_at)
SELECT g.*, 'pending', due.due_at, %s FROM json_to_recordset(%s::json) AS g(id bigint, event_id bigint, handler text,
    lane text, company bigint, kind text, record_id text, partition integer, priority integer, replay_of bigint)
LEFT JOIN json_to_recordset(%s::json) AS due(id bigint, due_at double precision) USING (id)
"""


async def _insert(work: Work, seeds: Sequence[Seed], now: float) -> list[Run]:
    """Make runs at the end of their lanes."""
    if not seeds:
        return []
    lanes = list({seed.lane for seed in seeds if seed.lane is not None})
    ((ids, found),) = await work.rows(_OCCUPIED, len(seeds), lanes)
    occupied = set(found)
    given, due, made = [], [], []
    for run_id, seed in zip(ids, seeds, strict=True):
        due_at = None if seed.lane in occupied else now
        if seed.lane is not None:
            occupied.add(seed.lane)
        if due_at is not None:
            due.append({"id": run_id, "due_at": now})
        given.append({"id": run_id, **seed._asdict()})
        made.append(Run(run_id, *seed[:7], "pending", 0, due_at, None, seed.replay_of, now, None, seed.priority))
    await work.run(_INSERT, now, many(given), many(due))
    return made


async def _supersede(work: Work, seeds: Sequence[Seed], now: float) -> list[int]:
    """End the runs of older ticks that wait; give their ids."""
    superseded: list[int] = []
    for seed in seeds:
        found = await work.rows(
            "SELECT id FROM pipeflow.runs "
            "WHERE handler = %s AND company = %s AND kind = 'job' AND finished_at IS NULL AND status = 'pending'",
            seed.handler,
            seed.company,
        )
        superseded += [run_id for (run_id,) in found]
    await end_runs(work, superseded, "skipped", SUPERSEDED, now)
    return superseded


async def _replay(work: Work, run_ids: Sequence[int], now: float) -> list[Run]:
    return await _insert(work, seeds_again(run_ids, await runs_by_id(work, run_ids)), now)


replay = Operation(each(_replay), runs=lambda run_ids, _: run_ids)
