"""The engine on a real SQLite file: order, retries, the end of runs, and what a crash leaves."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeflow.cli.compose import ownership_of
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.worker import Engine
from pipeflow.errors import GiveUp, PaymentRequired, Retry, Skip
from pipeflow.events import Event, read_delivery
from pipeflow.predicates import changed
from pipeflow.registry import Handler, Registry
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import ALL, NewEvent, Run, RunFilter, Store
from pipeflow.vault import Vault
from tests.engine.databases import url_of

pytestmark = pytest.mark.usefixtures("each_database")
COMPANY = 4410021
Function = Callable[..., Awaitable[None]]


def handler(name: str, function: Function, **more: Any) -> Handler:
    given: dict[str, Any] = {
        "patterns": ("deal.*",),
        "when": None,
        "ordered": True,
        "ignore_self": True,
        "timeout": 5.0,
        "concurrency": None,
        "arguments": {"event": "event"},
        "record_types": (),
    }
    return Handler(name=name, function=function, is_async=True, file=__file__, line=1, summary="", **{**given, **more})


def change(deal: int, at: int = 0, stage: int = 2) -> bytes:
    stamp = f"2026-11-03T09:41:{at:02d}Z"
    meta = {"action": "change", "entity": "deal", "entity_id": str(deal), "company_id": str(COMPANY), "user_id": "7"}
    meta |= {"id": str(uuid.uuid4()), "timestamp": stamp, "version": "2.0"}
    data = {"id": deal, "title": f"Deal {deal}", "stage_id": stage, "update_time": stamp}
    return orjson.dumps({"meta": meta, "data": data, "previous": {"stage_id": 1}})


async def deliver(store: Store, *bodies: bytes) -> list[int | None]:
    events = []
    for raw in bodies:
        head = read_delivery(raw, COMPANY, 1000.0)
        fields = {name: getattr(head, name) for name in NewEvent._fields if hasattr(head, name)}
        events.append(NewEvent(**fields, source="delivery", raw=raw, received_at=1000.0))
    return await store.add_events(events)


class House:
    """A store, an engine and a clock; runs until every run has ended or waits."""

    def __init__(self, path: Path, *handlers: Handler, delays: tuple[float, ...] = (5.0, 30.0)) -> None:
        self.now = 1000.0
        self.store = open_store(url_of(path))
        registry = Registry()
        for one in handlers:
            registry.add(one)
        settings = Settings.load(database_url=url_of(path), retry_delays=delays)
        accounts = Accounts(self.store, Vault(["k" * 32]), settings)
        self.engine = Engine(
            self.store, registry, settings, accounts, ownership=ownership_of(self.store), clock=lambda: self.now
        )

    async def runs(self, status: str | None = None) -> list[Run]:
        return await self.store.runs(RunFilter(limit=0, status=status, include_skipped=True))

    async def until(self, there: Callable[[list[Run]], bool]) -> list[Run]:
        async with asyncio.timeout(10):
            while not there(runs := await self.runs()):
                await asyncio.sleep(0.01)
        return sorted(runs, key=lambda run: run.id)

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        self.engine.wake()


@asynccontextmanager
async def working(house: House) -> AsyncIterator[House]:
    await house.store.open(owner=True)
    try:
        await house.engine.start()
        yield house
    finally:
        await house.engine.stop(0)
        await house.store.close()


async def test_failing_handler_spares_its_siblings(tmp_path: Path) -> None:
    seen: list[str] = []

    async def works(event: Event[Any]) -> None:
        seen.append(event.record_id)

    async def breaks(event: Event[Any]) -> None:
        raise RuntimeError("no")

    async with working(House(tmp_path / "x.db", handler("a.breaks", breaks), handler("b.works", works))) as house:
        await deliver(house.store, change(1), change(2, at=1))
        runs = await house.until(lambda runs: sum(run.status == "succeeded" for run in runs) == 2)
    assert sorted(seen) == ["1", "2"]
    assert {run.status for run in runs if run.handler == "a.breaks"} == {"pending"}


async def test_run_that_waits_for_its_retry_holds_its_lane_and_no_other(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    async def once_broken(event: Event[Any]) -> None:
        seen.append((event.record_id, event.record.stage_id))
        if seen.count(("1", 10)) == 1 and event.record.stage_id == 10:
            raise RuntimeError("first try")

    async with working(House(tmp_path / "x.db", handler("a.h", once_broken))) as house:
        await deliver(house.store, change(1, 0, 10), change(1, 1, 11), change(2, 2, 12))
        await house.until(lambda runs: any(run.record_id == "2" and run.status == "succeeded" for run in runs))
        await house.until(lambda runs: any(run.attempts == 1 and run.status == "pending" for run in runs))
        assert ("1", 11) not in seen
        await house.advance(5)
        await house.until(lambda runs: all(run.status == "succeeded" for run in runs))
    assert [item for item in seen if item[0] == "1"] == [("1", 10), ("1", 10), ("1", 11)]


async def test_run_is_dead_after_the_list_and_its_lane_goes_on(tmp_path: Path) -> None:
    async def breaks(event: Event[Any]) -> None:
        if event.record.stage_id == 10:
            raise RuntimeError("always")

    async with working(House(tmp_path / "x.db", handler("a.h", breaks))) as house:
        await deliver(house.store, change(1, 0, 10), change(1, 1, 11))
        for counted, delay in enumerate((5, 30), 1):
            await house.until(
                lambda runs, counted=counted: (
                    bool(runs) and min(r.id for r in runs) > 0 and any(run.attempts == counted for run in runs)
                )
            )
            await house.advance(delay)
        first, second = await house.until(lambda runs: all(run.status in ("dead", "succeeded") for run in runs))
        attempts = await house.store.attempts(first.id)
    assert (first.status, first.attempts, second.status) == ("dead", 3, "succeeded")
    assert "RuntimeError: always" in (attempts[-1].error or "")


@pytest.mark.parametrize(
    ("signal", "status"),
    [(Skip("nothing to do"), "skipped"), (GiveUp("hopeless"), "dead"), (Retry(after=60), "pending")],
)
async def test_handler_says_what_becomes_of_its_run(tmp_path: Path, signal: Exception, status: str) -> None:
    async def says(event: Event[Any]) -> None:
        raise signal

    async with working(House(tmp_path / "x.db", handler("a.h", says))) as house:
        await deliver(house.store, change(1))
        (run,) = await house.until(lambda runs: bool(runs) and bool(runs[0].attempts or runs[0].finished_at))
    assert run.status == status


async def test_predicate_that_is_false_skips_and_one_that_raises_fails_its_run_alone(tmp_path: Path) -> None:
    async def fine(event: Event[Any]) -> None: ...

    from pipeflow.predicates import record

    false = handler("a.false", fine, when=changed("stage_id", to=99))
    broken = handler("b.broken", fine, when=record(lambda deal: deal.no_such_thing.at_all))
    true = handler("c.true", fine, when=changed("stage_id", to=2))
    async with working(House(tmp_path / "x.db", false, broken, true)) as house:
        await deliver(house.store, change(1))
        runs = await house.until(
            lambda runs: (
                len(runs) == 3
                and all(run.status != "running" for run in runs)
                and any(run.attempts for run in runs if run.handler == "b.broken")
                and all(run.finished_at for run in runs if run.handler != "b.broken")
            )
        )
    assert {run.handler: run.status for run in runs} == {
        "a.false": "skipped",
        "b.broken": "pending",
        "c.true": "succeeded",
    }


async def test_account_trouble_costs_no_attempt_and_one_probe_goes_first(tmp_path: Path) -> None:
    tries: list[str] = []

    async def unpaid(event: Event[Any]) -> None:
        tries.append(event.record_id)
        if len(tries) < 2:
            raise PaymentRequired("unpaid", status=402)

    async with working(House(tmp_path / "x.db", handler("a.h", unpaid))) as house:
        await deliver(house.store, change(1))
        await house.until(lambda runs: bool(tries) and bool(runs) and runs[0].status == "pending")
        await house.advance(61)
        (run,) = await house.until(lambda runs: runs[0].status == "succeeded")
    assert tries == ["1", "1"]
    assert run.attempts == 1


async def test_older_event_of_a_record_is_delivered_and_marked_stale(tmp_path: Path) -> None:
    seen: list[bool] = []

    async def notes(event: Event[Any]) -> None:
        seen.append(event.stale)

    async with working(House(tmp_path / "x.db", handler("a.h", notes))) as house:
        await deliver(house.store, change(1, at=30), change(1, at=10))
        await house.until(lambda runs: len(runs) == 2 and all(run.status == "succeeded" for run in runs))
    assert seen == [False, True]


async def test_run_cut_off_by_a_crash_is_tried_again_alone_first(tmp_path: Path, each_database: str) -> None:
    seen: list[str] = []

    async def notes(event: Event[Any]) -> None:
        seen.append(event.record_id)

    first = House(tmp_path / "x.db", handler("a.h", notes))
    await first.store.open(owner=True)
    await deliver(first.store, change(1), change(2, at=1))
    _, runs = await first.engine._dispatcher.step(ALL, first.now)
    assert await first.store.open_attempt(runs[1].id, ALL, first.now) is not None
    await first.store.close()
    async with working(House(tmp_path / "x.db", handler("a.h", notes))) as house:
        await house.until(lambda runs: all(run.status == "succeeded" for run in runs))
        attempts = await house.store.attempts(runs[1].id)
    assert seen == ["2", "1"] or (each_database == "postgres" and sorted(seen) == ["1", "2"])  # it may get "1" first
    assert [(attempt.outcome, attempt.alone) for attempt in attempts] == [("interrupted", False), ("succeeded", True)]


async def test_attempt_that_outlives_the_grace_is_handed_back_uncounted(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def slow(event: Event[Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    house = House(tmp_path / "x.db", handler("a.h", slow))
    await house.store.open(owner=True)
    await house.engine.start()
    await deliver(house.store, change(1))
    await asyncio.wait_for(started.wait(), 10)
    await house.engine.stop(0)
    (run,) = await house.runs()
    await house.store.close()
    assert (run.status, run.attempts) == ("pending", 0)
