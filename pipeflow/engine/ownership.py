"""Which partitions this process works: all of them on one machine, or those that procrastinate hands out on several.

Imports store rows, and for several machines the PostgreSQL store. The engine asks; what changes here wakes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from pipeflow.errors import StoreError
from pipeflow.store.base import ALL, PARTITIONS, Owned

if TYPE_CHECKING:
    from pipeflow.store.postgres import PostgresStore
    from pipeflow.store.postgres_jobs import Heart, Job

SWEEP_EVERY = 1.0
CALM = 0.02
TIME_BOX = 3.0
"""Seconds that a partition is worked before another worker may have it."""
IDLE_HOLD = 10.0
"""Seconds for which a partition without work stays here, so that its next event starts at once."""
LONGEST_DRAIN = 2.0
STALLED = 8.0
"""Seconds without a sign after which a worker is taken for dead."""
BLOCKED = 600.0
"""Seconds for which a handler may block the loop before its worker is taken for dead."""
BACK_OFF = 1.0

log = logging.getLogger("pipeflow.engine")


class Ownership(Protocol):
    """Partitions of ours, each with the epoch at which we got it."""

    @property
    def owned(self) -> Owned:
        """Give those that may be worked now."""

    def taken(self) -> Owned:
        """Give those that became ours and were not begun yet: what their last owner left is taken up first."""

    def begin(self, partitions: Owned) -> None:
        """Work these from now on: what their last owner left is known."""

    async def start(self, wake: Callable[[], None], busy: Callable[[int], bool], handlers: Collection[str]) -> None:
        """Begin to get partitions.

        `wake` is called when something changed; `busy` says whether attempts of a partition are under way; `handlers`
        are those that we know.
        """

    def leave(self) -> None:
        """Begin nothing more: hand back at once where nobody is at work, and the rest as attempts end."""

    async def stop(self) -> None:
        """Hand everything back."""


class Everything:
    """All partitions, from the beginning to the end: one process owns the store."""

    def __init__(self) -> None:
        self._begun = False

    @property
    def owned(self) -> Owned:
        """Give all, once they were begun."""
        return ALL if self._begun else {}

    def taken(self) -> Owned:
        """Give all at first."""
        return {} if self._begun else ALL

    def begin(self, partitions: Owned) -> None:
        """Work them."""
        self._begun = True

    async def start(self, wake: Callable[[], None], busy: Callable[[int], bool], handlers: Collection[str]) -> None:
        """Have everything already."""
        wake()

    def leave(self) -> None:
        """Keep everything: nobody waits for it."""

    async def stop(self) -> None:
        """Keep everything."""


class _Mine:
    """A partition that we have: by which job, at which epoch and since when."""

    __slots__ = ("begun", "epoch", "idle_since", "job", "leaving_since", "since")

    def __init__(self, job: Job, epoch: int, now: float) -> None:
        self.job = job
        self.epoch = epoch
        self.since = now
        self.begun = False
        self.idle_since: float | None = None
        self.leaving_since: float | None = None


class HandedOut:
    """The partitions that procrastinate gives this worker: its share of those that have work.

    `clock` gives seconds since 1970 for due times; everything else goes by a clock that nobody sets.
    """

    def __init__(self, store: PostgresStore, *, clock: Callable[[], float] = time.time) -> None:
        from pipeflow.store.postgres_jobs import Jobs

        self._store = store
        self._jobs = Jobs(store.database)
        self._clock = clock
        self._mine: dict[int, _Mine] = {}
        self._heart: Heart | None = None
        self._name = f"process {os.getpid()} on {socket.gethostname()}"
        self._woken = asyncio.Event()
        self._stopping = self._leaving = self._in_doubt = False
        self._got: dict[int, Job] = {}
        self._task: asyncio.Task[None] | None = None
        self._swept_at = self._abstains_until = 0.0
        self._share = PARTITIONS
        self._loop_seen = time.monotonic()
        self._owned: dict[int, int] = {}

    @property
    def owned(self) -> Owned:
        """Give those that were begun and that we do not let go of."""
        return self._owned

    def taken(self) -> Owned:
        """Give those that are ours and not begun yet."""
        return {number: mine.epoch for number, mine in self._mine.items() if not mine.begun}

    def begin(self, partitions: Owned) -> None:
        """Work these from now on."""
        for number, epoch in partitions.items():
            mine = self._mine.get(number)
            if mine is not None and mine.epoch == epoch:
                mine.begun = True
        self._changed()

    async def start(self, wake: Callable[[], None], busy: Callable[[int], bool], handlers: Collection[str]) -> None:
        """Become a worker; partitions come from now on."""
        self._wake, self._busy, self._handlers = wake, busy, list(handlers)
        await self._become_worker()
        self._store.on_change(self._woken.set)
        self._task = asyncio.create_task(self._work(), name="ownership")

    def leave(self) -> None:
        """Get nothing more, and hand back partitions as soon as nobody is at work on them."""
        self._leaving = True
        self._woken.set()

    async def stop(self) -> None:
        """Hand everything back at once, and wake those who may have it."""
        self._stopping = True
        self._woken.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._heart is not None:
            self._heart.stop()
        mine, self._mine = self._mine, {}
        self._changed()
        try:
            for job in [*(one.job for one in mine.values()), *self._got.values()]:
                await self._jobs.hand_back(job)
            await self._jobs.unregister()
            self._store.wake_others()
        except StoreError as error:
            log.warning("The partitions could not be handed back and are missed in %g s: %s", STALLED, error)

    def _changed(self) -> None:
        self._owned = {
            number: mine.epoch for number, mine in self._mine.items() if mine.begun and mine.leaving_since is None
        }

    # Getting and letting go -----------------------------------------------------------------------------------------
    async def _work(self) -> None:
        while not self._stopping:
            self._woken.clear()
            self._loop_seen = time.monotonic()
            try:
                await self._round()
            except StoreError as error:
                self._in_doubt = True  # what was asked for may have happened
                log.warning("Partitions cannot be got for now: %s", error)
                await asyncio.sleep(BACK_OFF)
            await self._rest()

    async def _rest(self) -> None:
        """Wait for a sign, or for the next sweep; never so short that many signs cost much."""
        if self._stopping:
            return
        await asyncio.sleep(CALM)
        try:
            async with asyncio.timeout(max(0.01, self._swept_at + SWEEP_EVERY - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _round(self) -> None:
        if self._heart is None or self._heart.lost:
            await self._become_worker()
        if self._leaving:
            await self._leave()
            return
        if self._in_doubt:
            await self._jobs.hand_back_but({*self._mine, *self._got})
            self._in_doubt = False
        if time.monotonic() >= self._swept_at + SWEEP_EVERY:
            await self._sweep()
        if time.monotonic() < self._abstains_until:
            return
        others = [number for number in range(PARTITIONS) if number not in self._mine]
        if others and len(self._mine) < self._share:
            waiting = await self._jobs.with_work(others, self._clock(), self._handlers)
            await self._jobs.offer(number for number, found in waiting.items() if not found.has_job)
            if waiting:
                await self._fetch()

    async def _become_worker(self) -> None:
        """Register, at first and after having been taken for dead: then what we had belongs to others."""
        from pipeflow.store.postgres_jobs import Heart

        if self._heart is not None:
            log.warning("This worker was taken for dead; what it had is worked by others, and it begins anew.")
            self._heart.stop()
        self._mine.clear()
        self._got.clear()
        self._changed()
        await self._jobs.register()
        self._heart = Heart(self._store.database.url, self._jobs.worker_id, self._is_alive)
        self._heart.start()

    def _is_alive(self) -> bool:
        return time.monotonic() - self._loop_seen < BLOCKED

    async def _fetch(self) -> None:
        """Get partitions up to our share, and raise their epochs: from then on their last owners can write nothing."""
        while len(self._mine) + len(self._got) < self._share and (found := await self._jobs.fetch()) is not None:
            self._got[found[0]] = found[1]
        if not self._got:
            return
        epochs = await self._store.take_partitions(list(self._got), self._name, self._clock())
        got, self._got = self._got, {}
        now = time.monotonic()
        self._mine.update({number: _Mine(job, epochs[number], now) for number, job in got.items()})
        self._wake()

    async def _leave(self) -> None:
        now = time.monotonic()
        for mine in self._mine.values():
            mine.leaving_since = now
        self._changed()
        await self._let_go(now)

    # The sweep ------------------------------------------------------------------------------------------------------
    async def _sweep(self) -> None:
        """Once a second: share with the others, let go of what is idle, and take up what the dead had."""
        self._swept_at = now = time.monotonic()
        self._share = -(-PARTITIONS // max(1, await self._jobs.workers(STALLED)))
        if self._heart is not None and self._heart.is_steady(STALLED):
            await self._jobs.put_back_stalled(STALLED)
        if not self._mine:
            return
        await self._note_idle(now)
        self._choose_leaving(now)
        self._changed()
        await self._let_go(now)

    async def _note_idle(self, now: float) -> None:
        found = await self._jobs.with_work(self._mine, self._clock(), self._handlers)
        for number, mine in self._mine.items():
            if self._busy(number) or (number in found and found[number].for_us):
                mine.idle_since = None
            elif number in found and now - mine.since > TIME_BOX:
                mine.leaving_since = mine.leaving_since or now  # only a worker with other recipes can go on there
                self._abstains_until = now + 2 * SWEEP_EVERY
            elif mine.idle_since is None:
                mine.idle_since = now

    def _choose_leaving(self, now: float) -> None:
        staying = [mine for mine in self._mine.values() if mine.leaving_since is None]
        staying.sort(key=lambda mine: mine.since)
        for mine in staying[: max(0, len(staying) - self._share)]:
            if now - mine.since > TIME_BOX:
                mine.leaving_since = now
        for mine in staying:
            if mine.idle_since is not None and now - mine.idle_since > IDLE_HOLD:
                mine.leaving_since = mine.leaving_since or now

    async def _let_go(self, now: float) -> None:
        """Let go of what nobody is at work on any more; what takes too long stays for another while."""
        free = False
        for number, mine in list(self._mine.items()):
            if mine.leaving_since is None:
                continue
            if not self._busy(number):
                del self._mine[number]
                await (self._jobs.finish(mine.job) if mine.idle_since is not None else self._jobs.hand_back(mine.job))
                free = free or mine.idle_since is None
            elif now - mine.leaving_since > LONGEST_DRAIN:
                mine.leaving_since, mine.since = None, now
        self._changed()
        if free:
            self._store.wake_others()
        if any(mine.leaving_since is not None for mine in self._mine.values()):
            self._wake()
