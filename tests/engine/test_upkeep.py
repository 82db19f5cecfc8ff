"""Whatever becomes of the webhooks while we run: they are made again, and what they did not tell is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeflow.engine.scheduler import Scheduler
from pipeflow.engine.upkeep import Upkeep
from pipeflow.store.base import REFUSED
from tests.engine.test_webhooks import keeper, there
from tests.engine.watched import Watched, watched


def upkeep(house: Watched) -> Upkeep:
    scheduler = Scheduler(house.store, house.registry, house.accounts, clock=house.clock)
    return Upkeep(scheduler, keeper(house), house.reconciler)


async def test_look_that_finds_what_should_have_been_delivered_is_followed_by_one_at_the_webhooks(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path, "deal.*") as house:
        ours = upkeep(house)
        changes = await ours.register()
        assert changes is not None
        await ours.look()
        house.pass_time(880)
        house.sandbox.webhooks.remove(house.sandbox.company, house.sandbox.company.webhooks[changes.added[0].id])
        house.sandbox.add("deal", title="Nobody was told")
        house.pass_time(60)
        await ours.look()
        assert there(house) == [("*", "deal")]
        assert [event.name for event in await house.polled()] == ["deal.added"]


async def test_refused_credentials_have_the_webhook_replaced_and_what_it_did_not_tell_is_found(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        ours = upkeep(house)
        changes = await ours.register()
        assert changes is not None
        await ours.look()
        old = house.sandbox.company.webhooks[changes.added[0].id]
        old |= {"http_auth_password": "wrong", "last_http_status": 401}
        house.sandbox.add("deal", title="Refused")
        house.pass_time(300)
        await house.store.save_watermark(house.company, REFUSED, house.clock(), house.clock())
        house.pass_time(60)
        await ours.look()
        (new,) = house.sandbox.company.webhooks.values()
        assert new["id"] != old["id"]
        assert [event.name for event in await house.polled()] == ["deal.added"]


async def test_quiet_company_costs_no_look_at_the_webhooks(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        ours = upkeep(house)
        await ours.register()
        await ours.look()
        house.sandbox.journal.clear()
        for _ in range(30):
            house.pass_time(60)
            await ours.look()
        assert house.sandbox.journal.listed(path="/v1/webhooks") == []


async def test_without_webhooks_looking_is_the_only_source(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", poll=5.0) as house:
        scheduler = Scheduler(house.store, house.registry, house.accounts, clock=house.clock)
        ours = Upkeep(scheduler, None, house.reconciler)
        assert await ours.register() is None
        house.sandbox.add("deal", title="New")
        house.pass_time(5)
        await ours.look()
        assert [event.name for event in await house.polled()] == ["deal.added"]
        assert there(house) == []


async def test_what_was_lost_is_found_before_later_changes_are_delivered_again(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.won", "deal.updated") as house:
        ours = upkeep(house)
        changes = await ours.register()
        assert changes is not None
        await ours.look()
        deal = next(one for one in house.sandbox.company.living("deal") if one["status"] == "open")["id"]
        house.sandbox.webhooks.remove(house.sandbox.company, house.sandbox.company.webhooks[changes.added[0].id])
        house.sandbox.change("deal", deal, status="won")
        house.pass_time(3600)
        house.sandbox.journal.clear()
        await upkeep(house).register()
        asked = [request["path"] for request in house.sandbox.journal.listed() if request["method"] != "DELETE"]
        house.sandbox.change("deal", deal, title="Renamed in the light")
        await house.deliver(house.changes[-1])
        await ours.look()
        names = [event.names for event in await house.events()]
    assert asked.index("/api/v2/deals") < len(asked) - 1 - asked[::-1].index("/v1/webhooks")
    assert [name for name in names if "deal.won" in name] == [names[0]]
    assert names[1:] == [("deal.updated",)]


async def test_trouble_with_one_company_leaves_the_looks_at_others_alone(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (account,) = await house.accounts.connected()
        await house.store.save_account(replace(account, id=0, company=1, user_id=1, version=0, credentials=None))
        house.accounts.forget()
        house.sandbox.add("deal", title="New")
        house.pass_time(900)
        await house.reconciler.step()
        assert [event.name for event in await house.polled()] == ["deal.added"]


async def test_a_list_that_does_not_answer_keeps_no_webhook_from_being_made(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        scheduler = Scheduler(house.store, house.registry, house.accounts, clock=house.clock)
        ours = Upkeep(scheduler, keeper(house), house.reconciler, patience=0.05)
        house.sandbox.faults.add(kind="slow", path="/api/v2/deals", seconds=60)
        await ours.register()
        assert there(house) == [("*", "deal")]
        house.sandbox.faults.clear()
        house.sandbox.add("deal", title="New")
        house.pass_time(60)
        await ours.look()
        house.sandbox.add("deal", title="Newer")
        house.pass_time(900)
        await ours.look()
        assert [event.name for event in await house.polled()][-1:] == ["deal.added"]
