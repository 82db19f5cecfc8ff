"""What Pipedrive tells in several deliveries is one event: a merge, an archiving, a lead that becomes a deal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.product import FakePipedrive, Product, eventually

RECIPE = '''
from pipeflow import Client, Event, on
from pipeflow.records import Deal, Lead, Person

@on("person.merged")
async def merged(event: Event[Person], client: Client) -> None:
    """Says on the person that is left who is gone."""
    assert event.merge is not None
    left, gone = int(event.merge.to_id), event.merge.from_id
    await client.notes.add_note(content=f"took in {gone}", person_id=left)

@on("lead.converted")
async def converted(event: Event[Lead], client: Client) -> None:
    """Says on the deal which lead it was."""
    await client.notes.add_note(content=f"was {event.record.title}", deal_id=event.record.deal_id)

@on("deal.archived")
async def archived(event: Event[Deal]) -> None:
    """Hears of archived deals."""
'''


@pytest.fixture
def product(tmp_path: Path, pipedrive: FakePipedrive) -> Iterator[Product]:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "once.py").write_text(RECIPE)
    running = Product(tmp_path, pipedrive, folder)
    yield running
    if running.process and running.process.poll() is None:
        running.kill()


def notes(pipedrive: FakePipedrive, link: str) -> list[str]:
    return [note["content"] for note in pipedrive.call("GET", f"/v1/notes?{link}") or []]


@pytest.mark.parametrize("options", [(), ("--poll", "1")], ids=["delivered", "polled"])
def test_lead_that_becomes_a_deal_is_told_once(product: Product, options: tuple[str, ...]) -> None:
    pipedrive = product.pipedrive
    product.start(*options)
    eventually(lambda: "began to watch" in product.printed, "the watermarks")
    person = pipedrive.call("POST", "/api/v2/persons", {"name": "Ann Lee"})["id"]
    lead = pipedrive.call("POST", "/v1/leads", {"title": "Espresso lead", "person_id": person})["id"]
    pipedrive.call("POST", f"/api/v2/leads/{lead}/convert/deal", {})
    run = eventually(
        lambda: product.listed("runs", "--handler", "once.converted", "--status", "succeeded"), "the conversion"
    )
    deal = max(pipedrive.call("GET", "/api/v2/deals?sort_by=id&sort_direction=desc&limit=1"), key=lambda one: one["id"])
    assert notes(pipedrive, f"deal_id={deal['id']}") == ["was Espresso lead"]
    assert [one["record_id"] for one in run] == [lead]


def test_merge_and_archiving_are_told_once_each(product: Product) -> None:
    pipedrive = product.pipedrive
    product.start()
    gone, left = (pipedrive.call("POST", "/api/v2/persons", {"name": name})["id"] for name in ("Ann", "Ann Lee"))
    deal = pipedrive.call("POST", "/api/v2/deals", {"title": "Old deal"})["id"]
    pipedrive.call("PUT", f"/v1/persons/{gone}/merge", {"merge_with_id": left})
    pipedrive.call("PATCH", f"/api/v2/deals/{deal}", {"is_archived": True})
    eventually(lambda: notes(pipedrive, f"person_id={left}"), "the note about the merge")
    eventually(lambda: product.listed("runs", "--handler", "once.archived", "--status", "succeeded"), "the archiving")
    assert notes(pipedrive, f"person_id={left}") == [f"took in {gone}"]
    assert [run["handler"] for run in product.listed("runs")].count("once.merged") == 1
    assert [run["handler"] for run in product.listed("runs")].count("once.archived") == 1


OVERLAPPING = '''
from pipeflow import Event, on

@on("deal.*")
async def deals(event: Event) -> None:
    """Needs a webhook for deals."""

@on("*.deleted")
async def gone(event: Event) -> None:
    """Needs a webhook for whatever is deleted."""
'''


def test_event_that_two_webhooks_number_differently_is_told_once(tmp_path: Path, pipedrive: FakePipedrive) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "overlapping.py").write_text(OVERLAPPING)
    product = Product(tmp_path, pipedrive, folder)
    product.start()
    try:
        assert len(pipedrive.call("GET", "/v1/webhooks")) == 2
        pipedrive.call("POST", "/_sandbox/modes", {"shared_event_id": False})
        deal = pipedrive.call("POST", "/api/v2/deals", {"title": "Soon gone"})["id"]
        pipedrive.call("DELETE", f"/api/v2/deals/{deal}")
        eventually(lambda: len(product.listed("events")) == 3, "the deletion, delivered twice")
        eventually(lambda: len(product.listed("runs", "--status", "succeeded")) == 3, "the runs")
        statuses = sorted(event["status"] for event in product.listed("events"))
        assert statuses == ["dispatched", "dispatched", "twin"]
    finally:
        product.kill()
