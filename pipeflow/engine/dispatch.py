"""Dispatch: which runs an event makes, in stored order. Imports events, registry and store rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeflow.engine.halves import MERGED, Halves, named
from pipeflow.engine.twins import Bearers, is_stale, is_twin, state_after
from pipeflow.engine.writes import Cause, Hold, Ledger
from pipeflow.events import names_of, normalise
from pipeflow.registry import Registry
from pipeflow.store.base import Dispatch, NewRun, Owned, RecordState, Run, Store, StoredEvent

BATCH = 64
CROWD = 0.75
"""The share of a batch from which one company's events count as a crowd."""
LOOK_PAST_SECONDS, LONGEST_LOOK_PAST = 0.2, 5.0

Key = tuple[int, str, str]
_TELL_STATES = frozenset({"added", "updated", "deleted"})


class Dispatcher:
    """Decides for each stored event what it is called, whether it is stale, and which handlers run on it.

    An event that may tell what we are writing right now is left where it is, and so are later ones of its record;
    `wake_at` says when the first of them has waited long enough.
    """

    def __init__(self, store: Store, registry: Registry, ledger: Ledger) -> None:
        self.wake_at: float | None = None
        self._looked_past_at = float("-inf")
        self._look_past_again = LOOK_PAST_SECONDS
        self._store = store
        self._registry = registry
        self._ledger = ledger
        self._bearers = Bearers()
        self._halves = Halves(store, ledger.clock)
        self._seconds: set[int] = set()

    async def step(self, owned: Owned, now: float) -> tuple[list[StoredEvent], list[Run]]:
        """Dispatch the next events, oldest first; give them as they are stored now, and the runs made."""
        held: dict[Key, float] = {}
        decided: list[tuple[StoredEvent, Dispatch]] = []
        events = await self._store.undispatched(owned, limit=BATCH)
        last = events[-1].id if events else 0
        events += await self._past_a_crowd(events, owned, now)
        while events:
            decided = await self._decide_all(events, held)
            if decided:
                break
            events = await self._store.undispatched(owned, limit=BATCH, after=last)
            last = events[-1].id if events else last
        self.wake_at = min(held.values(), default=None)
        if not decided:
            return [], []
        runs = await self._store.dispatch([decision for _, decision in decided], owned, now)
        return [_dispatched(*pair, now) for pair in decided], runs

    async def _past_a_crowd(self, events: Sequence[StoredEvent], owned: Owned, now: float) -> list[StoredEvent]:
        """Give the first events of the others where one company has so many that theirs would wait behind them all."""
        if len(events) < BATCH or 0 <= now - self._looked_past_at < self._look_past_again:
            return []
        ((company, count),) = Counter(event.company for event in events).most_common(1)
        if count < len(events) * CROWD:
            return []
        self._looked_past_at = now
        known = {event.id for event in events}
        others = await self._store.undispatched(owned, limit=BATCH, without=(company,))
        self._look_past_again = LOOK_PAST_SECONDS if others else min(2 * self._look_past_again, LONGEST_LOOK_PAST)
        return [event for event in others if event.id not in known]

    async def _decide_all(
        self, events: Sequence[StoredEvent], held: dict[Key, float]
    ) -> list[tuple[StoredEvent, Dispatch]]:
        """Decide for all events but those that are held back."""
        known = await self._store.records({_key(event) for event in events})
        await self._ledger.prepare(events)
        self._seconds = await self._halves.seconds_among(events)
        decided: list[tuple[StoredEvent, Dispatch]] = []
        for event in events:
            decision = None if held and _key(event) in held else self._decide(event, known)
            if isinstance(decision, Dispatch):
                decided.append((event, decision))
            elif decision is not None:
                held[_key(event)] = decision.until
        return decided

    def _decide(self, event: StoredEvent, known: dict[Key, RecordState]) -> Dispatch | Hold:
        if event.source == "tick":
            return self._decide_tick(event)
        try:
            payload = normalise(event.raw)
        except ValueError:
            return Dispatch(event.id, (event.name,), "unreadable")
        names = named(names_of(payload), is_second=event.id in self._seconds)
        before = known.get(_key(event))
        if is_twin(event, payload, before, by_another=self._bearers.by_another(event, payload)):
            # Polling saw what became of the record, but not that it was merged.
            runs = self._runs(event, [name for name in names if name.endswith(MERGED)])
            return Dispatch(event.id, names, "dispatched" if runs else "twin", runs=runs)
        runs = self._runs(event, names)
        cause = self._ledger.judge(event, payload, is_new=before is None) if runs else None
        if isinstance(cause, Hold):
            return cause
        stale = is_stale(event, before)
        state: RecordState | None = None
        if not stale and event.action in _TELL_STATES:
            state = known[_key(event)] = state_after(event, payload, before)
        if cause is not None:
            return self._decide_echo(Dispatch(event.id, names, "echo", stale, record=state), cause, runs)
        return Dispatch(event.id, names, "dispatched" if runs else "unmatched", stale, runs=runs, record=state)

    def _decide_echo(self, decision: Dispatch, cause: Cause, runs: tuple[NewRun, ...]) -> Dispatch:
        """Wake those that are not in the chain which caused the event, and those that want to hear themselves."""
        handlers = self._registry.handlers
        woken = tuple(run for run in runs if run.handler not in cause.deaf or not handlers[run.handler].ignore_self)
        return replace(
            decision,
            status="dispatched" if woken else "echo",
            runs=woken,
            cause_run_id=cause.run_id,
            chain=cause.chain,
        )

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
    return event._replace(
        names=decision.names,
        status=decision.status,
        stale=decision.stale,
        dispatched_at=now,
        cause_run_id=decision.cause_run_id,
        chain=decision.chain,
    )


def _key(event: StoredEvent) -> Key:
    return event.company, event.kind, event.record_id
