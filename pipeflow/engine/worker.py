"""The engine: dispatches events, starts attempts in free slots, records how they end. Imports the rooms beside it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.dispatch import Dispatcher
from pipeflow.engine.execute import Executor
from pipeflow.engine.lanes import Ready
from pipeflow.engine.observers import Observer
from pipeflow.engine.writes import Ledger
from pipeflow.errors import StoreError, StoreUnavailable
from pipeflow.registry import Handler, Job, Registry
from pipeflow.settings import Settings
from pipeflow.store.base import ALL, Closing, EventFilter, Run, Store, StoredEvent

REFILL = 1000
LONGEST_WITHOUT_REFILL = 1.0
REMEMBERED_EVENTS = 2000
LONGEST_SLEEP = 60.0
SHORTEST_SLEEP = 0.5
BACK_OFF = 1.0

log = logging.getLogger("pipeflow.engine")


class Engine:
    """Works the runs of one machine: every partition is its own.

        engine = Engine(store, registry, settings, accounts)
        await engine.start()
        ...
        await engine.stop(grace=20)

    `observers` are told what arrives and how runs end. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        accounts: Accounts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.observers: list[Observer] = []
        self._store = store
        self._registry = registry
        self._clock = clock
        self._ledger = Ledger(store, clock)
        self._ledger.on_settled = lambda: self._woken.set()
        self._dispatcher = Dispatcher(store, registry, self._ledger)
        self._executor = Executor(self._ledger, accounts, settings.retry_delays, settings.concurrency)
        limits = {handler.name: handler.concurrency for handler in registry.handlers.values()}
        self._ready = Ready(settings.concurrency, {**limits, **dict.fromkeys(registry.jobs, 1)})
        self._events: OrderedDict[int, StoredEvent] = OrderedDict()
        self._attempts: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None
        self._resting: dict[int, float] = {}
        self._probes: dict[int, int] = {}
        self._unknown: set[str] = set()
        self._refill_at = 0.0

    async def start(self) -> None:
        """Take up what a dead owner left, then work until `stop`."""
        suspects = await self._store.recover(ALL, self._clock())
        await self._ledger.begin()
        self._store.on_change(self._woken.set)
        self._loop_task = asyncio.create_task(self._work(suspects), name="engine")

    async def stop(self, grace: float) -> None:
        """Claim nothing more, let attempts finish within `grace` seconds, and hand the others back uncounted."""
        self._stopping = True
        self._woken.set()
        if self._loop_task is None:
            return
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=grace)
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)
        await self._ledger.end()
        self._executor.close()

    async def _work(self, suspects: list[Run]) -> None:
        if suspects:
            self._notice(f"The last process ended in the middle of {len(suspects)} runs; each is tried alone first.")
        for suspect in suspects:
            if self._stopping:
                return
            await self._safely(self._attempt(suspect, alone=True))
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
        events, runs = await self._dispatcher.step(ALL, self._clock())
        self._tell_dispatched(events, runs)
        for run in runs:
            if run.due_at is not None:
                self._offer(run)
        self._fill()
        overdue = self._clock() >= self._refill_at
        if events and not overdue:
            return
        if overdue or self._ready.hungry():
            await self._refill()
            self._fill()
        await self._sleep()

    async def _refill(self) -> None:
        """Fetch what is due; past the runs of a company of which no more fits in, so that others do not wait for it."""
        self._refill_at = self._clock() + LONGEST_WITHOUT_REFILL
        self._ready.overflowed.clear()
        crowded: set[int] = set()
        while True:
            runs = await self._store.due_runs(ALL, self._clock(), limit=REFILL, resting=crowded)
            for run in runs:
                self._offer(run)
            more = self._ready.crowded()
            if len(runs) < REFILL or more <= crowded:
                return
            crowded |= more

    async def _sleep(self) -> None:
        due_at = await self._store.next_due_at(ALL)
        waits = [due_at] if due_at is not None else []
        waits.extend(self._resting.values())
        if self._dispatcher.wake_at is not None:
            waits.append(self._dispatcher.wake_at)
        pause = LONGEST_SLEEP
        if waits:
            pause = min(max(min(waits) - self._clock(), SHORTEST_SLEEP if self._ready_or_blocked() else 0.01), pause)
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            pass

    def _ready_or_blocked(self) -> bool:
        """Say whether what is due already waits for a slot, a handler or an account, so that asking again is idle."""
        return bool(self._attempts or self._resting or self._unknown or len(self._ready))

    def _offer(self, run: Run) -> None:
        if run.handler not in self._registry.handlers and run.handler not in self._registry.jobs:
            if run.handler not in self._unknown:
                self._unknown.add(run.handler)
                self._notice(f"Runs of {run.handler} wait: no recipe here has it. They go on when one does.")
            return
        if run.company in self._resting and not self._may_probe(run):
            return
        self._ready.offer(run)

    def _may_probe(self, run: Run) -> bool:
        """After an account's rest, let one run through: the others wait for how it ends."""
        if self._clock() < self._resting[run.company] or run.company in self._probes:
            return False
        self._probes[run.company] = run.id
        return True

    def _fill(self) -> None:
        while not self._stopping and (run := self._ready.take()) is not None:
            attempt = asyncio.create_task(self._slot(run))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)

    async def _slot(self, run: Run) -> None:
        try:
            await self._safely(self._attempt(run))
        finally:
            self._ready.forget(run.id)
            if self._probes.get(run.company) == run.id:
                del self._probes[run.company]
            self._fill()
            self._woken.set()

    async def _attempt(self, run: Run, *, alone: bool = False) -> None:
        held = not alone
        try:
            entry = self._registry.handlers.get(run.handler) or self._registry.jobs.get(run.handler)
            if entry is None:
                self._offer(run)
                return
            attempt = await self._store.open_attempt(run.id, ALL, self._clock(), alone=alone)
            if attempt is None:
                return
            started = time.perf_counter()
            closing, pause = await self._executed(entry, run)
            seconds = time.perf_counter() - started
            if held:
                self._ready.release(run)
                held = False
            self._rest(run, closing, pause)
            following = await self._close(closing)
            self._tell_closed(run, closing, seconds)
            if following is not None and following.due_at is not None:
                self._offer(following)
        finally:
            if held:
                self._ready.release(run)

    async def _executed(self, entry: Handler | Job, run: Run) -> tuple[Closing, float]:
        try:
            return await self._executor.execute(entry, run, await self._event(run.event_id))
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            reason = "the process was told to end"
            now = self._clock()
            return Closing(run.id, "released", "pending", counted=False, due_at=now, error=reason), 0.0

    async def _close(self, closing: Closing) -> Run | None:
        """Record the end; while the store cannot, try again: the handler has run and must not run once more."""
        while True:
            try:
                return await self._store.close_attempt(closing, ALL, self._clock())
            except StoreUnavailable as error:
                log.warning("The end of run %d could not be stored and will be again: %s", closing.run_id, error)
                await asyncio.sleep(BACK_OFF)

    def _rest(self, run: Run, closing: Closing, pause: float) -> None:
        """Let the company's runs wait where its account is in trouble, and go on where it is not any more."""
        if pause:
            first = run.company not in self._resting
            self._resting[run.company] = self._clock() + pause
            self._ready.drop(run.company)
            if first:
                self._notice(
                    f"Company {run.company} rests for {pause:g} s, and no run loses an attempt: {closing.error}"
                )
        elif run.company in self._resting and closing.outcome != "released":
            del self._resting[run.company]
            self._notice(f"Company {run.company} goes on.")

    async def _event(self, event_id: int) -> StoredEvent:
        known = self._events.get(event_id)
        if known is not None:
            return known
        found = await self._store.events(EventFilter(ids=(event_id,)))
        if not found:
            raise StoreError(f"Event {event_id} is gone from the store, though a run of it is open.")
        self._remember(found[0])
        return found[0]

    def _remember(self, event: StoredEvent) -> None:
        self._events[event.id] = event
        if len(self._events) > REMEMBERED_EVENTS:
            self._events.popitem(last=False)

    def _tell_dispatched(self, events: list[StoredEvent], runs: list[Run]) -> None:
        handlers: dict[int, list[str]] = {}
        for run in runs:
            handlers.setdefault(run.event_id, []).append(run.handler)
        for event in events:
            if event.id in handlers:
                self._remember(event)
            for observer in self.observers:
                observer.event_dispatched(event, handlers.get(event.id, ()))

    def _tell_closed(self, run: Run, closing: Closing, seconds: float) -> None:
        for observer in self.observers:
            observer.run_closed(run, closing, seconds)

    def _notice(self, text: str) -> None:
        for observer in self.observers:
            observer.notice(text)
