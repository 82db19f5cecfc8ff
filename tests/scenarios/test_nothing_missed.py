"""Nothing is missed for long: darkness, bans and deleted webhooks cost no event, and no event is handled twice."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.product import FakePipedrive, Product, eventually

RECIPE = '''
from pipeflow import Event, on

@on("deal.*")
async def deals(event: Event) -> None:
    """Hear of every deal."""

@on("person.*", "organization.*")
async def contacts(event: Event) -> None:
    """Hear of every contact."""
'''
DARK_MINUTES = 10


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "heard.py").write_text(RECIPE)
    return folder


@pytest.fixture
def pipedrive(tmp_path: Path) -> Iterator[FakePipedrive]:
    fake = FakePipedrive(tmp_path)
    fake.start("--deals", "400")
    yield fake
    fake.stop()


@pytest.fixture
def product(tmp_path: Path, pipedrive: FakePipedrive, recipes: Path) -> Iterator[Product]:
    running = Product(tmp_path, pipedrive, recipes)
    yield running
    if running.process and running.process.poll() is None:
        running.kill()


def ids(pipedrive: FakePipedrive, path: str, most: int) -> list[int]:
    return [one["id"] for one in pipedrive.call("GET", f"{path}?limit=500")][:most]


def thousand_changes(pipedrive: FakePipedrive) -> set[tuple[str, str]]:
    """Make 1,000 changes, each of another record, while ten minutes pass; give the records."""
    calls: list[tuple[str, str, str, dict[str, Any]]] = []
    for kind, path, name, most in (
        ("deal", "deals", "title", 300),
        ("person", "persons", "name", 60),
        ("organization", "organizations", "name", 20),
    ):
        for record_id in ids(pipedrive, f"/api/v2/{path}", most):
            calls.append((kind, "PATCH", f"/api/v2/{path}/{record_id}", {name: f"Changed in the dark {record_id}"}))
    while len(calls) < 1000:
        kind, path, name = (("deal", "deals", "title"), ("person", "persons", "name"))[len(calls) % 2]
        calls.append((kind, "POST", f"/api/v2/{path}", {name: f"Added in the dark {len(calls)}"}))
    changed: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, 1000, 1000 // DARK_MINUTES):
            part = calls[start : start + 1000 // DARK_MINUTES]
            for call, answer in zip(part, pool.map(lambda one: pipedrive.call(*one[1:]), part), strict=True):
                changed.add((call[0], str(answer["id"])))
            pipedrive.call("POST", "/_sandbox/clock", {"advance": 60})
    return changed


def handled(product: Product) -> Counter[tuple[str, str]]:
    runs = product.listed("runs", "--status", "succeeded", "--limit", "0")
    return Counter((run["kind"], run["record_id"]) for run in runs)


def control(pipedrive: FakePipedrive, method: str, path: str, body: Any = None) -> Any:
    return pipedrive.call(method, f"/_sandbox/{path}", body)


def test_thousand_changes_in_the_dark_are_handled_once_each(product: Product) -> None:
    pipedrive = product.pipedrive
    product.start()
    eventually(lambda: "began to watch" in product.printed, "the watermarks")
    product.kill()
    changed = thousand_changes(pipedrive)
    hooks = pipedrive.call("GET", "/v1/webhooks")
    gone = next(hook for hook in hooks if hook["event_object"] == "deal")
    control(pipedrive, "POST", "webhooks/remove", {"id": gone["id"], "reason": "no successful delivery"})
    for hook in hooks:
        if hook is not gone:
            control(pipedrive, "POST", "webhooks/ban", {"id": hook["id"]})
    product.start()
    eventually(lambda: sum(handled(product).values()) >= 1000, "1,000 handled changes", patience=60)
    control(pipedrive, "POST", "clock", {"advance": 200})
    after = pipedrive.call("POST", "/api/v2/deals", {"title": "Light again"})
    eventually(lambda: handled(product)["deal", str(after["id"])], "an event that is delivered again")
    left = handled(product)
    assert left.pop(("deal", str(after["id"]))) == 1
    assert set(left) == changed
    assert set(left.values()) == {1}
    assert "1000 added" in product.printed


def test_polling_needs_no_webhooks_and_tells_each_change_once(product: Product) -> None:
    pipedrive = product.pipedrive
    product.start("--poll", "1")
    eventually(lambda: "began to watch" in product.printed, "the watermarks")
    stages = pipedrive.call("GET", "/api/v2/stages")
    deals = pipedrive.call("GET", "/api/v2/deals?status=open&limit=20")
    # Once a new deal is told, the first look has seen how the others were before they move.
    first = pipedrive.call("POST", "/api/v2/deals", {"title": "First to be told"})
    eventually(lambda: handled(product)["deal", str(first["id"])], "the first look")
    for deal in deals:
        other = next(one["id"] for one in stages if one["id"] != deal["stage_id"])
        pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"stage_id": other})
    added = pipedrive.call("POST", "/api/v2/persons", {"name": "Seen by looking"})
    wanted = {("deal", str(deal["id"])) for deal in [first, *deals]} | {("person", str(added["id"]))}
    eventually(lambda: set(handled(product)) == wanted, "all changes", patience=60)
    assert set(handled(product).values()) == {1}
    assert pipedrive.call("GET", "/v1/webhooks") == []
    events = product.listed("events", "--limit", "0")
    assert {event["source"] for event in events} == {"poll"}
    assert sum("deal.stage_changed" in event["names"] for event in events) == len(deals)


def test_webhooks_are_compared_removed_and_made_again_from_the_command_line(product: Product) -> None:
    product.start()

    def told(*arguments: str) -> list[tuple[str, str]]:
        return sorted((row["what"], row["object"]) for row in product.listed("webhooks", *arguments))

    nouns = ("deal", "organization", "person")
    assert told("diff", str(product.recipes)) == [("keep", noun) for noun in nouns]
    assert told("remove", "--yes") == [("removed", noun) for noun in nouns]
    assert product.pipedrive.call("GET", "/v1/webhooks") == []
    assert told("diff", str(product.recipes)) == [("add", noun) for noun in nouns]
    assert told("sync", str(product.recipes)) == [("added", noun) for noun in nouns]
    assert "to watch" in product.command("doctor", str(product.recipes)).stdout


def test_replaced_secret_key_costs_no_event(product: Product) -> None:
    pipedrive, old, new = product.pipedrive, "o" * 40, "n" * 40

    def people(start: int) -> set[str]:
        return {
            str(pipedrive.call("POST", "/api/v2/persons", {"name": f"Person {start + number}"})["id"])
            for number in range(20)
        }

    product.more = {"PIPEFLOW_SECRET_KEY": old}
    product.start()
    wanted = people(0)
    assert product.stop() == 0
    wanted |= people(100)
    product.more = {"PIPEFLOW_SECRET_KEY": new}
    product.start()
    wanted |= people(200)
    names = {hook["name"].rpartition("#")[2] for hook in pipedrive.call("GET", "/v1/webhooks")}
    assert len(names) == 1
    eventually(lambda: {key[1] for key in handled(product)} >= wanted, "all persons", patience=60)
    assert set(handled(product).values()) == {1}


def test_webhooks_that_somebody_deleted_are_made_again_and_what_they_missed_is_found(product: Product) -> None:
    pipedrive = product.pipedrive
    product.start()
    for hook in pipedrive.call("GET", "/v1/webhooks"):
        pipedrive.call("DELETE", f"/v1/webhooks/{hook['id']}")
    lost = pipedrive.call("POST", "/api/v2/deals", {"title": "Nobody was told"})
    assert product.command("webhooks", "sync", str(product.recipes)).returncode == 0
    told = pipedrive.call("POST", "/api/v2/deals", {"title": "Told again"})
    eventually(lambda: handled(product)["deal", str(told["id"])], "the delivered deal")
    eventually(lambda: handled(product)["deal", str(lost["id"])], "the deal that nobody was told of", patience=90)
    assert set(handled(product).values()) == {1}


def test_look_that_is_killed_in_the_middle_is_taken_up_and_tells_nothing_twice(product: Product) -> None:
    product.start()
    eventually(lambda: "began to watch" in product.printed, "the watermarks")
    product.kill()
    changed = thousand_changes(product.pipedrive)
    for seconds in (0.9, 1.2, 1.5):
        with (product.folder / "killed.log").open("ab") as log:
            process = product.started(log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        process.kill()
        process.wait()
    product.start()
    eventually(lambda: len(handled(product)) >= 1000, "1,000 handled changes", patience=60)
    assert set(handled(product)) == changed
    assert len(product.listed("runs", "--limit", "0")) == 1000
