"""The web and the workers as processes of their own, on one PostgreSQL: the same product."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.product import FakePipedrive, Product, eventually

KEY = "a secret key that all processes share"
RECIPE = """
from pipeflow import Client, Event, every, on
from pipeflow.records import Deal

@on("deal.added")
async def welcome(event: Event[Deal], client: Client) -> None:
    await client.notes.add_note(content=f"Welcome, {event.record.title}", deal_id=event.record.id)

@every("1 second")
async def tick() -> None:
    pass
"""
NEWER = """
from pipeflow import Event, on

@on("deal.added")
async def also(event: Event) -> None:
    pass
"""


class Split:
    """One web and some workers, each a process with a folder of its own."""

    def __init__(self, folder: Path, pipedrive: FakePipedrive, url: str) -> None:
        self.pipedrive = pipedrive
        self._folder = folder
        self._environment = {"DATABASE_URL": url.replace("postgresql://", "postgres://"), "PIPEFLOW_SECRET_KEY": KEY}
        self.recipes = folder / "recipes"
        self.recipes.mkdir()
        (self.recipes / "greet.py").write_text(RECIPE)
        self.web = self._product("web", self.recipes)
        self.workers: list[Product] = []

    def _product(self, name: str, recipes: Path) -> Product:
        (self._folder / name).mkdir()
        return Product(self._folder / name, self.pipedrive, recipes, more=self._environment)

    def add_worker(self, recipes: Path | None = None) -> Product:
        worker = self._product(f"worker {len(self.workers)}", recipes or self.recipes)
        worker.port = self.web.port
        with (worker.folder / "run.log").open("ab") as log:
            worker.process = worker.started(log, "--only", "worker")
        self.workers.append(worker)
        eventually(lambda: "The worker is up" in worker.printed, "the worker")
        return worker

    def add_deal(self) -> int:
        deal_id: int = self.pipedrive.call("POST", "/api/v2/deals", {"title": "Roastery"})["id"]
        return deal_id

    def notes(self, deal_id: int) -> list[object]:
        found: list[object] = self.pipedrive.call("GET", f"/v1/notes?deal_id={deal_id}") or []
        return found

    def stop(self) -> None:
        for one in (self.web, *self.workers):
            if one.process and one.process.poll() is None:
                one.kill()


@pytest.fixture
def split(tmp_path: Path, pipedrive: FakePipedrive, postgres_url: str) -> Iterator[Split]:
    running = Split(tmp_path, pipedrive, postgres_url)
    assert running.web.command("migrate").returncode == 0
    running.web.start("--only", "web")
    yield running
    running.stop()


def test_worker_works_what_the_web_received_before_it_came_and_after(split: Split) -> None:
    before = split.add_deal()
    eventually(lambda: split.web.listed("events", "--status", "stored"), "the event, stored and waiting")
    worker = split.add_worker()
    eventually(lambda: split.notes(before), "the note on what was received before")
    after = split.add_deal()
    eventually(lambda: split.notes(after), "the note on what is received now")
    assert worker.stop() == 0
    assert split.web.stop() == 0


def test_one_process_with_everything_is_the_same_product(split: Split) -> None:
    assert split.web.stop() == 0
    split.web.start()
    deal = split.add_deal()
    eventually(lambda: split.notes(deal), "the note")
    assert len(split.web.listed("webhooks")) == 1
    assert split.web.stop() == 0


def test_job_ticks_once_however_many_workers_there_are(split: Split) -> None:
    split.add_worker()
    split.add_worker()
    runs = eventually(
        lambda: (found := split.web.listed("runs", "--handler", "greet.tick", "--status", "succeeded"))[4:] and found,
        "some ticks",
    )
    assert len({run["event_id"] for run in runs}) == len(runs)
    ticks = split.web.listed("events", "--limit", "0", "--name", "tick")
    assert len({tick["occurred_at"] for tick in ticks}) == len(ticks)


def test_killed_workers_runs_go_on_elsewhere(split: Split) -> None:
    first = split.add_worker()
    known = split.add_deal()
    eventually(lambda: split.notes(known), "the first note")
    first.kill()
    deal = split.add_deal()
    split.add_worker()
    eventually(lambda: split.notes(deal), "the note by the other worker")
    assert len(split.notes(deal)) == 1


def test_run_of_a_newer_recipe_waits_for_a_worker_that_has_it(split: Split, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "greet.py").write_text(RECIPE)
    (newer / "more.py").write_text(NEWER)
    new = split.add_worker(newer)
    deal = split.add_deal()
    eventually(lambda: split.web.listed("runs", "--handler", "more.also", "--status", "succeeded"), "the newer run")
    assert new.stop() == 0
    run = split.web.listed("runs", "--handler", "more.also")[0]
    old = split.add_worker()
    assert split.web.command("replay", str(run["id"]), "--yes").returncode == 0
    eventually(lambda: "Runs of more.also wait" in old.printed, "the notice of the older worker")
    split.add_worker(newer)
    eventually(
        lambda: len(split.web.listed("runs", "--handler", "more.also", "--status", "succeeded")) == 2, "the replay"
    )
    assert len(split.notes(deal)) == 1
