"""How attempts begin and end in the store: all of one turn of the loop in one commit. Imports errors and store rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeflow.errors import StoreError, StoreUnavailable
from pipeflow.registry import Handler, Job
from pipeflow.store.base import Closing, Owned, Run, Store, StoredEvent

BACK_OFF = 1.0

log = logging.getLogger("pipeflow.engine")


@dataclass(slots=True, eq=False)
class Attempting:
    """An attempt under way: of what, in which partition at which epoch, and how it ended."""

    run: Run
    entry: Handler | Job
    event: StoredEvent
    owned: Owned
    task: asyncio.Task[None] | None = None
    closing: Closing | None = None
    seconds: float = 0.0


class Recorder:
    """Records that attempts begin and how they end: all calls of a commit come before any is awaited."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def released(self, run: Run, reason: str) -> Closing:
        """Give the end of an attempt that is handed back uncounted."""
        return Closing(run.id, "released", "pending", counted=False, due_at=self._clock(), error=reason)

    async def begin(self, attempts: Sequence[Attempting], *, alone: bool) -> list[Attempting]:
        """Record that attempts start; give those that do. Where the store broke off, it may have: it is taken back."""
        now = self._clock()
        asked = [(one, self._store.open_attempt(one.run.id, one.owned, now, alone=alone)) for one in attempts]
        begun: list[Attempting] = []
        broken: list[Attempting] = []
        for attempt, opening in asked:
            try:
                if await opening is not None:
                    begun.append(attempt)
            except StoreError as error:
                log.warning("The store cannot commit: %s", error)
                attempt.closing = self.released(attempt.run, "the store broke off before this attempt began")
                broken.append(attempt)
        await self.end(broken)
        return begun

    async def end(self, attempts: Sequence[Attempting]) -> list[Run]:
        """Record ends; while the store cannot, try again: the handlers have run and must not run once more."""
        following: list[Run] = []
        while attempts:
            asked = [
                (one, self._store.close_attempt(one.closing, one.owned, self._clock()))
                for one in attempts
                if one.closing is not None
            ]
            attempts = []
            for attempt, ending in asked:
                try:
                    run = await ending
                    following += [run] if run is not None else []
                except StoreUnavailable as error:
                    log.warning("The end of run %d could not be stored and will be again: %s", attempt.run.id, error)
                    attempts.append(attempt)
                except StoreError:
                    log.exception("The end of run %d was refused", attempt.run.id)
            if attempts:
                await asyncio.sleep(BACK_OFF)
        return following
