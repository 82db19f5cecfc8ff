"""The runs that are due: brought from the store to the slots, and when to look again. Imports the rooms beside."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pipeflow.engine.lanes import Ready
from pipeflow.engine.ownership import Ownership
from pipeflow.engine.recent import RecentEvents
from pipeflow.engine.rests import Rests
from pipeflow.registry import Registry
from pipeflow.store.base import Run, Store

AT_ONCE, MOST_AT_ONCE = 256, 2000
AGAIN = 0.25
AGAIN_WHILE_BLOCKED = 0.5
LONGEST = 60.0
SET_BACK = 5.0
NEVER = float("inf")

log = logging.getLogger("pipeflow.engine")


class DueRuns:
    """Keeps `ready` filled with runs that may start. `at` is when to fetch next, in seconds since 1970."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        ownership: Ownership,
        ready: Ready,
        rests: Rests,
        recent: RecentEvents,
        *,
        clock: Callable[[], float],
        notice: Callable[[str], None],
    ) -> None:
        self.at = 0.0
        self._store = store
        self._registry = registry
        self._ownership = ownership
        self._ready = ready
        self._rests = rests
        self._recent = recent
        self._clock = clock
        self._notice = notice
        self._unknown: set[str] = set()
        self._fetched_at = self._latest = 0.0

    def look_soon(self) -> None:
        """Fetch soon: something was stored. Many such wishes are one."""
        self.look_by(self._fetched_at + AGAIN)

    def look_by(self, moment: float) -> None:
        """Fetch no later than then."""
        self.at = min(self.at, moment)

    async def step(self) -> None:
        """Fetch where it is time, or where there is room for what was left on disk."""
        if self._clock() >= self.at or (self._ready.overflowed and self._ready.hungry()):
            await self._refill()

    def offer(self, run: Run) -> bool:
        """Take a due run in; False where it stays on disk, or is here already."""
        if run.handler not in self._registry.handlers and run.handler not in self._registry.jobs:
            if run.handler not in self._unknown:
                self._unknown.add(run.handler)
                self._notice(f"Runs of {run.handler} wait: no recipe here has it. They go on when one does.")
            return False
        return self._rests.may_start(run) and self._ready.offer(run)

    async def _refill(self) -> None:
        """Fetch what is due, and say when to do so again; what others wish for meanwhile stays wished."""
        now = self._fetched_at = self._clock()
        self.at = NEVER
        try:
            again_at = await self._fetch(now)
        except BaseException:
            self.at = now
            raise
        self.at = min(self.at, again_at, *self._rests.ends())

    async def _fetch(self, now: float) -> float:
        """Fetch past the runs of which enough are here, so that others do not wait for them, nor for reading them."""
        resting = self._rests.resting(now)
        handlers = [*self._registry.handlers, *self._registry.jobs] if self._unknown else None
        owned = self._ownership.owned
        self._ready.overflowed.clear()
        plenty = self._ready.plenty()
        while True:
            limit = min(AT_ONCE + len(self._ready) - sum(plenty.values()), MOST_AT_ONCE)
            runs = await self._store.due_runs(
                owned, now, limit=limit, handlers=handlers, resting=resting, plenty=plenty
            )
            await self._recent.fetch([run.event_id for run in runs if self.offer(run)])
            before, plenty = plenty, plenty | self._ready.plenty()
            if len(runs) < limit or len(plenty) == len(before):
                break
        due_at = await self._store.next_due_at(owned, handlers=handlers, resting=resting)
        return now + LONGEST if due_at is None else max(due_at, now + AGAIN_WHILE_BLOCKED)

    async def follow_clock(self) -> None:
        """Move due times along where the clock was set back, so that nothing waits for a time that comes again."""
        now = self._clock()
        if now < self._latest - SET_BACK:
            log.warning(
                "The clock was set back by %.0f s; what waits for a time waits no longer for that.", self._latest - now
            )
            await self._store.move_due_times(self._ownership.owned, now - self._latest)
            self.at = self._fetched_at = now
        self._latest = now
