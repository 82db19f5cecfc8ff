"""Dispatch: which runs an event makes, in stored order. Imports events, registry and store rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeflow.engine.twins import is_stale, is_twin, state_after
from pipeflow.events import names_of, normalise
from pipeflow.registry import Registry
from pipeflow.store.base import Dispatch, NewRun, Owned, RecordState, Run, Store, StoredEvent

BATCH = 256

Key = tuple[int, str, str]


class Dispatcher:
    """Decides for each stored event what it is called, whether it is stale, and which handlers run on it."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    async def step(self, owned: Owned, now: float) -> tuple[list[StoredEvent], list[Run]]:
        """Dispatch the next events, oldest first; give them as they are stored now, and the runs made."""
        events = await self._store.undispatched(owned, limit=BATCH)
        if not events:
            return [], []
        known = await self._store.records({_key(event) for event in events})
        decisions = [self._decide(event, known) for event in events]
        runs = await self._store.dispatch(decisions, owned, now)
        return [_dispatched(*pair, now) for pair in zip(events, decisions, strict=True)], runs

    def _decide(self, event: StoredEvent, known: dict[Key, RecordState]) -> Dispatch:
        if event.source == "tick":
            return self._decide_tick(event)
        try:
            payload = normalise(event.raw)
        except ValueError:
            return Dispatch(event.id, (event.name,), "unreadable")
        names = names_of(payload)
        before = known.get(_key(event))
        if is_twin(event, payload, before):
            return Dispatch(event.id, names, "twin")
        stale = is_stale(event, before)
        state: RecordState | None = None
        if not stale:
            state = known[_key(event)] = state_after(event, payload, before)
        runs = self._runs(event, names)
        return Dispatch(event.id, names, "dispatched" if runs else "unmatched", stale, runs=runs, record=state)

    def _decide_tick(self, event: StoredEvent) -> Dispatch:
        job = self._registry.jobs.get(event.record_id)
        if job is None:
            return Dispatch(event.id, (event.name,), "unmatched")
        run = NewRun(job.name, f"{job.name}|{event.company}")
        return Dispatch(event.id, (event.name,), "dispatched", runs=(run,))

    def _runs(self, event: StoredEvent, names: Sequence[str]) -> tuple[NewRun, ...]:
        record = f"{event.company}|{event.kind}|{event.record_id}"
        return tuple(
            NewRun(handler.name, f"{handler.name}|{record}" if handler.ordered else None)
            for handler in self._registry.matching(names)
        )


def _dispatched(event: StoredEvent, decision: Dispatch, now: float) -> StoredEvent:
    return replace(event, names=decision.names, status=decision.status, stale=decision.stale, dispatched_at=now)


def _key(event: StoredEvent) -> Key:
    return event.company, event.kind, event.record_id
