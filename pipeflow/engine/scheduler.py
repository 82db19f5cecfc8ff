"""The clock: APScheduler says when, the store makes each tick happen once. Imports the registry and store rows."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from apscheduler.events import EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.duetimes import DueTimes
from pipeflow.errors import PipeflowError, StoreError, StoreUnavailable
from pipeflow.events import TICK, partition_of
from pipeflow.registry import Job, Registry
from pipeflow.store.base import Account, NewEvent, Store

SET_BACK = 60.0
WATCH_SECONDS = 30.0
AGAIN_SECONDS = 1.0

log = logging.getLogger("pipeflow.scheduler")


class Scheduler:
    """Turns due times into ticks, and does the framework's own jobs.

    A tick is an event with the key (company, job, due time), so that it is stored once however many clocks tell it, and
    once whichever of the company's accounts acts.
    """

    def __init__(
        self, store: Store, registry: Registry, accounts: Accounts, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._registry = registry
        self._accounts = accounts
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self._own: list[tuple[str, float, Callable[[], Awaitable[Any]], bool]] = []
        self._ticks: dict[str, tuple[Job, Account]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._watching: asyncio.Task[None] | None = None
        self._latest = 0.0

    def own(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Awaitable[Any]],
        *,
        at_once: bool = False,
        alone: bool = False,
    ) -> None:
        """Do a job of the framework itself every so many seconds while this process runs.

        `at_once`: also at start. `alone`: one process of many does it each time.
        """
        self._own.append((name, seconds, self._alone(name, seconds, work) if alone else work, at_once))

    def hurry(self, name: str) -> None:
        """Do a job of the framework itself now, and not only when it is due."""
        if self._scheduler.running:
            self._scheduler.modify_job(f"own:{name}", next_run_time=datetime.now(UTC))

    async def start(self) -> None:
        """Tell each job's latest missed tick, then start the clock."""
        await self.follow()
        for name, seconds, work, at_once in self._own:
            self._scheduler.add_job(
                self._do,
                "interval",
                (name, work),
                seconds=seconds,
                id=f"own:{name}",
                misfire_grace_time=None,
                coalesce=True,
                **({"next_run_time": datetime.now(UTC)} if at_once else {}),
            )
        self._scheduler.add_listener(self._submitted, EVENT_JOB_SUBMITTED)
        self._scheduler.start()
        self._latest = self._clock()
        self._watching = asyncio.create_task(self._watch(), name="scheduler")

    async def follow(self, _: int | None = None) -> None:
        """Let each company's jobs be due in the zone of the account that acts for it, and nobody else's any more."""
        wanted = {
            f"{job.name}:{account.company}": (job, account)
            for account in await self._accounts.connected()
            if account.acting
            for job in self._registry.jobs.values()
        }
        for key in self._ticks.keys() - wanted.keys():
            del self._ticks[key]
            self._scheduler.remove_job(key)
        for key, (job, account) in wanted.items():
            known = self._ticks.get(key)
            if known is None or (known[1].id, known[1].timezone) != (account.id, account.timezone):
                await self._schedule(key, job, account)

    async def stop(self) -> None:
        """Stop the clock; ticks that are being stored are stored."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        waiting = [*self._telling]
        if self._watching is not None:
            self._watching.cancel()
            waiting.append(self._watching)
        await asyncio.gather(*waiting, return_exceptions=True)

    def follow_clock(self) -> None:
        """Compute due times anew where the clock was set back, so that no job waits for a time that comes again.

        Due times that were told already are not told again; jobs of the framework itself are done at once.
        """
        now, latest = self._clock(), self._latest
        self._latest = now
        if now >= latest - SET_BACK or not self._scheduler.running:
            return
        log.warning("The clock was set back by %.0f s; jobs are due by what it says now.", latest - now)
        for key, (job, account) in self._ticks.items():
            due = DueTimes(job, _zone(job, account)).after(now)
            if due is not None:
                self._scheduler.modify_job(key, next_run_time=datetime.fromtimestamp(due, UTC))
        for name, *_ in self._own:
            self.hurry(name)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.follow_clock()

    async def _schedule(self, key: str, job: Job, account: Account) -> None:
        due_times = DueTimes(job, _zone(job, account))
        self._ticks[key] = (job, account)
        missed = due_times.latest(self._clock())
        if missed is not None and missed >= account.connected_at:
            await self.tick(job, account, missed)
        self._scheduler.add_job(
            _nothing,
            due_times,
            id=key,
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
            replace_existing=True,
        )

    async def tick(self, job: Job, account: Account, due_at: float) -> bool:
        """Store a tick; False where it was stored before."""
        stamp = datetime.fromtimestamp(due_at, UTC).isoformat()
        event = NewEvent(
            company=account.company,
            key=f"tick:{job.name}:{due_at:.3f}",
            name=TICK,
            kind="job",
            record_id=job.name,
            action=TICK,
            source="tick",
            raw=orjson.dumps({"job": job.name, "account": account.id, "due_at": stamp}),
            received_at=self._clock(),
            partition=partition_of(account.company, "job", job.name),
            occurred_at=due_at,
        )
        (event_id,) = await self._store.add_events((event,))
        return event_id is not None

    def _submitted(self, event: JobSubmissionEvent) -> None:
        """APScheduler says that a time has come; the due time is its own, not the moment at which it says so."""
        known = self._ticks.get(event.job_id)
        if known is None:
            return
        due_at = event.scheduled_run_times[-1].timestamp()
        telling = asyncio.get_running_loop().create_task(self._tell(*known, due_at))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell(self, job: Job, account: Account, due_at: float) -> None:
        """Store a tick; while the store cannot, try again, until we end: then the next start makes up for it."""
        while True:
            try:
                await self.tick(job, account, due_at)
            except StoreUnavailable as error:
                log.warning("The tick of %s could not be stored and will be again: %s", job.name, error)
                await asyncio.sleep(AGAIN_SECONDS)
                if self._scheduler.running:
                    continue
            except StoreError as error:
                log.error("The tick of %s could not be stored: %s", job.name, error)
            return

    async def _do(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await work()
        except PipeflowError as error:
            log.warning("%s did not work this time and is tried again: %s", name, error)
        except asyncio.CancelledError:
            if self._scheduler.running:
                raise

    def _alone(self, name: str, seconds: float, work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        """Let one process do it: whoever comes first keeps the others from it for almost the whole interval."""

        async def do() -> None:
            if not await self._store.take_lease(f"job:{name}", self._holder, self._clock(), seconds * 0.9):
                return
            try:
                await work()
            except PipeflowError:
                await self._store.release_lease(f"job:{name}", self._holder)
                raise

        return do


async def _nothing() -> None:
    """Stand for a tick in APScheduler: the listener makes the event."""


def _zone(job: Job, account: Account) -> str:
    return account.timezone if job.timezone == "account" else job.timezone or "UTC"
