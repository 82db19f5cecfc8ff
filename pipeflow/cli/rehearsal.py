"""A run executed here, beside the process that owns the store, without sending what it writes. Imports engine rooms."""

from __future__ import annotations

import time

from pipeflow.engine.execute import Executor
from pipeflow.registry import Registry
from pipeflow.store.base import Closing, EventFilter, Run, Store, StoredEvent, Write


class Rehearsal:
    """Executes runs and keeps nothing of it; `writes` gathers what they would have written."""

    def __init__(self, store: Store, registry: Registry, executor: Executor, writes: list[Write]) -> None:
        self.writes = writes
        self._store = store
        self._registry = registry
        self._executor = executor

    async def execute(self, run: Run) -> Closing | None:
        """Execute a run and give how it would end; None where its handler is not in the recipes, or its event gone."""
        entry = self._registry.handlers.get(run.handler) or self._registry.jobs.get(run.handler)
        events = await self._store.events(EventFilter(ids=(run.event_id,)))
        if entry is None or not events:
            return None
        closing, _ = await self._executor.execute(entry, run, events[0])
        return closing

    def wanted(self, event: StoredEvent) -> list[Run]:
        """Give the runs that dispatching an event now would make; they have no number yet."""
        about = event.company, event.kind, event.record_id, event.partition
        return [
            Run(0, event.id, handler.name, None, *about, "pending", 0, None, None, None, time.time(), None)
            for handler in self._registry.matching(event.names or (event.name,))
        ]
