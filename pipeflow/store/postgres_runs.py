"""Runs, lanes and attempts, in SQL for PostgreSQL. Imports the rows; called by postgres.py.

A lane is the open runs that carry its name, in the order of their ids. Only its first has a due time, so that finding
what may start costs the same however many wait behind it. The partitions of all runs that a call here touches are
locked before (see postgres_batches), so what is read stays true until the end of the transaction.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeflow.store.base import Attempt, Closing, Owned, Run
from pipeflow.store.postgres_batches import Later, Operation, Work, each
from pipeflow.store.postgres_link import Connection, rows
from pipeflow.store.postgres_rows import ATTEMPT_COLUMNS, RUN_COLUMNS, attempt_of, many, prefixed, run_of
from pipeflow.store.rules import CRASHES_ALLOWED, DIED, DIED_TOO_OFTEN, ENDED


async def end_runs(work: Work, run_ids: Sequence[int], status: str, error: str | None, now: float) -> None:
    """End runs without an attempt."""
    if run_ids:
        await work.run(
            "UPDATE pipeflow.runs SET status = %s, error = %s, finished_at = %s, due_at = NULL, suspect = false "
            "WHERE id = ANY(%s::bigint[])",
            status,
            error,
            now,
            list(run_ids),
        )


async def runs_by_id(work: Work, run_ids: Iterable[int]) -> list[Run]:
    """Read runs, oldest first."""
    ids = list(run_ids)
    if not ids:
        return []
    found = await work.rows(f"SELECT {RUN_COLUMNS} FROM pipeflow.runs WHERE id = ANY(%s::bigint[]) ORDER BY id", ids)
    return [run_of(row) for row in found]


# What may start ------------------------------------------------------------------------------------------------------
_DUE = "r.status = 'pending' AND r.due_at IS NOT NULL AND NOT r.parked"
NOT_PAUSED = """((SELECT count(*) = 0 FROM pipeflow.pauses) OR NOT EXISTS (SELECT FROM pipeflow.pauses AS p
    WHERE (p.what = 'account' AND p.company = r.company) OR (p.what = 'handler' AND p.handler = r.handler)
    OR (p.what = 'record' AND p.company = r.company AND p.kind = r.kind AND p.record_id = r.record_id)))"""
_PLENTY = "SELECT * FROM unnest(%(companies)s::bigint[], %(names)s::text[], %(levels)s::int[])"
_MINE = "unnest(%(owned)s::int[]) AS mine(partition) CROSS JOIN (VALUES (0), (1)) AS level(priority)"


def _that_may_start(parameters: dict[str, Any], handlers: Collection[str] | None, resting: Collection[int]) -> str:
    conditions = f"r.partition = mine.partition AND r.priority = level.priority AND {_DUE} AND {NOT_PAUSED}"
    if handlers is not None:
        conditions += " AND r.handler = ANY(%(handlers)s::text[])"
        parameters["handlers"] = list(handlers)
    if resting:
        conditions += " AND r.company <> ALL(%(resting)s::bigint[])"
        parameters["resting"] = list(resting)
    return conditions


async def due_runs(
    db: Connection,
    owned: Owned,
    now: float,
    limit: int,
    handlers: Collection[str] | None,
    resting: Collection[int],
    plenty: Collection[tuple[int, str, int]],
) -> list[Run]:
    """Read what may start, interactive work first; from each partition little more than its share of the limit."""
    share = 64 + 4 * limit // max(1, len(owned))
    parameters: dict[str, Any] = {"owned": list(owned), "now": now, "limit": limit, "share": min(limit, share)}
    conditions = _that_may_start(parameters, handlers, resting)
    if plenty:
        conditions += f" AND (r.company, r.handler, r.priority) NOT IN ({_PLENTY})"
        parameters["companies"], parameters["names"], parameters["levels"] = map(list, zip(*plenty, strict=True))
    found = await rows(
        db,
        f"SELECT {prefixed(RUN_COLUMNS, 'due')} FROM {_MINE} CROSS JOIN LATERAL (SELECT {RUN_COLUMNS} "
        f"FROM pipeflow.runs AS r WHERE {conditions} AND r.due_at <= %(now)s ORDER BY r.due_at, r.id LIMIT %(share)s"
        ") AS due ORDER BY due.priority, due.due_at, due.id LIMIT %(limit)s",
        parameters,
    )
    return [run_of(row) for row in found]


async def next_due_at(
    db: Connection, owned: Owned, handlers: Collection[str] | None, resting: Collection[int]
) -> float | None:
    """Read when the next run may start."""
    parameters: dict[str, Any] = {"owned": list(owned)}
    conditions = _that_may_start(parameters, handlers, resting)
    ((found,),) = await rows(
        db,
        f"SELECT min(due.due_at) FROM {_MINE} CROSS JOIN LATERAL (SELECT r.due_at FROM pipeflow.runs AS r "
        f"WHERE {conditions} ORDER BY r.due_at LIMIT 1) AS due",
        parameters,
    )
    due_at: float | None = found
    return due_at


# Attempts ------------------------------------------------------------------------------------------------------------
# `status || ''` is for the planner, who else looks for a run by its id in the index of all that are due.
_BY_ID = "(r.status || '') = '{}'"
# A call's `owned` travels as rows (m, partition, epoch), once for all calls that share it.
_OWNED = """
), owned AS MATERIALIZED (
    SELECT o.m, p.partition FROM json_to_recordset(%s::json) AS o(m integer, partition integer, epoch bigint)
    JOIN pipeflow.partitions AS p ON p.partition = o.partition AND p.epoch = o.epoch
"""
_OPEN = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS g(n integer, m integer, run_id bigint, now double precision,
        alone boolean)
{_OWNED}
), opened AS (
    UPDATE pipeflow.runs AS r SET status = 'running', due_at = NULL, tries = r.tries + 1
    FROM given AS g JOIN owned USING (m)
    WHERE r.id = g.run_id AND r.partition = owned.partition AND {_BY_ID.format("pending")} AND r.due_at <= g.now
        AND NOT r.parked AND {NOT_PAUSED}
    RETURNING g.n, r.id, r.tries, g.now, g.alone
), noted AS (
    INSERT INTO pipeflow.attempts (run_id, number, started_at, alone) SELECT id, tries, now, alone FROM opened
)
SELECT n, tries FROM opened
"""


class _Owners:
    """The `owned` of many calls as rows, each once."""

    def __init__(self) -> None:
        self.rows: list[dict[str, int]] = []
        self._known: dict[int, int] = {}

    def number(self, owned: Owned) -> int:
        """Give the number under which this mapping travels."""
        m = self._known.get(id(owned))
        if m is None:
            m = self._known[id(owned)] = len(self._known)
            self.rows += [{"m": m, "partition": number, "epoch": epoch} for number, epoch in owned.items()]
        return m


async def _open_many(work: Work, calls: Sequence[tuple[int, Owned, float, bool]]) -> Later:
    """Open attempts of runs that may start; None for the others."""
    owners = _Owners()
    given: dict[int, dict[str, Any]] = {}
    for n, (run_id, owned, now, alone) in enumerate(calls):
        if run_id not in given:
            given[run_id] = {"n": n, "m": owners.number(owned), "run_id": run_id, "now": now, "alone": alone}
    cursor = await work.send(_OPEN, many(list(given.values())), many(owners.rows))

    async def attempts() -> list[Attempt | None]:
        opened = {row[0]: row[1] for row in await cursor.fetchall()}
        return [
            Attempt(run_id, opened[n], now, None, None, False, alone, None, None) if n in opened else None
            for n, (run_id, _, now, alone) in enumerate(calls)
        ]

    return attempts


open_attempts = Operation(_open_many, runs=lambda run_id, *_: (run_id,), sends=True)


class _Running(NamedTuple):
    """A run with an open attempt."""

    id: int
    lane: str | None
    partition: int
    tries: int
    crashes: int = 0
    alone: bool = False


_CLOSE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS g(m integer, run_id bigint, now double precision, outcome text,
        status text, counted boolean, due_at double precision, finished_at double precision, error text,
        traceback text)
{_OWNED}
), closed AS (
    UPDATE pipeflow.runs AS r SET status = g.status, attempts = r.attempts + g.counted::int, due_at = g.due_at,
        finished_at = g.finished_at, error = g.error, crashes = 0, suspect = false
    FROM given AS g JOIN owned USING (m)
    WHERE r.id = g.run_id AND r.partition = owned.partition AND {_BY_ID.format("running")}
    RETURNING r.id, r.tries
)
UPDATE pipeflow.attempts AS a SET finished_at = g.now, outcome = g.outcome, counted = g.counted, error = g.error,
    traceback = g.traceback
FROM closed JOIN given AS g ON g.run_id = closed.id WHERE a.run_id = closed.id AND a.number = closed.tries
"""
# Whatever ended, the first open run of its lane may start: saying so twice does no harm.
_FOLLOWING = f"""
UPDATE pipeflow.runs AS r SET due_at = g.now
FROM json_to_recordset(%s::json) AS g(run_id bigint, now double precision)
JOIN pipeflow.runs AS ended ON ended.id = g.run_id AND ended.finished_at IS NOT NULL CROSS JOIN LATERAL (
    SELECT o.id FROM pipeflow.runs AS o WHERE o.lane = ended.lane AND o.finished_at IS NULL ORDER BY o.id LIMIT 1
) AS head
WHERE r.id = head.id AND r.status = 'pending' AND r.due_at IS NULL
RETURNING g.run_id, {prefixed(RUN_COLUMNS, "r")}
"""


async def _close_many(work: Work, calls: Sequence[tuple[Closing, Owned, float]]) -> Later:
    """Close attempts; give each the run that its end made due."""
    owners = _Owners()
    given: dict[int, dict[str, Any]] = {}
    for closing, owned, now in calls:
        if closing.run_id not in given:
            given[closing.run_id] = {"m": owners.number(owned), **_closing_row(closing, now)}
    await work.send(_CLOSE, many(list(given.values())), many(owners.rows))
    ended = [row for row in given.values() if row["finished_at"] is not None]
    cursor = await work.send(_FOLLOWING, many(ended)) if ended else None

    async def following() -> list[Run | None]:
        found = await cursor.fetchall() if cursor is not None else ()
        due = {row[0]: run_of(row[1:]) for row in found}
        first = (due.pop(closing.run_id, None) for closing, _, _ in calls)
        return [None if run is None or run.parked else run for run in first]

    return following


close_attempts = Operation(_close_many, runs=lambda closing, *_: (closing.run_id,), sends=True)


def _closing_row(closing: Closing, now: float) -> dict[str, Any]:
    ended = closing.status in ENDED
    return {
        "run_id": closing.run_id,
        "now": now,
        "outcome": closing.outcome,
        "status": closing.status if ended else "pending",
        "counted": closing.counted,
        "due_at": None if ended else (now if closing.due_at is None else closing.due_at),
        "finished_at": now if ended else None,
        "error": closing.error,
        "traceback": closing.traceback,
    }


async def advance(work: Work, lanes: Mapping[str, float]) -> dict[str, Run]:
    """Make the first run of each of these lanes due, where it waits; give those that may start, by lane."""
    if not lanes:
        return {}
    found = await work.rows(
        "UPDATE pipeflow.runs AS r SET due_at = wanted.now "
        "FROM json_to_recordset(%s::json) AS wanted(lane text, now double precision) CROSS JOIN LATERAL ("
        "SELECT o.id FROM pipeflow.runs AS o WHERE o.lane = wanted.lane AND o.finished_at IS NULL ORDER BY o.id LIMIT 1"
        ") AS head WHERE r.id = head.id AND r.status = 'pending' AND r.due_at IS NULL "
        f"RETURNING {prefixed(RUN_COLUMNS, 'r')}",
        many([{"lane": lane, "now": now} for lane, now in lanes.items()]),
    )
    return {run.lane or "": run for run in map(run_of, found) if not run.parked}


_INTERRUPT = """
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS g(run_id bigint, number integer, alone boolean)
), closed AS (
    UPDATE pipeflow.attempts AS a SET finished_at = %s, outcome = 'interrupted', counted = g.alone, error = %s
    FROM given AS g WHERE a.run_id = g.run_id AND a.number = g.number
)
UPDATE pipeflow.runs AS r SET status = 'pending', due_at = %s, error = %s, suspect = true,
    attempts = r.attempts + g.alone::int, crashes = r.crashes + g.alone::int
FROM given AS g WHERE r.id = g.run_id
"""


async def _recover(work: Work, owned: Owned, now: float) -> list[Run]:
    """Close what a dead owner left open."""
    mine = [partition for partition in owned if work.owns(owned, partition)]
    found = await work.rows(
        "SELECT r.id, r.lane, r.partition, r.tries, r.crashes, a.alone FROM pipeflow.runs AS r "
        "JOIN pipeflow.attempts AS a ON a.run_id = r.id AND a.number = r.tries "
        "WHERE r.status = 'running' AND r.partition = ANY(%s::int[])",
        mine,
    )
    left = [_Running(*row) for row in found]
    if left:
        given = many([{"run_id": run.id, "number": run.tries, "alone": run.alone} for run in left])
        await work.run(_INTERRUPT, given, now, DIED, now, DIED)
    dead = [run for run in left if run.crashes + run.alone >= CRASHES_ALLOWED]
    await end_runs(work, [run.id for run in dead], "dead", DIED_TOO_OFTEN, now)
    await advance(work, {run.lane: now for run in dead if run.lane is not None})
    suspects = await work.rows(
        f"SELECT {RUN_COLUMNS} FROM pipeflow.runs WHERE suspect AND NOT parked AND status = 'pending' "
        "AND partition = ANY(%s::int[]) ORDER BY id",
        mine,
    )
    return [run_of(row) for row in suspects]


recover = Operation(each(_recover), partitions=lambda owned, _: owned)


async def attempts(db: Connection, run_id: int) -> list[Attempt]:
    """Read a run's attempts, oldest first."""
    found = await rows(
        db, f"SELECT {ATTEMPT_COLUMNS} FROM pipeflow.attempts WHERE run_id = %s ORDER BY number", (run_id,)
    )
    return [attempt_of(row) for row in found]
