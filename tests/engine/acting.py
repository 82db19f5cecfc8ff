"""An engine whose handlers act: on a real SQLite file, against a stub of Pipedrive over real HTTP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from pipeflow.cli.compose import ownership_of
from pipeflow.client.transport import close_connections
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.worker import Engine
from pipeflow.events import read_delivery
from pipeflow.registry import Handler, Registry
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import Account, NewEvent, Run, RunFilter, StoredEvent
from pipeflow.vault import Vault
from tests.engine.databases import url_of
from tests.engine.stub_pipedrive import Stub, stub_pipedrive

COMPANY = 4410021
_numbers = itertools.count(1)


def handler(name: str, function: Callable[..., Any], **more: Any) -> Handler:
    """Make a handler of deals as `@on` would."""
    given: dict[str, Any] = {
        "patterns": ("deal.*",),
        "when": None,
        "ordered": True,
        "ignore_self": True,
        "timeout": 5.0,
        "concurrency": None,
        "arguments": {"event": "event", "client": "client"},
        "record_types": (),
        "is_async": asyncio.iscoroutinefunction(function),
    }
    return Handler(name=name, function=function, file=__file__, line=1, summary="", **{**given, **more})


class Acting:
    """A store, an engine, a clock that stands until it is moved, and what the engine says."""

    def __init__(self, path: Path, stub: Stub, *handlers: Handler, delays: tuple[float, ...] = (5.0, 30.0)) -> None:
        self.now = 1_795_000_000.0
        self.notices: list[str] = []
        self.stub = stub
        self.store = open_store(url_of(path))
        registry = Registry()
        for one in handlers:
            registry.add(one)
        self.vault = Vault(["k" * 32])
        settings = Settings.load(database_url=url_of(path), retry_delays=delays, api_url=stub.url)
        accounts = Accounts(self.store, self.vault, settings)
        self.engine = Engine(
            self.store, registry, settings, accounts, ownership=ownership_of(self.store), clock=lambda: self.now
        )
        self.engine.observers.append(self)

    async def connect(self) -> None:
        """Connect the account that handlers act through."""
        await self.store.save_account(
            Account(
                id=0,
                company=COMPANY,
                user_id=7,
                mode="token",
                acting=True,
                api_domain=self.stub.url,
                credentials=self.vault.encrypt(b"token"),
            )
        )

    async def change(self, deal: int, *, source: str = "app", user: int = 3, **values: Any) -> None:
        """Deliver that somebody changed a deal."""
        moment = datetime.fromtimestamp(self.now, UTC).isoformat(timespec="milliseconds")
        meta = {"action": "change", "entity": "deal", "entity_id": str(deal), "company_id": str(COMPANY)}
        meta |= {"user_id": str(user), "id": f"event-{next(_numbers)}", "timestamp": moment, "version": "2.0"}
        data = {"id": deal, "title": f"Deal {deal}", "stage_id": 2, **values}
        previous = dict.fromkeys(values or ["stage_id"])
        raw = orjson.dumps({"meta": meta | {"change_source": source}, "data": data, "previous": previous})
        head = read_delivery(raw, COMPANY, self.now)
        fields = {name: getattr(head, name) for name in NewEvent._fields if hasattr(head, name)}
        await self.store.add_events([NewEvent(**fields, source="delivery", raw=raw, received_at=self.now)])

    async def runs(self, **wanted: Any) -> list[Run]:
        """List runs, oldest first."""
        return (await self.store.runs(RunFilter(limit=0, include_skipped=True, **wanted)))[::-1]

    async def until(self, there: Callable[[list[Run]], bool]) -> list[Run]:
        """Wait until the runs are so, and give them."""
        async with asyncio.timeout(10):
            while not there(runs := await self.runs()):
                await asyncio.sleep(0.01)
        return runs

    async def at_rest(self) -> list[Run]:
        """Wait until every run has ended."""
        return await self.until(lambda runs: bool(runs) and all(run.finished_at is not None for run in runs))

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self.now += seconds
        self.engine.wake()

    def event_dispatched(self, event: StoredEvent, handlers: Any) -> None: ...
    def run_closed(self, run: Run, closing: Any, seconds: float) -> None: ...
    def notice(self, text: str) -> None:
        self.notices.append(text)


@asynccontextmanager
async def acting(path: Path, *handlers: Handler, **more: Any) -> AsyncIterator[Acting]:
    """Have an engine work, with an account connected."""
    async with stub_pipedrive() as stub:
        house = Acting(path, stub, *handlers, **more)
        await house.store.open(owner=True)
        await house.connect()
        try:
            await house.engine.start()
            yield house
        finally:
            await house.engine.stop(0)
            await house.store.close()
            await close_connections()
