"""How deliveries are made: attempts, bans, darkness, order, and what is told of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import Receiver, data, opened, subscribe

DAY = 86400.0


@pytest.fixture
def sandbox() -> Sandbox:
    """A sandbox whose clock stands still until it is moved."""
    made = Sandbox(seed=1, scale=0)
    made.webhooks.set_modes(parallel=1)
    return made


@pytest.fixture
async def quiet() -> AsyncIterator[str]:
    """A URL that answers the check of a new webhook and then nothing: the connection is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(3)) == b"GET":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


async def edit(sandbox: Sandbox, times: int = 1) -> None:
    """Change a deal and wait until every delivery that is due was tried."""
    for _ in range(times):
        sandbox.change("deal", 1, value=sandbox.company.tables["deal"][1]["value"] + 1)
        await sandbox.webhooks.sender.rest()


async def advance(sandbox: Sandbox, seconds: float, receiver: Receiver | None = None, count: int = 0) -> None:
    """Move the clock; wait for the deliveries that this makes due."""
    sandbox.clock.advance(seconds)
    if receiver is not None:
        await receiver.until(count)
        await sandbox.webhooks.sender.rest()


async def only(api: httpx.AsyncClient, **like: Any) -> dict[str, Any]:
    """Give the one delivery there is."""
    found: list[dict[str, Any]] = (await api.get("/_sandbox/deliveries", params=like)).json()
    assert len(found) == 1
    return found[0]


async def hook(api: httpx.AsyncClient) -> dict[str, Any]:
    """Give the one webhook there is, as the API shows it."""
    found: list[dict[str, Any]] = await data(api, "GET", "/v1/webhooks")
    assert len(found) == 1
    return found[0]


async def test_delivery_is_a_json_post_with_basic_credentials_and_nothing_more(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver, http_auth_user="pd", http_auth_password="s3cret é")
    await edit(sandbox)
    headers = receiver.got[0][0]
    length = headers.pop("content-length")
    assert headers == {
        "host": receiver.url.split("/")[2],
        "content-type": "application/json",
        "accept": "application/json, text/plain, */*",
        "user-agent": "Pipedrive Webhooks",
        "authorization": f"Basic {base64.b64encode('pd:s3cret é'.encode()).decode()}",
    }
    assert int(length) > 500


async def test_mistyped_password_key_is_dropped_and_deliveries_come_without(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver, http_auth_pass="x")
    await edit(sandbox)
    assert "authorization" not in receiver.got[0][0]


async def test_failures_are_tried_again_after_3_30_and_150_seconds_and_then_given_up(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    receiver.status = 500
    await edit(sandbox)
    for count, wait in enumerate((3, 30, 150), start=2):
        await advance(sandbox, wait - 0.5)
        await sandbox.webhooks.sender.rest()
        assert len(receiver.got) == count - 1
        await advance(sandbox, 0.5, receiver, count)
    assert [body["meta"]["attempt"] for body in receiver.bodies] == [1, 2, 3, 4]
    assert len({body["meta"]["id"] for body in receiver.bodies}) == 1
    await advance(sandbox, DAY)
    assert len(receiver.got) == 4
    made = await only(api)
    assert (made["status"], [one["status"] for one in made["attempts"]]) == ("failed", [500] * 4)


async def test_old_version_counts_retries_from_zero(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver, version="1.0")
    receiver.status = 503
    await edit(sandbox)
    receiver.status = 204
    await advance(sandbox, 3, receiver, 2)
    assert [body["retry"] for body in receiver.bodies] == [0, 1]
    assert (await only(api))["status"] == "delivered"


async def test_redirect_is_a_failure_and_not_followed(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    receiver.status, receiver.headers = 307, {"location": receiver.url}
    await edit(sandbox)
    assert (len(receiver.got), (await hook(api))["last_http_status"]) == (1, 307)
    assert (await only(api))["status"] == "waiting"


async def test_slow_answer_is_a_failure_and_comes_again(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    assert (await api.get("/_sandbox/clock")).json()["delivery_timeout"] == 10
    await api.post("/_sandbox/clock", json={"delivery_timeout": 0.05})
    receiver.wait = asyncio.Event()
    await edit(sandbox)
    assert (await only(api))["attempts"][0]["error"] == "timeout"
    receiver.wait.set()
    await advance(sandbox, 3, receiver, 2)
    assert receiver.bodies[0]["meta"]["id"] == receiver.bodies[1]["meta"]["id"]


async def test_broken_connection_and_nobody_there_are_failures(
    api: httpx.AsyncClient, quiet: str, sandbox: Sandbox
) -> None:
    await data(
        api,
        "POST",
        "/v1/webhooks",
        {"subscription_url": quiet, "event_action": "*", "event_object": "deal", "name": "x"},
    )
    await edit(sandbox)
    made = await only(api)
    assert (made["status"], made["attempts"][0]["status"]) == ("waiting", 0)
    assert made["attempts"][0]["error"].startswith("Connection")


async def test_books_of_a_webhook_are_kept(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    made = await subscribe(api, receiver)
    assert (made["is_active"], made["last_delivery_time"], made["last_http_status"]) == (1, None, None)
    receiver.status = 202
    await edit(sandbox)
    after = await hook(api)
    assert after["last_http_status"] == 202
    assert after["last_delivery_time"] == sandbox.clock.stamp()


async def test_ten_failed_first_attempts_ban_for_half_an_hour_and_lose_what_happens(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    receiver.status = 500
    await edit(sandbox, 10)
    receiver.status = 200
    await edit(sandbox, 3)
    assert len(receiver.got) == 10
    assert len((await api.get("/_sandbox/deliveries?status=dropped")).json()) == 3
    await advance(sandbox, 30 * 60 + 1, receiver, 20)
    await edit(sandbox)
    assert len(receiver.got) == 21
    assert (await api.get("/_sandbox/webhooks")).json()[0]["failures"] == 0


async def test_failing_retries_do_not_count_for_the_ban(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    receiver.status = 500
    await edit(sandbox, 3)
    for count, wait in ((6, 3), (9, 30), (12, 150)):
        await advance(sandbox, wait, receiver, count)
    assert (await api.get("/_sandbox/webhooks")).json()[0]["failures"] == 3


@pytest.mark.parametrize(("resets", "counted"), [(False, 2), (True, 1)])
async def test_success_resets_the_counter_only_where_asked(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox, resets: bool, counted: int
) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"ban_resets": resets})
    for status in (500, 200, 500):
        receiver.status = status
        await edit(sandbox)
    assert (await api.get("/_sandbox/webhooks")).json()[0]["failures"] == counted


async def test_three_dark_days_delete_the_webhook(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    receiver.status = 500
    await edit(sandbox)
    await advance(sandbox, 3 * DAY - 1)
    assert (await hook(api))["is_active"] == 1
    await advance(sandbox, 1)
    after = await hook(api)
    assert (after["is_active"], after["remove_time"]) == (0, sandbox.clock.stamp())
    assert after["remove_reason"]
    before = len(receiver.got)
    await edit(sandbox)
    assert len(receiver.got) == before


async def test_one_success_in_between_saves_the_webhook(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    for status in (500, 200, 500):
        receiver.status = status
        await edit(sandbox)
        await advance(sandbox, 2 * DAY)
    assert (await hook(api))["is_active"] == 1


@pytest.mark.parametrize(("switch", "alive"), [(False, 1), (True, 0)])
async def test_quiet_days_count_only_where_asked(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox, switch: bool, alive: int
) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"quiet_is_dark": switch})
    await advance(sandbox, 4 * DAY)
    assert (await hook(api))["is_active"] == alive


async def test_removed_webhooks_can_leave_the_list(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    made = await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"remove_listed": False})
    await api.post("/_sandbox/webhooks/remove", json={"id": made["id"], "reason": "a test"})
    assert await data(api, "GET", "/v1/webhooks") == []


async def test_webhook_can_be_banned_on_demand(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    made = await subscribe(api, receiver)
    await api.post("/_sandbox/webhooks/ban", json={"id": made["id"]})
    await edit(sandbox)
    assert (await only(api))["status"] == "dropped"


async def test_everything_can_go_dark_and_come_back(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"dark": True})
    await edit(sandbox)
    await api.post("/_sandbox/modes", json={"dark": False})
    await edit(sandbox)
    assert len(receiver.got) == 1
    assert (await api.get("/_sandbox/state")).json()["deliveries"]["dropped"] == 1


async def test_events_go_only_to_whoever_asked_for_them(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver, event_action="create", event_object="person")
    await edit(sandbox)
    person = await data(api, "POST", "/api/v2/persons", {"name": "Ann"})
    await data(api, "PATCH", f"/api/v2/persons/{person['id']}", {"name": "Bo"})
    await sandbox.webhooks.sender.rest()
    assert [(body["meta"]["action"], body["meta"]["entity"]) for body in receiver.bodies] == [("create", "person")]


@pytest.mark.parametrize(("shared", "ids"), [(True, 1), (False, 2)])
async def test_two_webhooks_hear_of_the_same_change(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox, shared: bool, ids: int
) -> None:
    hooks = [await subscribe(api, receiver), await subscribe(api, receiver, event_object="deal")]
    await api.post("/_sandbox/modes", json={"shared_event_id": shared})
    await edit(sandbox)
    assert [body["meta"]["webhook_id"] for body in receiver.bodies] == [str(one["id"]) for one in hooks]
    assert len({body["meta"]["id"] for body in receiver.bodies}) == ids


async def test_webhook_of_somebody_hears_only_what_they_may_see(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    admin, normal, *_ = sandbox.company.users
    await subscribe(api, receiver, user_id=normal["id"])
    hidden = await data(api, "POST", "/api/v2/deals", {"title": "Hidden", "visible_to": 1})
    shown = await data(api, "POST", "/api/v2/deals", {"title": "Shown", "visible_to": 3})
    assert [body["data"]["id"] for body in await receiver.until(1)] == [shown["id"]]
    assert hidden["owner_id"] == admin["id"]


async def test_duplicates_share_their_event_id(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"duplicates": 2})
    await edit(sandbox)
    assert len(receiver.got) == 3
    assert len({body["meta"]["id"] for body in receiver.bodies}) == 1


@pytest.mark.parametrize(("order", "values"), [("first", [1, 2, 3]), ("last", [3, 2, 1])])
async def test_held_deliveries_go_in_the_order_asked_for(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox, order: str, values: list[int]
) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"hold": True, "order": order})
    for value in (1, 2, 3):
        await data(api, "PATCH", "/api/v2/deals/1", {"value": value})
    assert receiver.got == []
    await api.post("/_sandbox/modes", json={"hold": False})
    assert [body["data"]["value"] for body in await receiver.until(3)] == values


async def test_random_delays_lose_nothing(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"reorder": 10})
    await edit(sandbox, 8)
    assert receiver.got == []
    await advance(sandbox, 10, receiver, 8)
    assert len({body["meta"]["id"] for body in receiver.bodies}) == 8


async def test_kept_delivery_goes_once_more(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    await edit(sandbox)
    await api.post("/_sandbox/deliveries/again", json={"number": (await only(api))["number"]})
    first, second = await receiver.until(2)
    assert first == second
    assert (await api.post("/_sandbox/deliveries/again", json={"number": 999})).status_code == 400


async def test_write_that_changes_nothing_is_silent_unless_asked(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    value = sandbox.company.tables["deal"][1]["value"]
    await data(api, "PATCH", "/api/v2/deals/1", {"value": value})
    await api.post("/_sandbox/modes", json={"noop_events": True})
    await data(api, "PATCH", "/api/v2/deals/1", {"value": value})
    assert [body["previous"] for body in await receiver.until(1)] == [{}]
    await sandbox.webhooks.sender.rest()
    assert len(receiver.got) == 1


async def test_followers_tell_nobody(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    await data(api, "POST", "/api/v2/deals/1/followers", {"user_id": sandbox.company.users[1]["id"]})
    await sandbox.webhooks.sender.rest()
    assert receiver.got == []


async def test_deliveries_cost_no_api_tokens(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    left = [int((await api.get("/v1/users/me")).headers["x-daily-ratelimit-token-remaining"])]
    await edit(sandbox, 5)
    left.append(int((await api.get("/v1/users/me")).headers["x-daily-ratelimit-token-remaining"]))
    assert left[0] - left[1] == 2


async def test_what_waits_survives_a_restart(receiver: Receiver, tmp_path: Any) -> None:
    from pipeflow.sandbox.snapshot import Saver, restore

    first = Sandbox(seed=1, scale=0)
    async with opened(first) as api:
        await subscribe(api, receiver)
        receiver.status = 500
        await edit(first)
        receiver.status = 200
    Saver(first, tmp_path / "state.json").save()
    second = Sandbox(seed=1, scale=0)
    restore(second, tmp_path / "state.json")
    async with opened(second):
        await advance(second, 3, receiver, 2)
    assert [body["meta"]["attempt"] for body in receiver.bodies] == [1, 2]
