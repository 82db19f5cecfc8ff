"""Custom fields by name in recipes: the engine on a real SQLite file, with definitions from a sandboxed Pipedrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import orjson

from pipeflow.client.transport import close_connections
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.worker import Engine
from pipeflow.events import read_delivery
from pipeflow.registry import load
from pipeflow.sandbox import Sandbox, running
from pipeflow.sandbox.changes import Change
from pipeflow.sandbox.hook_bodies import Telling
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import NewEvent, Run, RunFilter, Store
from pipeflow.vault import Vault

HOOK = {"id": 1, "version": "2.0", "type": "general", "owner_id": 1}


@dataclass
class House:
    """A recipe, an engine that runs it, and the sandbox whose changes are delivered to it."""

    sandbox: Sandbox
    store: Store
    engine: Engine
    changes: list[Change] = field(default_factory=list)

    @property
    def company(self) -> int:
        company: int = self.sandbox.company.id
        return company

    def key(self, name: str) -> str:
        (key,) = [one["key"] for one in self.sandbox.company.custom_fields("deal").values() if one["name"] == name]
        return str(key)

    async def set(self, deal: int, **values: Any) -> None:
        """Change a deal in Pipedrive and let the delivery arrive."""
        self.sandbox.change("deal", deal, **values)
        await self.deliver_changes()

    async def deliver_changes(self) -> None:
        """Let the deliveries of what has changed arrive."""
        for change in self.changes:
            if change.kind == "deal":
                raw = orjson.dumps(Telling(self.sandbox.company, change).body(HOOK, change.event_id))
                await self.deliver(raw)
        self.changes.clear()

    async def set_field(self, deal: int, name: str, value: Any) -> None:
        await self.set(deal, custom_fields={self.key(name): value})

    async def deliver(self, raw: bytes) -> None:
        now = time.time()
        head = read_delivery(raw, self.company, now)
        given = {name: getattr(head, name) for name in NewEvent._fields if hasattr(head, name)}
        await self.store.add_events([NewEvent(**given, source="delivery", raw=raw, received_at=now)])

    async def until(
        self, count: int, there: Callable[[Run], bool] = lambda run: run.finished_at is not None
    ) -> list[Run]:
        """Wait until so many runs are as wanted, and give all, oldest first."""
        async with asyncio.timeout(10):
            while sum(map(there, runs := await self.store.runs(RunFilter(limit=0, include_skipped=True)))) < count:
                await asyncio.sleep(0.01)
        return runs[::-1]

    def fetched(self) -> int:
        return len(self.sandbox.journal.listed(path="dealFields"))


@asynccontextmanager
async def house(path: Path, recipe: str, *, sandbox: Sandbox | None = None, token: str = "") -> AsyncIterator[House]:
    """Run a recipe; a second house in the same folder goes on with the same store."""
    sandbox = sandbox or Sandbox(seed=1)
    (path / "recipes").mkdir(exist_ok=True)
    (path / "recipes" / "rules.py").write_text(
        "from pipeflow import *\nfrom pipeflow.records import Deal\n" + dedent(recipe)
    )
    registry = load(path / "recipes")
    url = f"sqlite:///{path / 'x.db'}"
    async with running(sandbox) as api_url:
        settings = Settings.load(database_url=url, api_token=token or sandbox.api_token, api_url=api_url)
        store = open_store(url)
        accounts = Accounts(store, Vault(["k" * 32]), settings)
        await store.open(owner=True)
        engine = Engine(store, registry, settings, accounts)
        made = House(sandbox, store, engine)
        try:
            await accounts.ensure_token_account()
            await engine.start()
            sandbox.company.listeners.append(lambda _, change: made.changes.append(change))
            yield made
        finally:
            await engine.stop(0)
            await close_connections()
            await store.close()


TELL = """
    @on("deal.updated", when=changed("Contract value"))
    async def tell(event: Event[Deal], client: Client) -> None:
        change = event.changes["Contract value"]
        text = f"{event.record.custom['Contract value']} {event.record.custom['Priority']} {change.old}"
        await client.deals.update_deal(event.record.id, custom_fields={"Reference": text})
"""


async def test_a_recipe_on_a_custom_field_by_name_fires_for_that_field_alone(tmp_path: Path) -> None:
    async with house(tmp_path, TELL) as here:
        await here.set_field(1, "Priority", 13)
        await here.set_field(1, "Budget", {"value": 5, "currency": "EUR"})
        await here.set(1, title="Renamed")
        await here.set_field(1, "Contract value", 900)
        runs = await here.until(4)
        assert [run.status for run in runs] == ["skipped", "skipped", "skipped", "succeeded"]
        written = here.sandbox.company.get("deal", 1)["custom_fields"][here.key("Reference")]
        assert written == "900 Low None"
        assert here.fetched() == 1


async def test_definitions_are_in_the_store_for_the_next_start(tmp_path: Path) -> None:
    sandbox = Sandbox(seed=1)
    async with house(tmp_path, TELL, sandbox=sandbox) as here:
        await here.set_field(1, "Contract value", 900)
        await here.until(1)
        assert set(await here.store.fields(here.company)) == {"deal"}
    async with house(tmp_path, TELL, sandbox=sandbox) as here:
        await here.set_field(2, "Contract value", 901)
        assert [run.status for run in await here.until(2)] == ["succeeded", "succeeded"]
        assert here.fetched() == 1


async def test_choices_are_compared_by_label(tmp_path: Path) -> None:
    recipe = """
        @on("deal.updated", when=changed("Priority", to="High") | changed("Interests", to=["Hardware", "Software"]))
        def hear(event: Event[Deal]) -> None: ...
    """
    async with house(tmp_path, recipe) as here:
        await here.set_field(2, "Priority", 13)
        await here.set_field(2, "Priority", 15)
        await here.set_field(2, "Interests", [17, 16])
        await here.set_field(2, "Interests", [17])
        runs = await here.until(4)
        assert [run.status for run in runs] == ["skipped", "succeeded", "succeeded", "skipped"]


async def test_a_name_that_two_fields_have_fails_its_run_with_both_keys(tmp_path: Path) -> None:
    recipe = """
        @on("deal.updated", when=changed("Region"))
        def hear(event: Event[Deal]) -> None: ...

        @on("deal.updated")
        def sibling(event: Event[Deal]) -> None: ...
    """
    async with house(tmp_path, recipe) as here:
        await here.set(1, title="Renamed")
        runs = await here.until(1, lambda run: run.status == "pending" and bool(run.attempts))
        keys = [one["key"] for one in here.sandbox.company.custom_fields("deal").values() if one["name"] == "Region"]
        (failed,) = [run for run in runs if run.handler == "rules.hear"]
        assert all(key in (failed.error or "") for key in keys)
        await here.until(1, lambda run: run.handler == "rules.sibling" and run.status == "succeeded")
        said = await here.engine.fields.look(load(tmp_path / "recipes").handlers.values())
        assert len(said) == 1
        assert said[0].startswith("rules.hear: 2 custom fields of deal are called 'Region'")


async def test_a_name_that_is_gone_fails_its_run_instead_of_skipping_it_in_silence(tmp_path: Path) -> None:
    recipe = """
        @on("deal.updated", when=changed("Contrct value"))
        def hear(event: Event[Deal]) -> None: ...

        @on("*.updated", when=changed("Contrct value"))
        def anywhere(event: Event) -> None: ...
    """
    async with house(tmp_path, recipe) as here:
        await here.set(1, title="Renamed")
        runs = await here.until(2, lambda run: run.status == "skipped" or bool(run.attempts))
        assert {run.handler: run.status for run in runs} == {"rules.hear": "pending", "rules.anywhere": "skipped"}
        assert "misspelt" in str(runs[0].error or runs[1].error)
        said = await here.engine.fields.look(load(tmp_path / "recipes").handlers.values())
        assert len(said) == 1
        assert said[0].startswith(
            "rules.hear: deal has no custom field called 'Contrct value'; did you mean 'Contract value'"
        )


async def test_a_slip_in_the_name_of_a_plain_field_is_told_at_the_start(tmp_path: Path) -> None:
    recipe = """
        @on("deal.updated", when=changed("stag_id") | changed("next_activity_id") | changed("stage_id"))
        def hear(event: Event[Deal]) -> None: ...
    """
    async with house(tmp_path, recipe) as here:
        said = await here.engine.fields.look(load(tmp_path / "recipes").handlers.values())
        assert said == ["rules.hear: deal has no field called 'stag_id' that is known; did you mean 'stage_id'?"]


async def test_a_field_made_after_the_start_is_known_once_it_is_used(tmp_path: Path) -> None:
    recipe = """
        @on("deal.updated")
        async def hear(event: Event[Deal], run: Run) -> None:
            raise Skip(str(event.record.custom.get("Weight")))
    """
    async with house(tmp_path, recipe) as here:
        await here.set(1, title="Renamed")
        await here.until(1)
        definitions = await here.engine.fields.of(here.company)
        definitions.asked.clear()
        here.sandbox.company.add_field("deal", "Weight", "double", here.sandbox.actor(here.sandbox.company, None))
        await here.set_field(1, "Weight", 12.5)
        runs = await here.until(2)
        assert [run.error for run in runs] == ["None", "12.5"]


async def test_handlers_that_name_no_field_work_while_definitions_cannot_be_fetched(tmp_path: Path) -> None:
    recipe = """
        @on("deal.updated", when=changed("title"))
        def plain(event: Event[Deal]) -> None: ...

        @on("deal.updated", when=changed("Contract value"))
        def named(event: Event[Deal]) -> None: ...
    """
    async with house(tmp_path, recipe) as here:
        here.sandbox.faults.add(kind="503", path="dealFields")
        await here.set(1, title="Renamed")
        runs = await here.until(2, lambda run: run.finished_at is not None or bool(run.error))
        assert {run.handler: run.status for run in runs} == {"rules.plain": "succeeded", "rules.named": "pending"}


async def test_what_a_handler_wrote_by_name_does_not_wake_it(tmp_path: Path) -> None:
    recipe = """
        from datetime import date, time
        from pipeflow.catalog.values import TimeOfDay

        @on("deal.updated")
        async def write(event: Event[Deal], client: Client) -> None:
            values = {
                "Contract value": 12, "Budget": (5, "USD"), "Priority": "Low", "Interests": ["Hardware"],
                "Hotline": "1", "Account manager": 1, "Renewal date": date(2026, 1, 1), "Delivery address": "Pikk 1",
                "Preferred call time": TimeOfDay(time(9), "Europe/London"),
                "Contract period": (date(2026, 1, 1), date(2026, 2, 1)),
            }
            await client.deals.update_deal(event.record.id, custom_fields=values)
    """
    async with house(tmp_path, recipe) as here:
        await here.set(1, title="Renamed")
        await here.until(1)
        assert len(here.changes) == 1
        await here.deliver_changes()
        await here.set(2, title="Renamed")
        runs = await here.until(2)
        assert [run.record_id for run in runs] == ["1", "2"]
