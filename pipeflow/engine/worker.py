"""The engine: dispatches events, starts attempts in free slots, records how they end. Imports the rooms beside it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.attempts import BACK_OFF, Attempting, Recorder
from pipeflow.engine.bounded import PATIENCE
from pipeflow.engine.dispatch import Dispatcher
from pipeflow.engine.dryrun import DryRun
from pipeflow.engine.due import DueRuns
from pipeflow.engine.execute import Executor
from pipeflow.engine.fieldnames import CompanyFields
from pipeflow.engine.fuse import LIMIT, SECONDS
from pipeflow.engine.lanes import Ready
from pipeflow.engine.observers import Observers
from pipeflow.engine.ownership import Everything, Ownership
from pipeflow.engine.recent import RecentEvents
from pipeflow.engine.rests import Rests
from pipeflow.engine.writes import Ledger
from pipeflow.errors import NotConnected, StoreUnavailable
from pipeflow.naming import ACCOUNT
from pipeflow.registry import Registry
from pipeflow.settings import Settings
from pipeflow.store.base import Closing, Owned, Run, RunFilter, Store, StoredEvent

LONGEST_SLEEP = 60.0
PATIENCE_BEFORE_SUSPECTS = 10.0

log = logging.getLogger("pipeflow.engine")


class Engine:
    """Works the runs of the partitions that are ours: all of them on one machine.

        engine = Engine(store, registry, settings, accounts)
        await engine.start()
        ...
        await engine.stop(grace=20)

    `observers` are told what arrives and how runs end; `fields` knows the companies' custom fields by name. `clock`
    gives seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        accounts: Accounts,
        *,
        ownership: Ownership | None = None,
        clock: Callable[[], float] = time.time,
        dry_run: bool = False,
    ) -> None:
        self.observers = Observers()
        self._store = store
        self._registry = registry
        self._accounts = accounts
        self._clock = clock
        self._ownership: Ownership = ownership or Everything()
        self._ledger = Ledger(store, clock, shared=ownership is not None)
        self._ledger.on_settled = self._look_at_held
        self._dispatcher = Dispatcher(store, registry, self._ledger)
        self.fields = CompanyFields(store, accounts, clock=clock)
        dry = DryRun(store.add_write, clock) if dry_run else None
        self._executor = Executor(self._ledger, accounts, self.fields, settings.retry_delays, dry)
        limits = {handler.name: handler.concurrency for handler in registry.handlers.values()}
        self._ready = Ready(settings.concurrency, {**limits, **dict.fromkeys(registry.jobs, 1)})
        self._recent = RecentEvents(store)
        self._recorder = Recorder(store, clock)
        self._attempts: set[asyncio.Task[None]] = set()
        self._recorders: set[asyncio.Task[bool]] = set()
        self._ended: list[Attempting] = []
        self._cut_off = False
        self._busy: Counter[int] = Counter()
        self._woken = asyncio.Event()
        self._stopping = False
        self.is_stubborn = False
        self._loop_task: asyncio.Task[None] | None = None
        self._rests = Rests(clock)
        self._due = DueRuns(
            store,
            registry,
            self._ownership,
            self._ready,
            self._rests,
            self._recent,
            clock=clock,
            notice=self.observers.notice,
        )
        self._news = True

    async def start(self) -> None:
        """Take up what a dead owner left, then work until `stop`."""
        await self._ledger.begin()
        self._store.on_change(self.wake)
        self._ready.know(account.company for account in await self._store.accounts())
        handlers = [*self._registry.handlers, *self._registry.jobs]
        await self._ownership.start(self.wake, self._busy.__contains__, handlers)
        self._loop_task = asyncio.create_task(self._work(), name="engine")

    def wake(self) -> None:
        """Have the engine look for events and due runs now: something was stored, or the time has come."""
        self._news = True
        self._due.look_soon()
        self._woken.set()

    def _look_at_held(self) -> None:
        """Look again at events that waited for the outcome of a write of ours."""
        if self._dispatcher.wake_at is not None:
            self._news = True
            self._woken.set()

    async def stop(self, grace: float) -> None:
        """Claim nothing more, let attempts finish within `grace` seconds, and hand the others back uncounted.

        `is_stubborn` says afterwards that a handler goes on all the same; only the end of the process ends it.
        """
        self._stopping = True
        self._woken.set()
        if self._loop_task is None:
            return
        self._ownership.leave()
        await self._attempts_end(grace)
        self._cut_off = True
        await asyncio.sleep(0)  # a task that is cancelled before its first step records nothing
        for attempt in self._attempts:
            attempt.cancel()
        await self._attempts_end(PATIENCE)
        self.is_stubborn = bool(self._attempts)
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)
        await self._ownership.stop()
        await self._ledger.end()

    async def _attempts_end(self, seconds: float) -> None:
        """Wait until nothing is under way and every end is recorded, at most so long."""
        until = time.monotonic() + seconds
        while (under_way := {*self._attempts, *self._recorders}) and (left := until - time.monotonic()) > 0:
            await asyncio.wait(under_way, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def go_on(self, company: int) -> None:
        """Let a company's runs start again, those too that found it not connected: its accounts have changed.

        Those of a company that is gone for good start, too: that ends them.
        """
        self._accounts.forget()
        self._ready.know([company])
        acting = await self._accounts.acting(company)
        if acting is None and isinstance(await self._accounts.missing(company), NotConnected):
            return
        wanted = RunFilter(limit=0, company=company, status="pending", error=NotConnected.__name__)
        waiting = [run.id for run in await self._store.runs(wanted) if run.due_at is not None]
        await self._store.retry_runs(waiting, self._clock())
        if self._rests.end(company):
            self.observers.notice(f"Company {company} goes on: its accounts have changed.")
        self._due.at = 0.0
        self._woken.set()

    async def _work(self) -> None:
        while not self._stopping:
            self._woken.clear()
            if not await self._safely(self._turn()):
                await asyncio.sleep(BACK_OFF)

    async def _safely(self, work: object) -> bool:
        """Keep the engine alive whatever goes wrong in one turn; say it and back off."""
        try:
            await work  # type: ignore[misc]  # a coroutine of ours
        except StoreUnavailable as error:
            log.warning("The store cannot commit: %s", error)
            return False
        except Exception:
            log.exception("The engine met an error of its own and goes on")
            return False
        return True

    async def _turn(self) -> None:
        """Dispatch what is new, start what may start, and sleep until there is something to do."""
        await self._take_up(self._ownership.taken())
        await self._due.follow_clock()
        if self._news or _is_past(self._dispatcher.wake_at, self._clock()):
            await self._dispatch()
        await self._due.step()
        self._fill()
        if not self._news:
            await self._sleep()

    async def _take_up(self, taken: Owned) -> None:
        """Begin partitions that became ours: what their last owner left is tried first, each run alone."""
        if not taken:
            return
        suspects = await self._store.recover(taken, self._clock())
        self._ownership.begin(taken)
        self._news, self._due.at = True, 0.0
        if suspects:
            self.observers.notice(
                f"The last process ended in the middle of {len(suspects)} runs; each is tried alone first."
            )
        if suspects and self._attempts:
            await asyncio.wait(self._attempts, timeout=PATIENCE_BEFORE_SUSPECTS)
        for suspect in suspects:
            if not self._stopping:
                await self._safely(self._try_alone(suspect))

    async def _dispatch(self) -> None:
        self._news = False
        events, runs = await self._dispatcher.step(
            self._ownership.owned, self._clock(), busy=self._ready.busy(), shared=self._ready.is_shared
        )
        self.observers.dispatched(events, runs)
        for company in {event.company for event in events if event.name == f"{ACCOUNT}.connected"}:
            await self.go_on(company)
        stored = {event.id: event for event in events}
        for run in runs:
            if run.due_at is not None and self._due.offer(run) and run.event_id in stored:
                self._recent.keep(stored[run.event_id])
        self._fill()
        self._news |= bool(events)

    async def _sleep(self) -> None:
        wake_at = min(self._due.at, self._dispatcher.wake_at or self._due.at)
        pause = min(max(wake_at - self._clock(), 0.01), LONGEST_SLEEP)
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            pass

    def _fill(self) -> None:
        """Start what may start; what finds a slot now is recorded together."""
        runs: list[Run] = []
        while not self._stopping and (run := self._ready.take()) is not None:
            runs.append(run)
        if runs:
            self._record(self._begin(runs))

    def _record(self, work: Coroutine[Any, Any, None]) -> None:
        recorder = asyncio.create_task(self._safely(work))
        self._recorders.add(recorder)
        recorder.add_done_callback(self._recorders.discard)

    async def _begin(self, runs: Sequence[Run]) -> None:
        """Record that attempts start, then start each in a task of its own."""
        left = {run.id: run for run in runs}
        try:
            for attempt in await self._open(runs):
                del left[attempt.run.id]
                self._start(attempt)
        finally:
            for run in left.values():
                self._ready.release(run)
                self._leave(run)
            if left:
                self._fill()

    def _start(self, attempt: Attempting) -> None:
        if self._cut_off:
            attempt.closing = self._recorder.released(attempt.run, "the process was told to end")
            self._ready.release(attempt.run)
            self._end(attempt)
            return
        attempt.task = asyncio.create_task(self._work_on(attempt))
        self._attempts.add(attempt.task)

    async def _work_on(self, attempt: Attempting) -> None:
        try:
            await self._execute(attempt)
        finally:
            if attempt.task is not None:
                self._attempts.discard(attempt.task)
            self._ready.release(attempt.run)
            if attempt.closing is None:
                self._leave(attempt.run)
                self._fill()
        self._end(attempt)

    async def _execute(self, attempt: Attempting) -> None:
        started = time.perf_counter()
        attempt.closing, pause = await self._executed(attempt)
        attempt.seconds = time.perf_counter() - started
        self._rest(attempt.run, attempt.closing, pause)

    def _end(self, attempt: Attempting) -> None:
        """Have the end of an attempt recorded, with those of all that end in this turn of the loop."""
        self._ended.append(attempt)
        if len(self._ended) == 1:
            self._record(self._end_all())

    async def _end_all(self) -> None:
        ended, self._ended = self._ended, []
        self._fill()
        await self._close(ended)
        for attempt in ended:
            self._leave(attempt.run)
        self._fill()
        if self._ready.overflowed:
            self._woken.set()

    async def _try_alone(self, suspect: Run) -> None:
        """Work a suspect from its beginning to its end, without a slot."""
        try:
            for attempt in await self._open([suspect], alone=not self._attempts):
                await self._execute(attempt)
                await self._close([attempt])
        finally:
            self._leave(suspect)

    def _leave(self, run: Run) -> None:
        """Let a run be offered again, and its event and partition go: it is not under way any more."""
        self._ready.forget(run.id)
        self._recent.let_go(run.event_id)
        self._rests.leave(run)
        self._busy[run.partition] -= 1
        if not self._busy[run.partition]:
            del self._busy[run.partition]

    async def _open(self, runs: Sequence[Run], *, alone: bool = False) -> list[Attempting]:
        """Record that attempts start, in one commit where the store can; give those that do."""
        for run in runs:
            self._busy[run.partition] += 1
        events = await self._recent.among([run.event_id for run in runs])
        blown = [run for run in runs if self._executor.fuse.is_blown(run)]
        for run in blown:
            await self._park(run)
        attempts = [one for run in runs if run not in blown and (one := self._attempting(run, events)) is not None]
        return await self._recorder.begin(attempts, alone=alone)

    def _attempting(self, run: Run, events: Mapping[int, StoredEvent]) -> Attempting | None:
        entry = self._registry.handlers.get(run.handler) or self._registry.jobs.get(run.handler)
        if entry is None:
            self._due.offer(run)
            return None
        event = events.get(run.event_id)
        if event is None:
            log.error("Event %d is gone from the store, though run %d of it is open.", run.event_id, run.id)
            return None
        epoch = self._ownership.owned.get(run.partition)
        return Attempting(run, entry, event, {} if epoch is None else {run.partition: epoch})

    async def _park(self, run: Run) -> None:
        """Have a lane wait for a person: somebody answers each of its writes."""
        reason = f"fuse: it ran {LIMIT} times within {SECONDS:g} s, each time after its own write"
        if await self._store.park_runs([run.id], self._ownership.owned, self._clock(), reason=reason):
            self.observers.notice(
                f"{run.handler} on {run.kind} {run.record_id} is parked, as it looks like a loop through another "
                f"integration ({reason}). `pipeflow runs --handler {run.handler} --record {run.record_id}` shows it; "
                f"`pipeflow runs release {run.id}` lets it go on, `pipeflow runs skip {run.id}` leaves this one out."
            )
        self._executor.fuse.mend(run)

    async def _executed(self, attempt: Attempting) -> tuple[Closing, float]:
        try:
            payload = self._dispatcher.payloads.pop(attempt.event.id, None)
            return await self._executor.execute(attempt.entry, attempt.run, attempt.event, payload)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            return self._recorder.released(attempt.run, "the process was told to end"), 0.0

    async def _close(self, attempts: Sequence[Attempting]) -> None:
        """Record how attempts ended, tell of it, and go on with the runs that waited for that."""
        following = await self._recorder.end(attempts)
        for attempt in attempts:
            due_at = attempt.closing.due_at if attempt.closing is not None else None
            if due_at is not None:
                self._due.look_by(due_at)
                self._woken.set()
            if attempt.closing is not None:
                self.observers.closed(attempt.run, attempt.closing, attempt.seconds)
        for run in following:
            if run.due_at is not None:
                self._due.offer(run)

    def _rest(self, run: Run, closing: Closing, pause: float) -> None:
        """Let the company's runs wait where its account is in trouble, and go on where it is not any more.

        Runs that tell of the account itself neither wait with the others nor prove anything.
        """
        if run.kind == ACCOUNT:
            return
        if pause:
            first = self._rests.begin(run.company, pause)
            self._ready.drop(run.company)
            if first:
                self.observers.notice(
                    f"Company {run.company} rests for {pause:g} s, and no run loses an attempt: {closing.error}"
                )
        elif closing.outcome != "released" and self._rests.end(run.company):
            self.observers.notice(f"Company {run.company} goes on.")
            self.wake()


def _is_past(moment: float | None, now: float) -> bool:
    return moment is not None and now >= moment
