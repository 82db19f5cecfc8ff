"""Partitions handed out by procrastinate: a job for each that has work. Only this file imports procrastinate.

A job says nothing but "somebody work this partition": `lock` and `queueing_lock` are its number, so that one worker at
a time has it. Our own rows are the only truth; a job that is lost is made again by whoever sees the work.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from procrastinate import exceptions
from procrastinate.connector import BaseAsyncConnector
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_link import CONNECTING, Database, pairs, rows
from pipeflow.store.postgres_runs import NOT_PAUSED

QUEUE = "pipeflow"
TASK = "pipeflow.work"
_NAMES = re.compile(r"\bprocrastinate_(?=[a-z])")

BEAT_EVERY = 2.0

__all__ = ["Heart", "Job", "Jobs", "take"]


class _Connector(BaseAsyncConnector):
    """Lets procrastinate ask on our connections, in our schema, without a search path in a session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _execute(self, query: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        given = {name: _wrapped(value) for name, value in arguments.items()}
        async with self._database.connection() as db, db.cursor(row_factory=dict_row) as cursor:
            try:
                await cursor.execute(_NAMES.sub("pipeflow.procrastinate_", query).encode(), given)
            except psycopg.errors.UniqueViolation as error:
                raise exceptions.UniqueViolation(
                    constraint_name=error.diag.constraint_name or "", queueing_lock=None
                ) from error
            except psycopg.errors.RaiseException as error:
                raise exceptions.ConnectorException(str(error)) from error
            return await cursor.fetchall() if cursor.description else []

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        await self._execute(query, arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        found = await self._execute(query, arguments)
        if not found:
            raise exceptions.NoResult
        return found[0]

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        return await self._execute(query, arguments)


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return Jsonb(value)
    if isinstance(value, list):
        return [_wrapped(one) for one in value]
    return tuple(_wrapped(one) for one in value) if isinstance(value, tuple) else value


_DUE = f"""
SELECT FROM pipeflow.runs AS r WHERE r.partition = p.partition AND r.status = 'pending' AND r.due_at IS NOT NULL
    AND NOT r.parked AND r.due_at <= %(now)s AND {NOT_PAUSED}
"""
_WITH_WORK = f"""
SELECT p.partition, (
    SELECT count(*) > 0 FROM pipeflow.procrastinate_jobs AS j
    WHERE j.queueing_lock = p.partition::text AND j.queue_name = '{QUEUE}' AND j.status IN ('todo', 'doing')),
    at.work OR EXISTS ({_DUE} AND r.handler = ANY(%(handlers)s::text[]))
FROM unnest(%(partitions)s::int[]) AS p(partition) CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM pipeflow.events AS e WHERE e.partition = p.partition AND e.status = 'stored')
        OR EXISTS (SELECT FROM pipeflow.runs AS r WHERE r.partition = p.partition AND r.status = 'running') AS work
) AS at
WHERE at.work OR EXISTS ({_DUE})
"""  # noqa: S608 - put together of constants


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that has something to do: whether it has a job, and whether somebody with these handlers can do it.

    A run that somebody is at work on is something to do too: where there is no job, nobody is any more.
    """

    number: int
    has_job: bool
    for_us: bool


async def _take(work: Work, partitions: Collection[int], holder: str, now: float) -> dict[int, int]:
    return await pairs(
        work.db,
        "UPDATE pipeflow.partitions SET epoch = epoch + 1, taken_by = %s, taken_at = %s "
        "WHERE partition = ANY(%s::int[]) RETURNING partition, epoch",
        (holder, now, list(partitions)),
    )


take = Operation(each(_take), partitions=lambda partitions, *_: partitions)


class Jobs:
    """What a worker asks of procrastinate. Its worker id is known after `register`."""

    def __init__(self, database: Database) -> None:
        self.worker_id = 0
        self._database = database
        self._manager = JobManager(_Connector(database))

    async def register(self) -> None:
        """Become a worker, with a heartbeat of now."""
        self.worker_id = await self._manager.register_worker()

    async def unregister(self) -> None:
        """Be a worker no more."""
        await self._manager.unregister_worker(self.worker_id)

    async def with_work(
        self, partitions: Collection[int], now: float, handlers: Collection[str]
    ) -> dict[int, Partition]:
        """Say which of these partitions have something to do now, also whether these handlers can do it."""
        given = {"partitions": list(partitions), "now": now, "handlers": list(handlers)}
        async with self._database.connection() as db:
            return {row[0]: Partition(*row) for row in await rows(db, _WITH_WORK, given)}

    async def offer(self, partitions: Iterable[int]) -> None:
        """Make a job for each of these that has none."""
        for partition in partitions:
            name = str(partition)
            job = Job(queue=QUEUE, task_name=TASK, lock=name, queueing_lock=name, task_kwargs={"partition": partition})
            with suppress(exceptions.AlreadyEnqueued):
                await self._manager.defer_job_async(job)

    async def fetch(self) -> tuple[int, Job] | None:
        """Get the next partition that waits for a worker, and its job; None where none does."""
        job = await self._manager.fetch_job(queues=[QUEUE], worker_id=self.worker_id)
        return None if job is None else (int(str(job.lock)), job)

    async def finish(self, job: Job) -> None:
        """Let go of a partition that has nothing to do."""
        with suppress(exceptions.ConnectorException):  # it was taken from us
            await self._manager.finish_job(job, Status.SUCCEEDED, delete_job=True)

    async def hand_back(self, job: Job) -> None:
        """Let the next worker have a partition that has work."""
        try:
            await self._manager.retry_job(job)
        except exceptions.UniqueViolation:  # somebody has made the next job already
            await self.finish(job)
        except exceptions.ConnectorException:  # it was taken from us
            pass

    async def hand_back_but(self, known: Collection[int]) -> None:
        """Hand back what we were given without hearing of it, as the connection broke."""
        for job in await self._manager.list_jobs_async(queue=QUEUE, status="doing", worker_id=self.worker_id):
            if int(str(job.lock)) not in known:
                await self.hand_back(job)

    async def put_back_stalled(self, seconds: float) -> int:
        """Hand the partitions of workers out again that gave no sign for so many seconds; say how many."""
        stalled = list(await self._manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=seconds))
        for job in stalled:
            await self.hand_back(job)
        await self._manager.prune_stalled_workers(seconds)
        return len(stalled)

    async def workers(self, seconds: float) -> int:
        """Count the workers that gave a sign within so many seconds."""
        async with self._database.connection() as db:
            ((number,),) = await rows(
                db,
                "SELECT count(*) FROM pipeflow.procrastinate_workers "
                "WHERE last_heartbeat > now() - make_interval(secs => %s)",
                (seconds,),
            )
        return int(number)


class Heart:
    """Tells that a worker lives, from a thread of its own: a handler that blocks the loop is no death.

    `alive` says whether the loop gave a sign lately; without it the heart stops, as it is no use to keep partitions for
    a loop that never comes back. `lost` becomes true once the worker was given up, so that its partitions are others'.
    """

    def __init__(self, database_url: str, worker_id: int, alive: Callable[[], bool]) -> None:
        self.lost = False
        self._beaten_at = self._steady_since = time.monotonic()
        self._url = database_url
        self._worker_id = worker_id
        self._alive = alive
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeflow-heart", daemon=True)

    def is_steady(self, seconds: float) -> bool:
        """Say whether it has beaten for so long without a pause: only then are others judged by theirs.

        When the database comes back after a while, nobody has beaten, and nobody is dead.
        """
        now = time.monotonic()
        return now - self._beaten_at < 2 * BEAT_EVERY and now - self._steady_since > seconds

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; does not wait for a connection that hangs."""
        self._stopping.set()

    def _run(self) -> None:
        db: psycopg.Connection[Any] | None = None
        while not self._stopping.wait(BEAT_EVERY):
            if not self._alive():
                continue
            try:
                db = db or psycopg.connect(self._url, autocommit=True, prepare_threshold=None, **CONNECTING)
                self._beat(db)
            except (psycopg.Error, OSError):
                if db is not None:
                    db.close()
                db = None
        if db is not None:
            db.close()

    def _beat(self, db: psycopg.Connection[Any]) -> None:
        done = db.execute(
            b"UPDATE pipeflow.procrastinate_workers SET last_heartbeat = now() WHERE id = %s", (self._worker_id,)
        )
        self.lost = self.lost or done.rowcount == 0
        now = time.monotonic()
        if now - self._beaten_at > 2 * BEAT_EVERY:
            self._steady_since = now
        self._beaten_at = now
