"""Our own writes: intents committed before they are sent, how they ended, and which events they caused.

Imports store rows and echoes. One ledger per engine; what a run writes is noted in runwrites.py.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeflow.engine.echoes import WINDOW, Part, Told, Trace, made_ids
from pipeflow.engine.foundechoes import parts_told
from pipeflow.engine.targets import LINKS
from pipeflow.errors import StoreError, StoreUnavailable
from pipeflow.events import Payload, normalise
from pipeflow.store.base import EventFilter, Store, StoredEvent, Write

KEPT_SECONDS = 400.0
"""Seconds for which a write stays in memory; older ones are read from the store where an old event asks for them."""
OLDEST_SECONDS = 3 * 86_400.0
"""Seconds after which nothing is taken for an echo any more."""
SLACK = 2.0
"""Seconds by which the clocks of two of our machines may differ."""
HOLD_SECONDS = 10.0
"""Seconds for which an event waits at most for the outcome of a write that may have caused it."""
ABANDONED_SECONDS = 150.0
"""Seconds after which nobody is still sending: three tries of 30 s and their pauses."""
PRUNE_SECONDS = 60.0
_RELATED = (*LINKS.items(), ("source_lead_id", "lead"), ("source_deal_id", "deal"))
AGAIN_SECONDS = 1.0
MOST_TOLD = 5_000
"""Events that are read to learn which writes were told before the start."""

Outcome = Literal["done", "refused", "unsent", "unknown"]

log = logging.getLogger("pipeflow.engine")


@dataclass(frozen=True, slots=True)
class Hold:
    """The event may be an echo of a write whose outcome is not known yet: ask again, at the latest then."""

    until: float


@dataclass(frozen=True, slots=True)
class Cause:
    """The event tells what this run wrote. `deaf` are the handlers that must not hear it, unless they ask to.

    `chain` are those in the chains of all that wrote it, which is where it goes on: polling may tell several writes.
    """

    run_id: int | None
    deaf: frozenset[str]
    chain: tuple[str, ...]


@dataclass(slots=True)
class _Company:
    """The recent writes of one company: by each record that they concern, and creations by kind.

    `elsewhere`: those that change records which name theirs, as merges and conversions do.
    """

    users: set[str] = field(default_factory=set)
    traces: dict[int, Trace] = field(default_factory=dict)
    by_record: dict[tuple[str, str], dict[int, Trace]] = field(default_factory=dict)
    elsewhere: dict[tuple[str, str], dict[int, Trace]] = field(default_factory=dict)
    creations: dict[str, dict[int, Trace]] = field(default_factory=dict)

    def add(self, trace: Trace) -> None:
        self.traces[trace.write.id] = trace
        for key in _keys(trace):
            self.by_record.setdefault(key, {})[trace.write.id] = trace
            if trace.target.effect in ("merge", "any"):
                self.elsewhere.setdefault(key, {})[trace.write.id] = trace
        if trace.target.effect == "create" and not trace.made:
            self.creations.setdefault(trace.target.kind, {})[trace.write.id] = trace
        else:
            self._drop(self.creations, trace.target.kind, trace.write.id)

    def forget(self, trace: Trace) -> None:
        write_id = trace.write.id
        self.traces.pop(write_id, None)
        for key in _keys(trace):
            self._drop(self.by_record, key, write_id)
            self._drop(self.elsewhere, key, write_id)
        self._drop(self.creations, trace.target.kind, write_id)

    @staticmethod
    def _drop(index: dict[Any, dict[int, Trace]], key: Any, write_id: int) -> None:
        if key in index:
            index[key].pop(write_id, None)
            if not index[key]:
                del index[key]


class Ledger:
    """Remembers what runs write, and tells which events those writes caused.

    `shared`: other processes write for the same companies, so that their writes are read before each judgement.
    """

    def __init__(self, store: Store, clock: Callable[[], float], *, shared: bool = False) -> None:
        self.on_settled: Callable[[], None] = lambda: None
        self.store = store
        self.clock = clock
        self._shared = shared
        self._slack = SLACK if shared else 0.0
        self._companies: dict[int, _Company] = {}
        self._user_of: dict[int, str] = {}
        self._covered_from: float | None = None
        self._read_until = 0.0
        self._pruned_at = 0.0
        self._settling: set[asyncio.Task[None]] = set()

    # Writing ------------------------------------------------------------------------------------------------------
    async def begin(self) -> None:
        """Take up what a dead owner left: nobody will learn any more how its open writes ended."""
        now = self.clock()
        await self._read_users()
        await self._cover(now - KEPT_SECONDS)
        if self._shared:
            return
        for company in self._companies.values():
            for trace in [trace for trace in company.traces.values() if trace.write.settled_at is None]:
                await self.settle(trace.write, "unknown", None)

    async def intend(self, write: Write, user_id: int) -> Write:
        """Commit the intent of a write; gives it with its id."""
        stored = replace(write, id=await self.store.add_write(write))
        self._user_of[write.account_id] = str(user_id)
        self._take(stored)
        return stored

    async def settle(self, write: Write, outcome: Outcome, answer: Mapping[str, Any] | None) -> None:
        """Commit how a write ended. While the store cannot, it is tried again: the write itself has happened."""
        record_id = write.record_id
        if record_id is None and outcome == "done" and answer and answer.get("id") is not None:
            record_id = str(answer["id"])
        now = self.clock()
        ended = replace(write, outcome=outcome, settled_at=now, record_id=record_id, answer=answer)
        self._take(ended)
        if outcome == "done":
            self._supersede(ended)
        self.on_settled()
        try:
            await self._commit(ended, outcome)
        except StoreError:
            task = asyncio.create_task(self._commit_later(ended, outcome))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def end(self) -> None:
        """Stop trying to commit outcomes; the next start takes the intents up."""
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def _commit(self, ended: Write, outcome: Outcome) -> None:
        await self.store.settle_write(ended.id, outcome, self.clock(), record_id=ended.record_id, answer=ended.answer)

    async def _commit_later(self, ended: Write, outcome: Outcome) -> None:
        log.warning("The outcome of write %d could not be stored and will be again", ended.id)
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            with suppress(StoreUnavailable):
                return await self._commit(ended, outcome)

    def _take(self, write: Write) -> None:
        company = self._companies.setdefault(write.company, _Company())
        user = self._user_of.get(write.account_id, "")
        company.users.add(user)
        known = company.traces.get(write.id)
        if known is not None:
            if known.write.settled_at is not None and write.settled_at is None:
                return
            known.write = write
            if write.outcome == "done":
                known.made = known.made or made_ids(write.answer)
            company.add(known)
            return
        company.add(Trace.of(write, user))

    def _supersede(self, ended: Write) -> None:
        """Tie down writes that may or may not have happened, once another attempt has written the same again."""
        company = self._companies[ended.company]
        for trace in list(company.by_record.get((ended.kind, ended.record_id or ""), {}).values()):
            older = trace.write
            is_open_question = older.id < ended.id and older.outcome == "unknown"
            if is_open_question and (older.operation, older.values) == (ended.operation, ended.values):
                trace.again = trace.again or ended

    # Judging ------------------------------------------------------------------------------------------------------
    async def prepare(self, events: Sequence[StoredEvent]) -> None:
        """Read from the store what judging these events may need and memory does not hold."""
        if self._covered_from is None:
            await self.begin()
        now = self.clock()
        if abs(now - self._pruned_at) > PRUNE_SECONDS:
            self._prune(now)
        told = [_earliest_cause(event) for event in events if event.source != "tick"]
        earliest = max(min(told, default=now), now - OLDEST_SECONDS)
        if earliest < (self._covered_from or 0.0) and earliest < now - KEPT_SECONDS:
            await self._cover(earliest)
        if self._shared:
            await self._refresh()

    def judge(self, event: StoredEvent, payload: Payload, *, is_new: bool = False) -> Hold | Cause | None:
        """Say whether an event tells what we wrote; None where it is somebody else's. Costs nothing for those.

        `is_new`: nothing was known of its record before.
        """
        company = self._companies.get(event.company)
        if company is None or not self._may_be_ours(event, payload, company):
            return None
        traces = self._candidates(event, payload, company, is_new)
        if not traces:
            return None
        until = event.received_at + HOLD_SECONDS
        now = self.clock()
        if now < until and any(_is_open(trace.write, event, now, self._slack) for trace in traces):
            return Hold(until)
        parts = self._find(event, payload, company, traces)
        if not parts:
            return None
        chains = [dict.fromkeys((*trace.write.chain, trace.write.handler)) for trace, _ in parts]
        heard_by_none = [set(chain) for chain, (_, told) in zip(chains, parts, strict=True) if told]
        return Cause(
            run_id=parts[0][0].write.run_id,
            deaf=frozenset(set.intersection(*heard_by_none)),
            chain=tuple(dict.fromkeys(handler for chain in chains for handler in chain)),
        )

    def _find(self, event: StoredEvent, payload: Payload, company: _Company, traces: Sequence[Trace]) -> list[Part]:
        """Find the writes that an event tells of, and note that it does."""
        telling = Told(event, payload, self._slack)
        parts = parts_told(telling, traces)
        for trace, told in parts:
            trace.told.update(dict.fromkeys(told, telling.print))
            if trace.target.effect == "create" and not trace.made and event.action == "added":
                trace.made = frozenset({event.record_id})
                company.add(trace)
        return parts

    @staticmethod
    def _may_be_ours(event: StoredEvent, payload: Payload, company: _Company) -> bool:
        if event.source == "poll":
            return True
        # What a person does to many records at once comes through the API too, but we never do that.
        if event.source != "delivery" or event.actor_id not in company.users or event.bulk:
            return False
        return bool(payload.meta.get("change_source") == "api")

    @staticmethod
    def _candidates(event: StoredEvent, payload: Payload, company: _Company, is_new: bool) -> list[Trace]:
        found = dict(company.by_record.get((event.kind, event.record_id), {}))
        if event.action == "added" or is_new:
            found |= company.creations.get(event.kind, {})
        for name, kind in _RELATED:
            if related := payload.state.get(name):
                found |= company.elsewhere.get((kind, str(related)), {})
        mine = (found[write_id] for write_id in sorted(found))
        return [trace for trace in mine if event.source == "poll" or trace.user == event.actor_id]

    # Memory -------------------------------------------------------------------------------------------------------
    async def _read_users(self) -> None:
        self._user_of |= {account.id: str(account.user_id) for account in await self.store.accounts()}

    async def _cover(self, since: float) -> None:
        """Hold all writes intended since then, and what events have told of them already."""
        until = self._covered_from
        writes = await self.store.writes(since=since)
        for write in writes:
            if until is None or write.intended_at < until:
                self._take(write)
            self._read_until = max(self._read_until, write.intended_at)
        self._covered_from = since
        if not writes:
            return
        for event in reversed(await self.store.events(EventFilter(limit=MOST_TOLD, since=since, caused=True))):
            company = self._companies.get(event.company)
            if company is not None:
                payload = normalise(event.raw)
                self._find(event, payload, company, self._candidates(event, payload, company, is_new=True))

    async def _refresh(self) -> None:
        """Read what other processes wrote or learned since the last look."""
        opened = [
            trace.write.intended_at
            for company in self._companies.values()
            for trace in company.traces.values()
            if trace.write.settled_at is None
        ]
        since = min([self._read_until - SLACK, *opened])
        for write in await self.store.writes(since=since):
            if write.account_id not in self._user_of:
                await self._read_users()
            self._take(write)
            self._read_until = max(self._read_until, write.intended_at)

    def _prune(self, now: float) -> None:
        self._pruned_at = now
        oldest = now - KEPT_SECONDS
        for number, company in list(self._companies.items()):
            for trace in itertools.takewhile(lambda one: one.write.intended_at < oldest, list(company.traces.values())):
                company.forget(trace)
            if not company.traces:
                del self._companies[number]
        self._covered_from = max(self._covered_from or oldest, oldest)


def _keys(trace: Trace) -> Iterable[tuple[str, str]]:
    """Give the records that a write concerns."""
    record_id = trace.write.record_id or trace.target.record_id
    if record_id is not None:
        yield trace.target.kind, record_id
    yield from trace.target.links
    for made in trace.made:
        yield trace.target.kind, made


def _is_open(write: Write, event: StoredEvent, now: float, slack: float) -> bool:
    if event.source != "poll" and write.intended_at > event.received_at + slack:
        return False
    if write.settled_at is not None:
        return False
    return now - write.intended_at < ABANDONED_SECONDS


def _earliest_cause(event: StoredEvent) -> float:
    """Give when a write that this event tells of was intended at the earliest."""
    if event.source == "poll":
        return min(event.update_time or event.received_at, event.received_at) - WINDOW
    return event.received_at - WINDOW
