"""Dispatch: which runs an event makes, in stored order. Imports events, registry and store rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from pipeflow.engine.halves import MERGED, Halves, named
from pipeflow.engine.twins import Bearers, is_stale, is_twin, state_after
from pipeflow.engine.writes import Cause, Hold, Ledger
from pipeflow.events import Payload, names_of, normalise
from pipeflow.registry import Registry
from pipeflow.store.base import Dispatch, NewRun, Owned, RecordState, Run, Store, StoredEvent

BATCH = 64
MOST_PAYLOADS, MOST_BYTES = 512, 16 * 1024
CROWD = 0.25
"""The share of a full batch from which one company's events are a crowd."""
GENTLE = 16
"""A batch of a crowd while others have events, too: each of theirs waits for the batch in front of it."""
OTHERS_SECONDS = 2.0
PACE = 0.04
"""How often there is a batch of a crowd while enough of its runs wait in memory: more would be read again later."""

Key = tuple[int, str, str]
_TELL_STATES = frozenset({"added", "updated", "deleted"})


@dataclass(slots=True)
class _Crowd:
    """Companies of which so many events wait that those of the others are looked for past them.

    What waits of the others has ids above `looked_to`, so that each look begins where the last one ended.
    """

    companies: Set[int]
    owned: Owned
    looked_to: int = 0


class Dispatcher:
    """Decides for each stored event what it is called, whether it is stale, and which handlers run on it.

    An event that may tell what we are writing right now is left where it is, and so are later ones of its record;
    `wake_at` says when the first of them has waited long enough, or a crowd's next batch is due.
    """

    def __init__(self, store: Store, registry: Registry, ledger: Ledger) -> None:
        self.wake_at: float | None = None
        self._crowd: _Crowd | None = None
        self._head_at = self._others_at = float("-inf")
        self._is_behind = self._only_others = False
        self._shared = True
        self._store = store
        self._registry = registry
        self._ledger = ledger
        self.payloads: dict[int, Payload] = {}
        self._bearers = Bearers()
        self._halves = Halves(store, ledger.clock)
        self._seconds: set[int] = set()

    async def step(
        self, owned: Owned, now: float, *, busy: Set[int] = frozenset(), shared: bool = True
    ) -> tuple[list[StoredEvent], list[Run]]:
        """Dispatch the next events, oldest first; give them as they are stored now, and the runs made.

        Of companies that are `busy` enough runs wait in memory, so that their events can wait a little. Where a crowd
        waits, each other step at most is for the others' events alone; where there are no others, as the store is not
        `shared`, nobody looks for them.
        """
        self._shared = shared
        held: dict[Key, float] = {}
        if busy:
            self._see(busy if self._crowd is None else busy | self._crowd.companies, owned)
        crowd = self._crowd
        others, looked_to = await self._others(owned, now)
        is_paced = bool(busy) and self._head_at <= now < self._head_at + PACE
        seen, decided = list(others), []
        if others and (is_paced or not self._only_others):
            decided = await self._decide_all(others, held)
        self._only_others = bool(decided)
        if not decided and not is_paced:
            decided = await self._decide_oldest(seen, held, owned, now, busy)
        runs = await self._store.dispatch([decision for _, decision in decided], owned, now) if decided else []
        if crowd is not None and self._crowd is crowd:
            crowd.looked_to = _from_there(looked_to, crowd, seen, {event.id for event, _ in decided})
        self.wake_at = min(held.values(), default=None)
        if is_paced or (busy and self._is_behind):
            self.wake_at = min(self._head_at + PACE, self.wake_at or float("inf"))
        return [_dispatched(*pair, now) for pair in decided], runs

    async def _decide_oldest(
        self, seen: list[StoredEvent], held: dict[Key, float], owned: Owned, now: float, busy: Set[int]
    ) -> list[tuple[StoredEvent, Dispatch]]:
        """Decide for the oldest events besides those seen, or the first behind them that are not all held back."""
        oldest = await self._head(owned, now, busy)
        events = list(seen)
        while oldest:
            known = {event.id for event in seen}
            new = [event for event in oldest if event.id not in known]
            seen += new
            decided = await self._decide_all(events + new, held)
            if decided:
                return decided
            events, oldest = [], await self._store.undispatched(owned, limit=BATCH, after=oldest[-1].id)
        return []

    async def _head(self, owned: Owned, now: float, busy: Set[int]) -> list[StoredEvent]:
        """Give the oldest events, and see who is a crowd."""
        is_shared = self._crowd is not None and 0 <= now - self._others_at < OTHERS_SECONDS
        limit = GENTLE if is_shared else BATCH
        events = await self._store.undispatched(owned, limit=limit)
        self._head_at = now
        self._is_behind = len(events) >= limit
        counted = Counter(event.company for event in events if self._is_behind)
        self._see(busy | {company for company, count in counted.items() if count >= limit * CROWD}, owned)
        return events

    def _see(self, companies: Set[int], owned: Owned) -> None:
        """Note who is a crowd now. Where one is none any more, events of it may wait below where we looked."""
        crowd = self._crowd
        if not companies or not self._shared:
            self._crowd = None
        elif crowd is not None and crowd.owned == owned and companies >= crowd.companies:
            crowd.companies = companies
        else:
            self._crowd = _Crowd(companies, dict(owned))

    async def _others(self, owned: Owned, now: float) -> tuple[list[StoredEvent], int]:
        """Give the others' next events, which would wait behind all those of the crowd, and up to where they are."""
        crowd = self._crowd
        if crowd is None or crowd.owned != owned:
            return [], 0
        events, looked_to = await self._store.undispatched_past(
            owned, companies=crowd.companies, limit=BATCH, after=crowd.looked_to
        )
        if events:
            self._others_at = now
        return events, looked_to

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
        if runs:
            self._keep(event, payload)
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

    def _keep(self, event: StoredEvent, payload: Payload) -> None:
        """Spare the first attempt reading the body again; it takes it out, as a handler may change what it is given."""
        if len(event.raw) <= MOST_BYTES:
            self.payloads[event.id] = payload
        if len(self.payloads) > MOST_PAYLOADS:
            del self.payloads[next(iter(self.payloads))]

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


def _from_there(looked_to: int, crowd: _Crowd, seen: Sequence[StoredEvent], decided: Set[int]) -> int:
    """Say where to look on: there, or from the first of the others' events that was held back."""
    left = (one.id - 1 for one in seen if one.id not in decided and one.company not in crowd.companies)
    return min([looked_to, *left])


def _key(event: StoredEvent) -> Key:
    return event.company, event.kind, event.record_id
