"""A dry run reads real data, shows what the recipes would write, and leaves Pipedrive and the store as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.product import FakePipedrive, Product, eventually


@pytest.fixture
def rehearsing(tmp_path: Path, pipedrive: FakePipedrive) -> Iterator[Product]:
    """`pipeflow run recipes/ --dry-run`, which looks every second."""
    product = Product(tmp_path, pipedrive)
    product.start("--dry-run", "--poll", "1")
    eventually(lambda: "began to watch" in product.printed, "a first look at Pipedrive")
    yield product
    if product.process and product.process.poll() is None:
        product.kill()


def written(product: Product) -> list[dict[str, Any]]:
    done = product.command("writes", "--dry-run", "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dry_run_records_writes_and_sends_none(rehearsing: Product) -> None:
    pipedrive = rehearsing.pipedrive
    deal = pipedrive.call("POST", "/api/v2/deals", {"title": "Roastery", "value": 900})
    pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"status": "won"})
    writes = eventually(lambda: written(rehearsing), "the writes that were not sent")
    assert {write["outcome"] for write in writes} == {"dry"}
    assert {write["values"]["deal_id"] for write in writes} == {deal["id"]}
    assert rehearsing.activities(deal["id"]) == []
    assert not pipedrive.call("GET", "/v1/webhooks")
    assert "Dry run, not sent" in rehearsing.printed


def test_dry_run_leaves_the_store_of_the_real_run_alone(rehearsing: Product) -> None:
    assert not (rehearsing.folder / "pipeflow.db").exists()
    assert (rehearsing.folder / "pipeflow.dry-run.db").exists()
    assert rehearsing.stop() == 0
