"""A small Pipedrive that emits events, and writes of ours to it that end in every possible way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeflow.catalog import operation
from pipeflow.client.answers import Response
from pipeflow.engine.dispatch import Dispatcher
from pipeflow.engine.runwrites import RunWrites
from pipeflow.engine.writes import Ledger
from pipeflow.errors import ClientError
from pipeflow.events import Event, read_delivery
from pipeflow.registry import Handler, Registry
from pipeflow.store.base import ALL, Account, EventFilter, NewEvent, Run, RunFilter, Store, StoredEvent

OURS = 7
"""The user whom we act as, and another integration too."""
UPDATE_DEAL = operation("v2.DealsApi.updateDeal")
ADD_DEAL = operation("v2.DealsApi.addDeal")

_numbers = itertools.count(1)
_companies = itertools.count(5_000_000)


async def _nothing(event: Event[Any]) -> None: ...


def handler(name: str, *patterns: str, ignore_self: bool = True) -> Handler:
    return Handler(
        name=name,
        patterns=patterns or ("deal.*",),
        function=_nothing,
        when=None,
        ordered=True,
        ignore_self=ignore_self,
        timeout=5.0,
        concurrency=None,
        arguments={"event": "event"},
        record_types=(),
        is_async=True,
        file=__file__,
        line=1,
        summary="",
    )


@dataclass
class Attempted:
    """A write of ours under way: what the world did with it is in `answer` or `error`."""

    writes: RunWrites
    token: object | None
    deal: int | None
    values: Mapping[str, Any]
    sent: Any
    answer: Response | None = None


@dataclass
class World:
    """One company's deals, the events they emit, and a dispatcher that reads them.

    `apart`: the process that dispatches is another one than the process that writes.
    """

    store: Store
    registry: Registry
    now: float = 1_795_000_000.0
    company: int = field(default_factory=lambda: next(_companies))
    deals: dict[int, dict[str, Any]] = field(default_factory=dict)
    undelivered: list[bytes] = field(default_factory=list)
    ours: set[str] = field(default_factory=set)
    apart: bool = False
    account: Account = field(init=False)

    def __post_init__(self) -> None:
        self.account = Account(id=0, company=self.company, user_id=OURS, mode="token", acting=True)
        self.restart()

    async def open(self) -> None:
        self.account = await self.store.save_account(self.account) or self.account

    def restart(self) -> None:
        """Begin anew as a process does that was killed: nothing in memory is left."""
        self.ledger = Ledger(self.store, lambda: self.now)
        reading = Ledger(self.store, lambda: self.now, shared=True) if self.apart else self.ledger
        self.dispatcher = Dispatcher(self.store, self.registry, reading)

    # What happens at Pipedrive ------------------------------------------------------------------------------------
    def add(self, values: Mapping[str, Any], *, ours: bool = False, source: str = "api", user: int = OURS) -> int:
        """Add a deal, and emit the event."""
        deal_id = next(_numbers)
        self.deals[deal_id] = {"id": deal_id, "stage_id": 1, "value": 0, **values, "update_time": self._stamp()}
        self._emit("create", deal_id, {}, ours=ours, source=source, user=user)
        return deal_id

    def change(
        self, deal_id: int, values: Mapping[str, Any], *, ours: bool = False, source: str = "api", user: int = OURS
    ) -> None:
        """Change a deal, and emit the event: none where nothing changes."""
        deal = self.deals[deal_id]
        previous = {name: deal.get(name) for name, value in values.items() if deal.get(name) != value}
        if not previous:
            return
        # A count that no event tells of: no state comes twice, as copies of events are known by their state.
        self.deals[deal_id] = {**deal, **values, "update_time": self._stamp(), "revision": next(_numbers)}
        self._emit("change", deal_id, previous, ours=ours, source=source, user=user)

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _emit(
        self, action: str, deal_id: int, previous: Mapping[str, Any], *, ours: bool, source: str, user: int
    ) -> None:
        event_id = f"event-{next(_numbers)}"
        self.now += 0.001
        if ours:
            self.ours.add(event_id)
        meta = {"action": action, "entity": "deal", "entity_id": str(deal_id), "company_id": str(self.company)}
        meta |= {"user_id": str(user), "id": event_id, "version": "2.0", "change_source": source, "webhook_id": "1"}
        meta["timestamp"] = datetime.fromtimestamp(self.now, UTC).isoformat(timespec="milliseconds")
        body = {"meta": meta, "data": self.deals[deal_id], "previous": previous or None}
        self.undelivered.append(orjson.dumps(body))

    # What we do ---------------------------------------------------------------------------------------------------
    async def intend(
        self,
        deal: int | None,
        values: Mapping[str, Any],
        *,
        handler: str = "a.writes",
        run: int = 1,
        chain: tuple[str, ...] = (),
    ) -> Attempted:
        """Commit the intent of a write."""
        await self.ledger.prepare([])
        writes = RunWrites(self.ledger, self.account, _run(self.company, handler, run), chain)
        sent = ADD_DEAL if deal is None else UPDATE_DEAL
        arguments = dict(values) if deal is None else {"id": deal, **values}
        return Attempted(writes, await writes.before(sent, arguments), deal, values, sent)

    def carry_out(self, write: Attempted) -> None:
        """Pipedrive does what the write asks for; its answer is on its way."""
        if write.deal is None:
            write.deal = self.add(write.values, ours=True)
        else:
            self.change(write.deal, write.values, ours=True)
        envelope = {"success": True, "data": self.deals[write.deal]}
        write.answer = Response(write.sent, write.sent.path, 200, {}, orjson.dumps(envelope))

    async def learn(self, write: Attempted, error: ClientError | None = None) -> None:
        """Commit how the write ended."""
        outcome = error or write.answer
        assert outcome is not None
        await write.writes.after(write.token, outcome)

    async def write(self, deal: int | None, values: Mapping[str, Any], **more: Any) -> int:
        """Write and learn the answer, all at once."""
        write = await self.intend(deal, values, **more)
        self.carry_out(write)
        await self.learn(write)
        assert write.deal is not None
        return write.deal

    # What arrives -------------------------------------------------------------------------------------------------
    async def deliver(self, number: int | None = None, source: Any = "delivery") -> None:
        """Store what was emitted: all of it in order, or the one at this place."""
        chosen = self.undelivered if number is None else [self.undelivered[number % len(self.undelivered)]]
        self.undelivered = [raw for raw in self.undelivered if not any(raw is one for one in chosen)]
        await self.store.add_events([self._stored(raw, source) for raw in chosen])

    def _stored(self, raw: bytes, source: Any) -> NewEvent:
        head = read_delivery(raw, self.company, self.now)
        names = ("company", "key", "name", "kind", "record_id", "action", "delivery_id", "occurred_at", "update_time")
        told = {name: getattr(head, name) for name in (*names, "actor_id", "partition", "bulk")}
        return NewEvent(**told, source=source, raw=raw, received_at=self.now)

    async def dispatch(self) -> None:
        """Dispatch all that may be dispatched now."""
        while (await self.dispatcher.step(ALL, self.now))[0]:
            pass

    async def finish(self) -> None:
        """Deliver the rest, wait longer than any event is held, and dispatch."""
        if self.undelivered:
            await self.deliver()
        self.now += 11
        await self.dispatch()

    # What came of it ----------------------------------------------------------------------------------------------
    async def woken(self) -> dict[str, set[str]]:
        """Say which handlers each event woke, by the event's id at Pipedrive."""
        runs = await self.store.runs(RunFilter(limit=0, company=self.company))
        events = {event.id: str(event.delivery_id) for event in await self.events()}
        found: dict[str, set[str]] = {delivery: set() for delivery in events.values()}
        for run in runs:
            found[events[run.event_id]].add(run.handler)
        return found

    async def events(self) -> list[StoredEvent]:
        """List the company's events, oldest first."""
        return (await self.store.events(EventFilter(limit=0, company=self.company)))[::-1]


def _run(company: int, name: str, number: int) -> Run:
    return Run(number, 1, name, None, company, "deal", "1", 0, "running", 0, None, None, None, 0.0, None)
