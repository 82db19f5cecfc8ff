"""A store and a sandboxed Pipedrive beside it, of which a test decides what is delivered. For tests alone."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeflow.client.transport import close_connections
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.dispatch import Dispatcher
from pipeflow.engine.reconcile import Reconciler
from pipeflow.engine.writes import Ledger
from pipeflow.events import read_delivery
from pipeflow.registry import Handler, Registry
from pipeflow.sandbox import Sandbox, running
from pipeflow.sandbox.changes import Change
from pipeflow.sandbox.hook_bodies import Telling
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import ALL, EventFilter, NewEvent, Proof, Run, RunFilter, Store, StoredEvent
from pipeflow.testing import FakeClock
from pipeflow.vault import Vault

_HOOK = {"id": 1, "version": "2.0", "type": "general", "owner_id": 1}


async def _does_nothing() -> None:
    """Stand for a handler: these tests look at its runs alone."""


def handler(name: str, *patterns: str) -> Handler:
    return Handler(
        name=name,
        patterns=patterns,
        function=_does_nothing,
        when=None,
        ordered=True,
        ignore_self=True,
        timeout=5.0,
        concurrency=None,
        arguments={},
        record_types=(),
        is_async=True,
        file=__file__,
        line=1,
        summary="",
    )


@dataclass
class Watched:
    """One company of the sandbox, watched. `changes` are what the webhooks told, delivered or not."""

    sandbox: Sandbox
    store: Store
    registry: Registry
    accounts: Accounts
    settings: Settings
    clock: FakeClock
    reconciler: Reconciler
    dispatcher: Dispatcher
    changes: list[Change] = field(default_factory=list)
    _number: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def company(self) -> int:
        company: int = self.sandbox.company.id
        return company

    async def look(self) -> Proof:
        """Look at everything, as after a gap, and dispatch what was found."""
        self.reconciler.hurry(self.company)
        (proof,) = await self.reconciler.step()
        await self.dispatch()
        return proof

    async def deliver(self, *changes: Change, event_id: str | None = None) -> list[int | None]:
        """Let deliveries of these changes arrive, and dispatch them; `event_id`: by a webhook that numbers its own."""
        events = []
        for change in changes:
            webhook = _HOOK if event_id is None else {**_HOOK, "id": _HOOK["id"] + 1}
            raw = orjson.dumps(Telling(self.sandbox.company, change).body(webhook, event_id or change.event_id))
            head = read_delivery(raw, self.company, self.clock())
            fields = {name: getattr(head, name) for name in NewEvent._fields if hasattr(head, name)}
            events.append(NewEvent(**fields, source="delivery", raw=raw, received_at=self.clock()))
        ids = await self.store.add_events(events)
        await self.dispatch()
        return ids

    async def dispatch(self) -> None:
        while (await self.dispatcher.step(ALL, self.clock()))[0]:
            pass

    def pass_time(self, seconds: float) -> None:
        """Let time pass, here and at Pipedrive."""
        self.clock.advance(seconds)
        self.sandbox.clock.advance(seconds)

    async def events(self, **wanted: Any) -> list[StoredEvent]:
        """Give what is stored, oldest first."""
        return (await self.store.events(EventFilter(limit=0, **wanted)))[::-1]

    async def polled(self) -> list[StoredEvent]:
        return await self.events(source="poll")

    async def runs(self) -> list[Run]:
        return (await self.store.runs(RunFilter(limit=0)))[::-1]

    def spent(self) -> int:
        """Count the requests that Pipedrive got."""
        return len(self.sandbox.journal.listed())


@asynccontextmanager
async def watched(
    path: Path, *patterns: str, poll: float | None = None, deals: int = 3, **settings: Any
) -> AsyncIterator[Watched]:
    """Watch a company for a handler of these patterns, from now on."""
    sandbox = Sandbox(seed=1, deals=deals)
    store = open_store(f"sqlite:///{path / 'x.db'}")
    registry = Registry()
    registry.add(handler("a.h", *patterns))
    clock = FakeClock(sandbox.clock.seconds())
    async with running(sandbox) as url:
        given = Settings.load(
            database_url=f"sqlite:///{path / 'x.db'}", api_token=sandbox.api_token, api_url=url, **settings
        )
        accounts = Accounts(store, Vault(["k" * 32]), given, clock=clock)
        await store.open(owner=True)
        try:
            await accounts.ensure_token_account()
            reconciler = Reconciler(store, registry, accounts, given, poll=poll, clock=clock)
            dispatcher = Dispatcher(store, registry, Ledger(store, clock))
            house = Watched(sandbox, store, registry, accounts, given, clock, reconciler, dispatcher)
            await house.reconciler.step()
            house.pass_time(300)
            sandbox.company.listeners.append(lambda _, change: house.changes.append(change))
            yield house
        finally:
            await close_connections()
            await store.close()
