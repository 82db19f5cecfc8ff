"""What handlers write to records of every kind, in every type of field, is known as theirs when Pipedrive tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeflow.client import Client
from pipeflow.client.transport import close_connections
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.dispatch import Dispatcher
from pipeflow.engine.runwrites import RunWrites
from pipeflow.engine.writes import Ledger
from pipeflow.events import read_delivery
from pipeflow.registry import Registry
from pipeflow.sandbox import Sandbox, running
from pipeflow.sandbox.changes import Change
from pipeflow.sandbox.hook_bodies import Telling
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import ALL, EventFilter, NewEvent, Run, Store, StoredEvent
from pipeflow.testing import FakeClock
from pipeflow.vault import Vault
from tests.engine.echo_world import handler

Work = Callable[[Client, "Home"], Awaitable[Any]]


@dataclass
class Home:
    """A company of the sandbox, a client that acts in it for a handler, and a dispatcher that hears of it."""

    sandbox: Sandbox
    store: Store
    clock: FakeClock
    client: Client
    dispatcher: Dispatcher
    changes: list[Change] = field(default_factory=list)

    def first(self, kind: str) -> dict[str, Any]:
        return dict(next(self.sandbox.company.living(kind)))

    def field(self, kind: str, type: str) -> str:
        """Give the key of a custom field of this type."""
        return next(k for k, one in self.sandbox.company.custom_fields(kind).items() if one["field_type"] == type)

    def option(self, kind: str, type: str) -> int:
        one = self.sandbox.company.custom_fields(kind)[self.field(kind, type)]
        return int(one["options"][0]["id"])

    async def deliver(self, version: str = "2.0") -> list[StoredEvent]:
        """Deliver all that happened, dispatch it, and give the events."""
        hook = {"id": 1, "version": version, "type": "general", "owner_id": 1}
        for change in self.changes:
            body = Telling(self.sandbox.company, change).body(hook, change.event_id)
            raw = orjson.dumps(body)
            head = read_delivery(raw, self.sandbox.company.id, self.clock())
            given = {name: getattr(head, name) for name in NewEvent._fields if hasattr(head, name)}
            await self.store.add_events([NewEvent(**given, source="delivery", raw=raw, received_at=self.clock())])
        while (await self.dispatcher.step(ALL, self.clock()))[0]:
            pass
        return await self.store.events(EventFilter(limit=0))


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    sandbox = Sandbox(seed=1, deals=4)
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    registry = Registry()
    registry.add(handler("a.writes", "*"))
    clock = FakeClock(sandbox.clock.seconds())
    async with running(sandbox) as url:
        settings = Settings.load(database_url=f"sqlite:///{tmp_path}/x.db", api_token=sandbox.api_token, api_url=url)
        accounts = Accounts(store, Vault(["k" * 32]), settings, clock=clock)
        await store.open(owner=True)
        account = await accounts.ensure_token_account()
        ledger = Ledger(store, clock)
        await ledger.begin()
        client = accounts.client_for(account)
        run = Run(7, 1, "a.writes", None, account.company, "deal", "1", 0, "running", 0, None, None, None, 0.0, None)
        client.transport.observer = RunWrites(ledger, account, run, ())
        there = Home(sandbox, store, clock, client, Dispatcher(store, registry, ledger))
        sandbox.company.listeners.append(lambda _, change: there.changes.append(change))
        yield there
        await close_connections()
        await store.close()


async def update_deal(client: Client, home: Home) -> None:
    deal = home.first("deal")
    await client.deals.update_deal(deal["id"], title=" Espresso ", value=12.5, expected_close_date=date(2027, 1, 2))
    await client.deals.update_deal(deal["id"], label_ids=[], visible_to=1, probability=40)
    await client.deals.update_deal(deal["id"], status="lost", lost_reason="price")
    await client.deals.update_deal(deal["id"], status="won")


async def move_deal(client: Client, home: Home) -> None:
    deal = home.first("deal")
    stages = [stage for stage in home.sandbox.company.living("stage") if stage["id"] != deal["stage_id"]]
    for stage in stages:
        await client.deals.update_deal(deal["id"], stage_id=stage["id"])


async def fill_custom_fields(client: Client, home: Home) -> None:
    deal, values = home.first("deal")["id"], CUSTOM
    for type, value in values.items():
        told = home.option("deal", type) if type in ("enum", "set") else value
        told = [told] if type == "set" else told
        await client.deals.update_deal(deal, custom_fields={home.field("deal", type): told})
    await client.deals.update_deal(deal, custom_fields={home.field("deal", "text"): None})


CUSTOM: dict[str, Any] = {
    "text": "hello",
    "double": 12.25,
    "monetary": {"value": 900, "currency": "EUR"},
    "enum": None,
    "set": None,
    "date": "2027-02-03",
}


async def write_person(client: Client, home: Home) -> None:
    made = await client.persons.add_person(name="Ann Lee", emails=[{"value": "ann@acme.test", "primary": True}])
    assert made.id is not None
    await client.persons.update_person(made.id, name="Ann Smith", phones=[{"value": "+3725550100", "label": "work"}])
    await client.persons.delete_person(made.id)


async def write_organization(client: Client, home: Home) -> None:
    made = await client.organizations.add_organization(name="Acme")
    assert made.id is not None
    await client.organizations.update_organization(made.id, name="Acme Ltd", address={"value": "Main Street 1"})
    await client.organizations.delete_organization(made.id)


async def write_activity(client: Client, home: Home) -> None:
    made = await client.activities.add_activity(
        subject="Call",
        type="call",
        due_date="2027-01-02",
        due_time="09:30",
        duration="00:30",
        deal_id=home.first("deal")["id"],
    )
    assert made.id is not None
    await client.activities.update_activity(made.id, done=True, due_time="10:00", note="<b>Hi</b>")
    await client.activities.delete_activity(made.id)


async def write_lead(client: Client, home: Home) -> None:
    made = await client.leads.add_lead(title="A lead", person_id=home.first("person")["id"])
    assert made.id is not None
    await client.leads.update_lead(made.id, title="The lead", value={"amount": 300, "currency": "EUR"})
    await client.leads.update_lead(made.id, is_archived=True)
    await client.leads.delete_lead(made.id)


async def write_note(client: Client, home: Home) -> None:
    made = await client.notes.add_note(content="<p>Hello</p>", deal_id=home.first("deal")["id"])
    assert made.id is not None
    await client.notes.update_note(made.id, content="<p>Good-bye</p>", pinned_to_deal_flag=1)
    await client.notes.delete_note(made.id)


async def write_product(client: Client, home: Home) -> None:
    made = await client.products.add_product(name="Oranges", prices=[{"currency": "EUR", "price": 3}])
    assert made.id is not None
    await client.products.update_product(made.id, name="Apples", tax=9)
    await client.products.delete_product(made.id)


async def write_pipeline_and_stage(client: Client, home: Home) -> None:
    pipeline = await client.pipelines.add_pipeline(name="Partners")
    assert pipeline.id is not None
    stage = await client.stages.add_stage(name="First", pipeline_id=pipeline.id)
    assert stage.id is not None
    await client.stages.update_stage(stage.id, name="Contacted", deal_probability=30)
    await client.pipelines.update_pipeline(pipeline.id, name="Resellers")
    await client.stages.delete_stage(stage.id)
    await client.pipelines.delete_pipeline(pipeline.id)


async def merge_deals(client: Client, home: Home) -> None:
    first, second = [deal["id"] for deal in home.sandbox.company.living("deal")][:2]
    await client.deals.merge_deals(first, merge_with_id=second)


async def archive_and_delete_deal(client: Client, home: Home) -> None:
    deal = home.first("deal")["id"]
    await client.deals.update_deal(deal, is_archived=True)
    await client.deals.update_deal(deal, is_archived=False)
    await client.deals.delete_deal(deal)


async def add_deal_with_everything(client: Client, home: Home) -> None:
    person, organization = home.first("person")["id"], home.first("organization")["id"]
    made = await client.deals.add_deal(title="New", value=5, currency="EUR", person_id=person, org_id=organization)
    assert made.id is not None
    await client.deals.add_deal_follower(made.id, user_id=home.sandbox.company.admin["id"])
    await client.deals.duplicate_deal(made.id)


WORKS = [
    update_deal,
    move_deal,
    fill_custom_fields,
    write_person,
    write_organization,
    write_activity,
    write_lead,
    write_note,
    write_product,
    write_pipeline_and_stage,
    merge_deals,
    archive_and_delete_deal,
    add_deal_with_everything,
]


@pytest.mark.parametrize("version", ["2.0", "1.0"])
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
async def test_writer_of_any_kind_of_record_hears_nothing_of_it(home: Home, work: Work, version: str) -> None:
    await work(home.client, home)
    events = await home.deliver(version)
    assert events
    assert [(event.names, event.raw) for event in events if event.status != "echo"] == []


async def test_update_by_the_name_of_a_custom_field_is_an_echo_too(home: Home) -> None:
    key = home.field("deal", "text")
    name = home.sandbox.company.custom_fields("deal")[key]["name"]
    await home.client.deals.update_deal(home.first("deal")["id"], custom_fields={name: "by name"})
    assert [event.status for event in await home.deliver()] == ["echo"]
