"""Jobs are due when their text says, in the zone it names; each due time is told once, and a missed one at start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.dispatch import Dispatcher
from pipeflow.engine.duetimes import DueTimes
from pipeflow.engine.scheduler import Scheduler
from pipeflow.engine.writes import Ledger
from pipeflow.errors import StoreUnavailable
from pipeflow.registry import Job, Registry
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import ALL, Account, EventFilter, RunFilter, Store, StoredEvent
from pipeflow.testing import FakeClock
from pipeflow.vault import Vault

COMPANY = 4410021


async def _does_nothing() -> None:
    """Stand for a job."""


def job(cron: str | None = None, *, every: float | None = None, zone: str | None = None, name: str = "a.job") -> Job:
    return Job(name, _does_nothing, every, cron, zone, 300.0, {}, True, __file__, 1, "")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def told(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


# When ---------------------------------------------------------------------------------------------------------------


def next_times(due: DueTimes, start: str, count: int) -> list[str]:
    moments, moment = [], at(start)
    for _ in range(count):
        found = due.after(moment)
        assert found is not None
        moments.append(told(moment := found))
    return moments


def test_intervals_are_multiples_since_1970_whenever_one_starts() -> None:
    due = DueTimes(job(every=900.0))
    assert next_times(due, "2026-11-25 09:07:31", 2) == ["2026-11-25 09:15:00", "2026-11-25 09:30:00"]
    assert told(due.latest(at("2026-11-25 09:14:59"))) == "2026-11-25 09:00:00"


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("0 8 * * MON-FRI", "2026-11-27 09:00:00", "2026-11-30 08:00:00"),
        ("30 6 1 * *", "2026-11-25 00:00:00", "2026-12-01 06:30:00"),
        ("0 0 * * 0", "2026-11-25 00:00:00", "2026-11-29 00:00:00"),
        ("0 0 * * 7", "2026-11-25 00:00:00", "2026-11-29 00:00:00"),
        ("0 0 13 * FRI", "2026-11-25 00:00:00", "2026-11-27 00:00:00"),
        ("*/20 9-10 * * *", "2026-11-25 10:40:00", "2026-11-26 09:00:00"),
        ("0 0 29 2 *", "2026-11-25 00:00:00", "2028-02-29 00:00:00"),
    ],
)
def test_cron_fields_mean_what_they_mean_to_cron(cron: str, start: str, expected: str) -> None:
    due = DueTimes(job(cron))
    assert next_times(due, start, 1) == [expected]
    assert told(due.latest(at(expected) + 1)) == expected


def test_wall_clock_of_the_zone_counts_summer_and_winter() -> None:
    due = DueTimes(job("0 8 * * *"), "Europe/Tallinn")
    assert next_times(due, "2026-03-27 12:00:00", 3) == [
        "2026-03-28 06:00:00",
        "2026-03-29 05:00:00",
        "2026-03-30 05:00:00",
    ]


def test_time_that_summer_time_leaves_out_is_due_an_hour_later_and_once() -> None:
    due = DueTimes(job("30 3 * * *"), "Europe/Tallinn")
    assert next_times(due, "2026-03-28 02:00:00", 2) == ["2026-03-29 01:30:00", "2026-03-30 00:30:00"]


def test_time_that_winter_time_repeats_is_due_once() -> None:
    due = DueTimes(job("30 3 * * *"), "Europe/Tallinn")
    assert next_times(due, "2026-10-24 12:00:00", 2) == ["2026-10-25 00:30:00", "2026-10-26 01:30:00"]


def test_every_hour_that_passes_counts_where_the_hour_is_a_wildcard() -> None:
    due = DueTimes(job("0 * * * *"), "Europe/Tallinn")
    assert next_times(due, "2026-10-24 23:30:00", 3) == [
        "2026-10-25 00:00:00",
        "2026-10-25 01:00:00",
        "2026-10-25 02:00:00",
    ]


def test_zone_without_summer_time_and_half_an_hour_off_is_no_exception() -> None:
    due = DueTimes(job("0 9 * * *"), "Asia/Kolkata")
    assert next_times(due, "2026-06-01 00:00:00", 1) == ["2026-06-01 03:30:00"]


# Telling ------------------------------------------------------------------------------------------------------------


class House:
    """A store with one account, and schedulers over it."""

    def __init__(self, store: Store, accounts: Accounts, clock: FakeClock) -> None:
        self.store = store
        self.accounts = accounts
        self.clock = clock

    def scheduler(self, *jobs: Job) -> Scheduler:
        registry = Registry()
        for one in jobs:
            registry.add(one)
        self.dispatcher = Dispatcher(self.store, registry, Ledger(self.store, self.clock))
        return Scheduler(self.store, registry, self.accounts, clock=self.clock)

    async def ticks(self) -> list[StoredEvent]:
        return (await self.store.events(EventFilter(limit=0, source="tick")))[::-1]

    async def due_times(self) -> list[str]:
        return [orjson.loads(event.raw)["due_at"] for event in await self.ticks()]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = FakeClock(at("2026-11-25 09:07:00"))
    url = f"sqlite:///{tmp_path / 'x.db'}"
    store = open_store(url)
    await store.open(owner=True)
    vault = Vault(["k" * 32])
    account = Account(
        id=0,
        company=COMPANY,
        user_id=1,
        mode="token",
        acting=True,
        timezone="Europe/Tallinn",
        credentials=vault.encrypt(b"token"),
        connected_at=at("2026-11-20 00:00:00"),
    )
    await store.save_account(account)
    yield House(store, Accounts(store, vault, Settings.load(database_url=url), clock=clock), clock)
    await store.close()


async def test_only_the_latest_missed_tick_is_told_at_start_and_once(house: House) -> None:
    for _ in range(2):
        scheduler = house.scheduler(job("0 8 * * *", zone="account"), job(every=900.0, name="b.job"))
        await scheduler.start()
        await scheduler.stop()
    assert await house.due_times() == ["2026-11-25T06:00:00+00:00", "2026-11-25T09:00:00+00:00"]


async def test_due_times_before_the_account_was_connected_are_nobodys(house: House) -> None:
    scheduler = house.scheduler(job("0 8 1 * *"))
    await scheduler.start()
    await scheduler.stop()
    assert await house.ticks() == []


async def test_tick_is_stored_once_however_many_clocks_tell_it(house: House) -> None:
    one = job(every=900.0)
    (account,) = await house.accounts.connected()
    stored = [await house.scheduler(one).tick(one, account, at("2026-11-25 09:15:00")) for _ in range(3)]
    assert stored == [True, False, False]


async def test_newer_tick_supersedes_one_that_waits(house: House) -> None:
    one = job(every=900.0)
    scheduler = house.scheduler(one)
    (account,) = await house.accounts.connected()
    for minute in (15, 30, 45):
        await scheduler.tick(one, account, at(f"2026-11-25 09:{minute}:00"))
        await house.dispatcher.step(ALL, house.clock())
    runs = await house.store.runs(RunFilter(include_skipped=True))
    assert [(run.status, run.error) for run in runs[::-1]] == [
        ("skipped", "superseded by a newer tick"),
        ("skipped", "superseded by a newer tick"),
        ("pending", None),
    ]


async def test_clock_tells_the_due_time_and_not_the_moment_at_which_it_says_so(house: House) -> None:
    house.clock.now = datetime.now(UTC).timestamp()
    scheduler = house.scheduler(job(every=1.0))
    await scheduler.start()
    async with asyncio.timeout(10):
        while len(await house.ticks()) < 3:
            await asyncio.sleep(0.05)
    await scheduler.stop()
    moments = [datetime.fromisoformat(text) for text in await house.due_times()]
    assert all(moment.microsecond == 0 for moment in moments)
    assert len(set(moments)) == len(moments)


async def test_own_job_is_done_at_start_and_when_hurried_though_it_is_not_due(house: House) -> None:
    done: list[int] = []
    again = asyncio.Event()

    async def work() -> None:
        done.append(1)
        again.set()

    scheduler = house.scheduler()
    scheduler.own("A look", 3600.0, work, at_once=True)
    await scheduler.start()
    await asyncio.wait_for(again.wait(), 10)
    again.clear()
    scheduler.hurry("A look")
    await asyncio.wait_for(again.wait(), 10)
    await scheduler.stop()
    assert len(done) == 2


async def test_own_job_that_fails_is_tried_again(house: House) -> None:
    tries: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        tries.append(1)
        if len(tries) == 2:
            enough.set()
        raise StoreUnavailable("the disk is full")

    scheduler = house.scheduler()
    scheduler.own("A look", 1.0, work)
    await scheduler.start()
    await asyncio.wait_for(enough.wait(), 10)
    await scheduler.stop()


async def test_clock_that_is_set_back_keeps_no_job_waiting_for_a_time_that_comes_again(house: House) -> None:
    again = asyncio.Event()

    async def work() -> None:
        again.set()

    house.clock.now = datetime.now(UTC).timestamp() + 86_400
    scheduler = house.scheduler(job(every=1.0))
    scheduler.own("A look", 86_400.0, work)
    await scheduler.start()
    house.clock.now -= 86_400
    scheduler.follow_clock()
    await asyncio.wait_for(again.wait(), 10)
    async with asyncio.timeout(10):
        while len(await house.ticks()) < 3:
            await asyncio.sleep(0.05)
    await scheduler.stop()
