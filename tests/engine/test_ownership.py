"""Several workers on one PostgreSQL: they share partitions, keep order, and take up what a dead one left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.ownership import HandedOut
from pipeflow.engine.scheduler import Scheduler
from pipeflow.engine.worker import Engine
from pipeflow.errors import Retry
from pipeflow.events import Event
from pipeflow.registry import Handler, Job, Registry
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Run, RunFilter
from pipeflow.store.postgres import PostgresStore
from pipeflow.vault import Vault
from tests.engine.test_worker import COMPANY, change, deliver, handler


class Worker:
    """One process of several: a store, an engine and what it was given."""

    def __init__(self, url: str, *handlers: Handler) -> None:
        self.store = PostgresStore(url)
        self.ownership = HandedOut(self.store)
        self.registry = Registry()
        for one in handlers:
            self.registry.add(one)
        settings = Settings.load(database_url=url, retry_delays=(0.2, 0.2))
        self.accounts = Accounts(self.store, Vault(["k" * 32]), settings)
        self.engine = Engine(self.store, self.registry, settings, self.accounts, ownership=self.ownership)

    async def runs(self) -> list[Run]:
        return await self.store.runs(RunFilter(limit=0, include_skipped=True))


@asynccontextmanager
async def working(*workers: Worker) -> AsyncIterator[None]:
    for worker in workers:
        await worker.store.open(owner=True)
        await worker.engine.start()
    try:
        yield
    finally:
        for worker in workers:
            await worker.engine.stop(1)
            await worker.store.close()


async def until(there: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = there()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


async def succeeded(worker: Worker, number: int) -> bool:
    return sum(run.status == "succeeded" for run in await worker.runs()) == number


async def test_event_stored_by_one_process_is_worked_by_another(postgres_url: str) -> None:
    seen: list[str] = []

    async def note(event: Event[Any]) -> None:
        seen.append(event.record_id)

    web = PostgresStore(postgres_url)
    await web.open()
    worker = Worker(postgres_url, handler("a.note", note))
    async with working(worker):
        await deliver(web, change(1), change(2))
        await until(lambda: succeeded(worker, 2))
    await web.close()
    assert sorted(seen) == ["1", "2"]


async def test_workers_share_the_partitions_and_keep_the_order_of_each_record(postgres_url: str) -> None:
    seen: dict[str, list[int]] = {}
    at_work: set[str] = set()

    async def note(event: Event[Any]) -> None:
        assert event.record_id not in at_work
        at_work.add(event.record_id)
        await asyncio.sleep(0.002)
        seen.setdefault(event.record_id, []).append(event.record.stage_id)
        at_work.discard(event.record_id)

    workers = [Worker(postgres_url, handler("a.note", note)) for _ in range(3)]
    async with working(*workers):
        for stage in range(10):
            await deliver(workers[0].store, *(change(deal, at=stage, stage=stage) for deal in range(60)))
        await until(lambda: succeeded(workers[0], 600))
        await until(lambda: all(len(worker.ownership.owned) <= 22 for worker in workers))
        for deal in range(60):
            await deliver(workers[1].store, change(deal, at=20, stage=20))
        await until(lambda: succeeded(workers[0], 660))
        assert sum(len(worker.ownership.owned) > 0 for worker in workers) >= 2
    assert all(stages == [*range(10), 20] for stages in seen.values())


async def test_worker_that_ends_hands_its_partitions_over_at_once(postgres_url: str) -> None:
    async def note(event: Event[Any]) -> None:
        await asyncio.sleep(0)

    first, second = (Worker(postgres_url, handler("a.note", note)) for _ in range(2))
    async with working(first):
        await deliver(first.store, *(change(deal) for deal in range(100)))
        await until(lambda: succeeded(first, 100))
    async with working(second):
        await deliver(second.store, *(change(deal, at=1) for deal in range(100)))
        await until(lambda: succeeded(second, 200), 3)


async def test_run_whose_handler_is_unknown_here_waits_for_a_worker_that_knows_it(postgres_url: str) -> None:
    seen: list[str] = []

    async def note(event: Event[Any]) -> None:
        seen.append(event.record_id)

    async def never(event: Event[Any]) -> None:
        raise Retry(after=0.5)

    told: list[str] = []
    before = Worker(postgres_url, handler("a.old", note), handler("a.gone", never))
    async with working(before):
        await deliver(before.store, change(1))
        await until(lambda: succeeded(before, 1))
    without, knowing = Worker(postgres_url, handler("a.old", note)), Worker(postgres_url, handler("a.gone", note))
    without.engine.observers.append(Listening(told))
    async with working(without):
        await until(lambda: bool(told))
        assert "a.gone" in told[0]
        async with working(knowing):
            await until(lambda: succeeded(without, 2))
    assert seen == ["1", "1"]


async def test_tick_told_by_ten_processes_is_one_run(postgres_url: str) -> None:
    ran: list[float] = []

    async def job() -> None:
        ran.append(1)

    every_second = Job("a.job", job, 1.0, None, None, 5.0, {}, True, __file__, 1, "")
    workers = [Worker(postgres_url) for _ in range(2)]
    for worker in workers:
        worker.registry.add(every_second)
    account = Account(1, COMPANY, 7, "token", acting=True)
    async with working(*workers):
        clocks = [Scheduler(worker.store, worker.registry, worker.accounts) for worker in workers * 5]
        for due_at in range(1_000, 1_040):
            told = await asyncio.gather(*(clock.tick(every_second, account, float(due_at)) for clock in clocks))
            assert told.count(True) == 1
        await until(lambda: all_ended(workers[0], 40))
        ticks = await workers[0].runs()
    assert len({run.event_id for run in ticks}) == len(ticks) == 40
    assert len(ran) == sum(run.status == "succeeded" for run in ticks)


async def all_ended(worker: Worker, number: int) -> bool:
    return sum(run.finished_at is not None for run in await worker.runs()) == number


class Listening:
    """Hears what an engine says."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def notice(self, text: str) -> None:
        self._told.append(text)

    def event_dispatched(self, *_: object) -> None: ...

    def run_closed(self, *_: object) -> None: ...
