"""Our webhooks are kept as handlers need them, whatever becomes of them at Pipedrive, and others' are never touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeflow.engine.webhooks import WebhookKeeper, fewest
from pipeflow.errors import ConfigError
from pipeflow.settings import Settings
from pipeflow.vault import Vault
from tests.engine.watched import Watched, watched

URL = "http://127.0.0.1:9"


def keeper(house: Watched, *keys: str, **settings: Any) -> WebhookKeeper:
    """Give a keeper as a start of `run` makes one. Nobody listens where its webhooks lead."""
    house.sandbox.check_reachable = False
    given = Settings.load(
        database_url=house.settings.database_url,
        api_token=house.sandbox.api_token,
        api_url=house.settings.api_url,
        **{"public_url": URL, **settings},
    )
    return WebhookKeeper(
        house.store, house.registry, house.accounts, Vault(keys or ["k" * 32]), given, clock=house.clock
    )


def there(house: Watched) -> list[tuple[str, str]]:
    return sorted((one["event_action"], one["event_object"]) for one in house.sandbox.company.webhooks.values())


def other(house: Watched, **values: Any) -> Any:
    given = {"event_action": "*", "event_object": "deal", "subscription_url": "https://x.example/", "version": "2.0"}
    return house.sandbox.webhooks.add(house.sandbox.company, house.sandbox.company.admin["id"], None, given | values)


async def test_second_sync_keeps_what_the_first_one_made(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "person.added") as house:
        first = await keeper(house).sync()
        second = await keeper(house).sync()
    assert [(one.action, one.object) for one in first.added] == [("*", "deal"), ("create", "person")]
    assert (second.added, second.removed, second.lost) == ([], [], set())
    assert [one.id for one in second.kept] == [one.id for one in first.added]


async def test_webhook_that_disappeared_is_made_again_and_said_to_have_been_lost(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (made,) = (await keeper(house).sync()).added
        house.sandbox.webhooks.remove(house.sandbox.company, house.sandbox.company.webhooks[made.id])
        changes = await keeper(house).sync()
        assert there(house) == [("*", "deal")]
    assert changes.lost == {house.company}


@pytest.mark.parametrize(
    "fault",
    [
        {"is_active": 0, "remove_time": "2026-11-24T10:00:00.000Z", "remove_reason": "no successful delivery"},
        {"is_active": 0},
        {"last_http_status": 401},
        {"last_http_status": "503"},
        {"last_http_status": 0},
        {"version": "1.0"},
        {"user_id": 5},
    ],
)
async def test_webhook_that_does_not_work_is_replaced_and_said_to_have_been_lost(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    async with watched(tmp_path, "deal.*") as house:
        more: Any = {"webhook_user_id": house.sandbox.company.admin["id"]} if "user_id" in fault else {}
        (made,) = (await keeper(house, **more).sync()).added
        house.sandbox.company.webhooks[made.id] |= fault
        changes = await keeper(house, **more).sync()
        (left,) = house.sandbox.company.webhooks.values()
    assert ([one.id for one in changes.removed], changes.lost) == ([made.id], {house.company})
    assert left["id"] != made.id


async def test_healthy_delivery_is_no_reason_to_replace_a_webhook(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (made,) = (await keeper(house).sync()).added
        house.sandbox.company.webhooks[made.id] |= {"last_http_status": "200"}
        assert (await keeper(house).sync()).added == []


async def test_webhooks_of_others_and_of_another_pipeflow_stay(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        foreign = other(house, name="Zapier")
        staging = other(house, name="pipeflow *.deal #12345678", subscription_url="https://staging.example/webhooks/1")
        await keeper(house).sync()
        await keeper(house).remove()
        assert set(house.sandbox.company.webhooks) == {foreign["id"], staging["id"]}


async def test_new_address_moves_the_webhooks_that_we_made(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        await keeper(house).sync()
        await keeper(house, public_url="http://127.0.0.1:10").sync()
        (left,) = house.sandbox.company.webhooks.values()
    assert left["subscription_url"] == f"http://127.0.0.1:10/webhooks/{house.company}"


async def test_duplicates_and_what_no_handler_needs_any_more_go(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (made,) = (await keeper(house).sync()).added
        twin = dict(house.sandbox.company.webhooks[made.id])
        other(house, **{name: twin[name] for name in ("name", "subscription_url")})
        other(house, name="pipeflow *.person #x", event_object="person", subscription_url=twin["subscription_url"])
        changes = await keeper(house).sync()
        assert list(house.sandbox.company.webhooks) == [made.id]
    assert (len(changes.removed), changes.lost) == (2, set())


async def test_new_credentials_are_in_place_before_the_old_ones_go(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (old,) = (await keeper(house).sync()).added
        house.sandbox.journal.clear()
        changes = await keeper(house, "n" * 32, "k" * 32).sync()
        asked = [request["method"] for request in house.sandbox.journal.listed(path="/v1/webhooks")]
        (left,) = house.sandbox.company.webhooks.values()
    assert asked == ["GET", "POST", "DELETE"]
    assert [one.id for one in changes.removed] == [old.id]
    assert (left["http_auth_user"], left["http_auth_password"]) == Vault(["n" * 32]).webhook_credentials(house.company)


async def test_old_webhook_stays_where_its_successor_cannot_be_made(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (old,) = (await keeper(house).sync()).added
        renewed = keeper(house, "n" * 32)
        house.sandbox.check_reachable = True
        with pytest.raises(ConfigError, match="PIPEFLOW_PUBLIC_URL"):
            await renewed.sync()
        assert list(house.sandbox.company.webhooks) == [old.id]


async def test_visibility_of_the_named_user_is_asked_for(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        user = house.sandbox.company.users[1]["id"]
        await keeper(house, webhook_user_id=user).sync()
        (left,) = house.sandbox.company.webhooks.values()
        with pytest.raises(ConfigError, match="PIPEFLOW_WEBHOOK_USER_ID"):
            await keeper(house, webhook_user_id=999).sync()
    assert left["user_id"] == user


async def test_one_webhook_for_everything_is_made_where_there_is_room_for_few(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "person.*", "note.added") as house:
        for _ in range(38):
            other(house, name="Zapier")
        changes = await keeper(house).sync()
    assert [(one.action, one.object) for one in changes.added] == [("*", "*")]


async def test_webhook_is_replaced_although_there_is_room_for_no_other(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (old,) = (await keeper(house).sync()).added
        for _ in range(39):
            other(house, name="Zapier")
        changes = await keeper(house, "n" * 32).sync()
        assert len(house.sandbox.company.webhooks) == 40
    assert ([one.id for one in changes.removed], len(changes.added)) == ([old.id], 1)


async def test_limit_that_others_have_used_up_is_said(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        for _ in range(40):
            other(house, name="Zapier")
        with pytest.raises(ConfigError, match="A user may have 40"):
            await keeper(house).sync()


async def test_noun_that_pipedrive_does_not_deliver_leaves_the_others_working(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "widget.added") as house:
        changes = await keeper(house).sync()
    assert [(one.action, one.object) for one in changes.added] == [("*", "deal")]


async def test_plan_says_what_a_sync_would_do_and_does_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (made,) = await keeper(house).plans()
        assert there(house) == []
    assert (made.add, made.keep, made.remove) == ([("*", "deal")], [], [])


async def test_refused_deliveries_alarm_once_the_last_look_is_some_minutes_old(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        one = keeper(house)
        await one.sync()
        assert not await one.alarmed()
        house.pass_time(10)
        await house.store.save_watermark(house.company, "webhooks:refused", house.clock(), house.clock())
        assert not await one.alarmed()
        house.pass_time(300)
        assert await one.alarmed()
        await one.sync()
        assert not await one.alarmed()


@pytest.mark.parametrize(
    ("needs", "webhooks"),
    [
        ({("updated", "deal")}, {("change", "deal")}),
        ({("updated", "deal"), ("added", "deal")}, {("*", "deal")}),
        ({("*", "*"), ("updated", "deal")}, {("*", "*")}),
        ({("deleted", "*"), ("deleted", "deal")}, {("delete", "*")}),
        ({("added", "file"), ("updated", "activityType")}, set()),
    ],
)
def test_fewest_webhooks_cover_the_needs(needs: set[tuple[str, str]], webhooks: set[tuple[str, str]]) -> None:
    assert fewest(needs) == webhooks


async def test_lost_webhook_is_followed_by_a_look_whichever_process_made_it_again(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        (made,) = (await keeper(house).sync()).added
        await house.look()
        assert await house.reconciler.step() == []
        house.sandbox.webhooks.remove(house.sandbox.company, house.sandbox.company.webhooks[made.id])
        house.sandbox.add("deal", title="Nobody was told")
        house.pass_time(10)
        await keeper(house).sync()
        (proof,) = await house.reconciler.step()
    assert proof.added == 1
