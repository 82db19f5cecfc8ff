"""Many companies in one process: whose webhooks there are, who acts, when jobs are due, what a new company changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeflow.cli.compose import Service, build_service
from pipeflow.cli.listener import bind, serving
from pipeflow.client.transport import close_connections
from pipeflow.registry import load
from pipeflow.sandbox import Sandbox, running
from pipeflow.settings import Settings
from pipeflow.store.base import Account, EventFilter, Run, RunFilter
from pipeflow.store.connect import disconnect

from .oauth_world import KEY, World, settings_for

RECIPE = """
from pipeflow import Account, Client, Event, cron, every, on
from pipeflow.records import Deal


@on("deal.updated")
async def sign(event: Event[Deal], client: Client, account: Account) -> None:
    me = await client.users.get_current_user()
    await client.notes.add_note(content=f"seen by {me.id} of {me.company_id}", deal_id=event.record.id)


@cron("0 8 * * *", timezone="account")
async def morning(client: Client, account: Account) -> None: ...


@every("1 second")
async def often(account: Account) -> None: ...
"""


class Town(World):
    """A world in which pipeflow is at work: receiver, engine, webhooks, jobs, and the watch over accounts."""

    service: Service

    async def begin(self) -> None:
        """Come up as `pipeflow run` does."""
        await self.service.engine.start()
        await self.service.roster.know()
        await self.service.upkeep.register()
        await self.service.scheduler.start()
        await self.service.roster.start()

    async def end(self) -> None:
        await self.service.roster.stop()
        await self.service.scheduler.stop()
        await self.service.engine.stop(1.0)

    def hooks(self, account: Account) -> set[int]:
        """Give the users who own the webhooks of an account's company at Pipedrive."""
        (home,) = [one for one in self.sandbox.companies.values() if one.id == account.company]
        return {hook["owner_id"] for hook in home.webhooks.values() if hook["is_active"]}

    def change_deal(self, account: Account) -> None:
        """Change a deal as a person of the account's company does."""
        (home,) = [one for one in self.sandbox.companies.values() if one.id == account.company]
        self.sandbox.change("deal", 1, company=home.domain, title=f"Deal at {self.sandbox.clock.seconds()}")

    def notes(self, account: Account) -> list[str]:
        """Give what the recipe wrote in the account's company, oldest first."""
        (home,) = [one for one in self.sandbox.companies.values() if one.id == account.company]
        found = [note for note in home.tables["note"].values() if str(note["content"]).startswith("seen by")]
        return [note["content"] for note in found]

    async def ticks(self, account: Account, job: str) -> list[str]:
        """List when a job was due for a company, in UTC, oldest first."""
        events = await self.store.events(EventFilter(limit=0, company=account.company, source="tick"))
        mine = [event for event in events if event.record_id == f"towns.{job}"]
        return [datetime.fromtimestamp(event.occurred_at or 0.0, UTC).strftime("%H:%M") for event in reversed(mine)]

    async def until_ticks(self, account: Account, number: int) -> None:
        """Wait until a job has been due so often for a company."""
        async with asyncio.timeout(15):
            while len(await self.ticks(account, "often")) < number:
                await asyncio.sleep(0.05)

    async def until_runs(self, status: str, error: str) -> list[Run]:
        """Wait until there are runs of the recipe's handler of this status, with this error."""
        async with asyncio.timeout(15):
            while not (found := await self.store.runs(RunFilter(handler="towns.sign", status=status, error=error))):
                await asyncio.sleep(0.05)
        return found


async def until(there: Callable[[], Any], what: str) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(15):
            while not there():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what}: never seen") from None


@asynccontextmanager
async def town_at(folder: Path, companies: int) -> AsyncIterator[Town]:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "towns.py").write_text(RECIPE)
    listening = bind("127.0.0.1", 0)
    sandbox = Sandbox(seed=1, companies=companies, deals=1)
    async with running(sandbox) as url:
        base = settings_for(url, f"sqlite:///{folder / 'store.db'}")
        given = {name: getattr(base, name) for name in ("api_url", "oauth_url", "client_id", "client_secret")}
        public = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = Settings.load(**given, public_url=public, database_url=base.database_url, secret_key=KEY)
        service = build_service(settings, load(str(folder / "recipes")))
        await service.store.open(owner=True)
        async with serving(service.app(), listening):
            town = Town(sandbox, url, service.store, base.database_url)
            town.service = service
            try:
                yield town
            finally:
                await town.end()
        await close_connections()
        await service.store.close()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with town_at(tmp_path, companies=3) as made:
        yield made


async def test_a_company_that_is_connected_while_running_works_at_once(town: Town) -> None:
    await town.begin()
    first = await town.connect(company=0)
    second = await town.connect(company=1)
    await until(lambda: town.hooks(first) and town.hooks(second), "webhooks of both")
    town.change_deal(first)
    town.change_deal(second)
    await until(lambda: town.notes(first) and town.notes(second), "notes in both companies")
    assert town.notes(first) == [f"seen by {first.user_id} of {first.company}"]
    assert town.notes(second) == [f"seen by {second.user_id} of {second.company}"]


async def test_two_installs_of_a_company_handle_each_change_once(town: Town) -> None:
    first = await town.connect(user=0)
    second = await town.connect(user=1)
    await town.begin()
    assert town.hooks(first) == {first.user_id}
    town.change_deal(first)
    await until(lambda: town.notes(first), "a note")
    await town.service.roster.look()
    assert town.notes(first) == [f"seen by {first.user_id} of {first.company}"]
    runs = await town.store.runs(RunFilter(handler="towns.sign", limit=0))
    assert len(runs) == 1
    assert second.company == first.company


async def test_the_next_account_takes_over_when_the_acting_one_goes(town: Town) -> None:
    first = await town.connect(user=0)
    second = await town.connect(user=1)
    await town.begin()
    town.sandbox.oauth.revoke_user(town.settings.client_id or "", town.sandbox.company.domain, first.user_id)
    for hook in list(town.sandbox.company.webhooks.values()):
        town.sandbox.webhooks.remove(town.sandbox.company, hook)
    await disconnect(town.store, first.id, "uninstalled", town.sandbox.clock.seconds())
    await until(lambda: town.hooks(second) == {second.user_id}, "webhooks of the next account")
    town.change_deal(second)
    await until(lambda: town.notes(second), "a note")
    assert town.notes(second) == [f"seen by {second.user_id} of {second.company}"]


@pytest.mark.parametrize("trouble", ["daily", "html"])
async def test_trouble_of_one_company_stops_no_other(town: Town, trouble: str) -> None:
    first, second = await town.connect(company=0), await town.connect(company=1)
    await town.begin()
    town.sandbox.faults.add(kind=trouble, path=first.api_domain.removeprefix(town.url))
    town.change_deal(first)
    town.change_deal(second)
    await until(lambda: town.notes(second), "a note in the other company")
    runs = await town.until_runs("pending", error="")
    assert [(run.status, run.attempts) for run in runs] == [("pending", 0)]
    assert town.notes(first) == []


async def test_runs_of_a_company_that_uninstalled_are_over(town: Town) -> None:
    account = await town.connect()
    await town.begin()
    town.revoke(account)
    town.change_deal(account)
    await town.until_runs("pending", error="NotConnected")
    await disconnect(town.store, account.id, "uninstalled", town.sandbox.clock.seconds())
    (over,) = await town.until_runs("skipped", error="not connected any more")
    assert over.company == account.company


async def test_an_admin_who_connects_later_takes_over_and_no_change_comes_twice(town: Town) -> None:
    plain = await town.connect(user=1)
    await town.begin()
    assert town.hooks(plain) == {plain.user_id}
    admin = await town.connect(user=0, admin=True)
    await until(lambda: town.hooks(plain) == {admin.user_id}, "webhooks of the admin alone")


async def test_jobs_are_due_in_the_time_zone_of_each_company(town: Town) -> None:
    tallinn = await town.connect(company=0, timezone="Europe/Tallinn", days_ago=3)
    tokyo = await town.connect(company=1, timezone="Asia/Tokyo", days_ago=3)
    await town.begin()
    assert (await town.ticks(tallinn, "morning"))[0] in ("05:00", "06:00")
    assert (await town.ticks(tokyo, "morning"))[0] == "23:00"


async def test_a_look_at_who_the_accounts_are_notices_another_time_zone_and_other_rights(town: Town) -> None:
    first = await town.connect(user=0, admin=True)
    second = await town.connect(user=1, admin=True)
    town.sandbox.company.admin["timezone_name"] = "Asia/Tokyo"
    town.sandbox.company.admin["is_admin"] = False
    await town.service.accounts.look_again()
    rows = {row.user_id: row for row in await town.store.accounts()}
    assert rows[first.user_id].timezone == "Asia/Tokyo"
    assert (rows[first.user_id].is_admin, rows[second.user_id].is_admin) == (False, False)
    assert rows[first.user_id].acting


async def test_jobs_of_a_company_begin_when_it_is_connected_and_end_when_it_is_gone(town: Town) -> None:
    await town.begin()
    staying, leaving = await town.connect(company=1), await town.connect(company=2)
    await town.until_ticks(leaving, 1)
    await disconnect(town.store, leaving.id, "uninstalled", town.sandbox.clock.seconds())
    await town.service.roster.look()
    before = len(await town.ticks(leaving, "often"))
    await town.until_ticks(staying, len(await town.ticks(staying, "often")) + 2)
    assert len(await town.ticks(leaving, "often")) == before


async def test_looks_at_the_webhooks_at_the_same_time_make_none_twice(town: Town) -> None:
    accounts = [await town.connect(company=number) for number in range(3)]
    keeper = town.service.upkeep
    await asyncio.gather(keeper.register(), *(keeper.follow(one.company) for one in accounts), keeper.register())
    assert [len(home.webhooks) for home in town.sandbox.companies.values()] == [1, 1, 1]
