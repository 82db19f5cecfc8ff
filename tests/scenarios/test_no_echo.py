"""Handlers that write never hear themselves, each other's writes they do hear, and other integrations always."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeflow.store import open_store
from pipeflow.store.base import EventFilter, StoredEvent
from tests.scenarios.product import FakePipedrive, Product, eventually

RECIPE = '''
from pipeflow import Client, Event, on
from pipeflow.records import Activity, Deal, Note

@on("deal.updated")
async def raise_value(event: Event[Deal], client: Client) -> None:
    """Writes to the very record that woke it."""
    await client.deals.update_deal(event.record.id, value=(event.record.value or 0) + 1)

@on("deal.updated")
async def note_it(event: Event[Deal], client: Client) -> None:
    """Hears what raise_value writes, and answers with a record of another kind."""
    await client.notes.add_note(content=f"worth {event.record.value}", deal_id=event.record.id)

@on("note.added")
async def retitle(event: Event[Note], client: Client) -> None:
    """Closes the circle: its write would wake both handlers above."""
    if event.record.deal_id:
        await client.deals.update_deal(event.record.deal_id, title=f"Noted {event.record.id}")
'''


@pytest.fixture
def circle(tmp_path: Path, pipedrive: FakePipedrive) -> Iterator[Product]:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "circle.py").write_text(RECIPE)
    running = Product(tmp_path, pipedrive, recipes=folder)
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.kill()


def add_deal(product: Product) -> dict[str, Any]:
    deal: dict[str, Any] = product.pipedrive.call("POST", "/api/v2/deals", {"title": "Espresso bar", "value": 100})
    return deal


def settled(product: Product, looks: int = 2) -> list[dict[str, Any]]:
    """Wait until so many looks in a row find nothing new, and give all runs."""
    seen: list[list[dict[str, Any]]] = [[]]

    def quiet() -> list[dict[str, Any]] | None:
        runs = product.listed("runs", "--limit", "0")
        seen.append(runs)
        busy = any(run["status"] in ("pending", "running") for run in runs)
        waiting = product.listed("events", "--status", "stored", "--limit", "0")
        still = len({len(one) for one in seen[-looks:]}) == 1 and len(seen) > looks
        return runs if still and not busy and not waiting else None

    return eventually(quiet, "an end of all runs", patience=60.0)


async def stored_events(product: Product) -> list[StoredEvent]:
    store = open_store(f"sqlite:///{product.folder}/pipeflow.db")
    await store.open()
    try:
        return await store.events(EventFilter(limit=0))
    finally:
        await store.close()


def runs_of(runs: list[dict[str, Any]], handler: str) -> int:
    return sum(run["handler"] == f"circle.{handler}" for run in runs)


def test_circle_of_handlers_comes_to_rest_once_each_has_heard_the_others(circle: Product) -> None:
    deal = add_deal(circle)
    circle.pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"stage_id": 2})
    runs = settled(circle)
    # The change wakes raise_value and note_it. What raise_value writes wakes note_it; each note wakes retitle; what
    # retitle writes wakes those of the two that are not in its chain: raise_value after the first note, nobody after
    # the second; and that write of raise_value's has note_it and retitle in its chain.
    assert runs_of(runs, "raise_value") == 2
    assert runs_of(runs, "note_it") == 2
    assert runs_of(runs, "retitle") == 2
    assert all(run["status"] == "succeeded" for run in runs)


def test_other_integration_that_acts_as_the_same_user_is_heard_each_time(circle: Product) -> None:
    deals = [add_deal(circle)["id"] for _ in range(3)]
    changes = 0
    for number in range(1, 13):
        for deal in deals:
            field = {"title": f"Tool {number}"} if number % 2 else {"value": 1000 * number}
            circle.pipedrive.call("PATCH", f"/api/v2/deals/{deal}", field)
            changes += 1
    runs = settled(circle)
    events = asyncio.run(stored_events(circle))
    heard = {run["event_id"] for run in runs if run["handler"] == "circle.raise_value"}
    foreign = {event.id for event in events if event.name == "deal.updated" and event.cause_run_id is None}
    echoes = {event.id for event in events if "circle.raise_value" in event.chain}
    assert len(foreign) == changes
    assert foreign <= heard
    assert echoes
    assert not echoes & heard


@pytest.mark.slow
def test_circle_comes_to_rest_where_polling_finds_several_writes_at_once(
    tmp_path: Path, pipedrive: FakePipedrive
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "circle.py").write_text(RECIPE)
    product = Product(tmp_path, pipedrive, recipes=folder)
    product.start("--poll", "1")
    eventually(lambda: "began to watch" in product.printed, "a first look at Pipedrive")
    deal = add_deal(product)
    eventually(lambda: "1 change, 1 known" in product.printed, "a look that saw the deal")
    for number in range(4):
        pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"title": f"Tool {number}"})
    runs = settled(product, looks=5)
    assert 0 < runs_of(runs, "raise_value") <= 12
    product.kill()


COUNTING = '''
from pipeflow import Client, Event, on
from pipeflow.records import Deal

@on("deal.updated")
async def count(event: Event[Deal], client: Client) -> None:
    """Writes another field than the other integration does."""
    deal = await client.deals.get_deal(event.record.id)
    await client.deals.update_deal(event.record.id, value=(deal.value or 0) + 1)
'''


@pytest.mark.slow
def test_own_writes_stay_echoes_through_kill_dash_nine(tmp_path: Path, pipedrive: FakePipedrive) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "counting.py").write_text(COUNTING)
    product = Product(tmp_path, pipedrive, recipes=folder)
    product.start()
    deals = [add_deal(product)["id"] for _ in range(3)]
    for deal in deals:
        pipedrive.call("PATCH", f"/api/v2/deals/{deal}", {"title": "Begin"})
    settled(product)
    for number in range(60):
        pipedrive.call("PATCH", f"/api/v2/deals/{deals[number % 3]}", {"title": f"Tool {number}"})
        if number in (20, 40):
            product.kill()
            product.start()
    settled(product)
    pipedrive.call("PATCH", f"/api/v2/deals/{deals[0]}", {"title": "The last"})
    runs = settled(product)
    heard = {run["event_id"] for run in runs}
    events = [event for event in asyncio.run(stored_events(product)) if event.name == "deal.updated"]
    ours = [event for event in events if set(json.loads(event.raw)["previous"]) <= {"value", "update_time"}]
    assert ours
    assert not {event.id for event in ours} & heard
    assert {event.id for event in events if event not in ours and event.status != "twin"} <= heard
    product.kill()
