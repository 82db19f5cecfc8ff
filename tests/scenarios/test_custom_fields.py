"""A recipe that knows custom fields by name alone: it hears of one, reads others and writes one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.product import FakePipedrive, Product, eventually

RECIPE = '''
from pipeflow import Client, Event, changed, on
from pipeflow.records import Deal

@on("deal.updated", when=changed("Contract value"))
async def note_it(event: Event[Deal], client: Client) -> None:
    """Keep the contract's course in the reference."""
    change = event.changes["Contract value"]
    text = f"{change.old} to {change.new}, priority {event.record.custom['Priority']}"
    await client.deals.update_deal(event.record.id, custom_fields={"Reference": text})
'''


@pytest.fixture
def product(tmp_path: Path, pipedrive: FakePipedrive) -> Iterator[Product]:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "contract.py").write_text(RECIPE)
    running = Product(tmp_path, pipedrive, recipes=folder)
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.kill()


def test_a_recipe_hears_reads_and_writes_custom_fields_by_name(product: Product) -> None:
    fields = product.pipedrive.call("GET", "/api/v2/dealFields?limit=500")
    keys = {each["field_name"]: each["field_code"] for each in fields}
    low = next(each for each in fields if each["field_name"] == "Priority")["options"][0]["id"]
    custom = {keys["Contract value"]: 100, keys["Priority"]: low}
    deal = product.pipedrive.call("POST", "/api/v2/deals", {"title": "Espresso bar", "custom_fields": custom})
    path = f"/api/v2/deals/{deal['id']}"
    product.pipedrive.call("PATCH", path, {"custom_fields": {keys["Budget"]: {"value": 5, "currency": "EUR"}}})
    product.pipedrive.call("PATCH", path, {"custom_fields": {keys["Contract value"]: 900}})
    reference = eventually(
        lambda: product.pipedrive.call("GET", path)["custom_fields"][keys["Reference"]], "the reference"
    )
    assert reference == "100 to 900, priority Low"
    runs = eventually(lambda: product.listed("runs", "--status", "succeeded"), "the run in the listing")
    assert [run["record_id"] for run in runs] == [str(deal["id"])]


def test_a_field_renamed_in_pipedrive_fails_runs_in_plain_words_until_the_recipe_follows(product: Product) -> None:
    fields = product.pipedrive.call("GET", "/api/v2/dealFields?limit=500")
    key = next(each["field_code"] for each in fields if each["field_name"] == "Contract value")
    product.pipedrive.call("PATCH", f"/api/v2/dealFields/{key}", {"field_name": "Contract sum"})
    product.stop()
    product.start()
    eventually(lambda: "did you mean 'Contract sum'" in product.printed, "the warning at the start")
    deal = product.pipedrive.call("POST", "/api/v2/deals", {"title": "Roastery"})
    product.pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"custom_fields": {key: 5}})
    run = eventually(lambda: [run for run in product.listed("runs") if run["error"]], "the run that failed")[0]
    assert "deal has no custom field called 'Contract value'" in run["error"]
