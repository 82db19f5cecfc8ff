"""Which calls are tried again, when, and which never: through the public client and a network of our own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from pipeflow.client import Client, Configuration
from pipeflow.client.transport import Transport
from pipeflow.errors import (
    BadRequest,
    ClientError,
    ConnectionFailed,
    DailyBudgetSpent,
    Gone,
    RateLimited,
    ServerError,
    TimedOut,
    Unauthorized,
)
from pipeflow.sandbox import Sandbox, running
from tests.client.network import Network, ok

Calls = Callable[[Client], Awaitable[Any]]

READS: dict[str, Calls] = {
    "GET": lambda client: client.deals.get_deal(1),
    "PUT": lambda client: client.notes.update_note(1, content="x"),
    "PATCH": lambda client: client.deals.update_deal(1, title="x"),
    "DELETE": lambda client: client.deals.delete_deal(1),
}
LOST = [httpx.ReadError("gone"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("closed"), httpx.WriteError("no")]
NEVER_LEFT = [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.ProxyError("no")]


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("trouble", [*LOST, *NEVER_LEFT, httpx.Response(500), httpx.Response(502), httpx.Response(504)])
async def test_what_may_be_repeated_is_tried_three_times(method: str, trouble: httpx.Response | Exception) -> None:
    network = Network(trouble, trouble, ok({"id": 1}))
    await READS[method](network.client())
    assert [request.method for request in network.sent] == [method] * 3
    network = Network(trouble)
    with pytest.raises((ConnectionFailed, ServerError)):
        await READS[method](network.client())
    assert len(network.sent) == 3


@pytest.mark.parametrize("trouble", [*LOST, httpx.Response(500), httpx.Response(503)])
async def test_post_that_may_have_arrived_is_never_sent_again(trouble: httpx.Response | Exception) -> None:
    network = Network(trouble)
    with pytest.raises(ClientError) as caught:
        await network.client().deals.add_deal(title="Once")
    assert len(network.sent) == 1
    assert getattr(caught.value, "sent", True) is True


@pytest.mark.parametrize("trouble", NEVER_LEFT)
async def test_post_that_provably_never_left_is_sent_again(trouble: Exception) -> None:
    network = Network(trouble, trouble, ok({"id": 7}))
    assert (await network.client().deals.add_deal(title="Once")).id == 7
    network = Network(trouble)
    with pytest.raises(ConnectionFailed) as caught:
        await network.client().deals.add_deal(title="Once")
    assert caught.value.sent is False
    assert len(network.sent) == 3


async def test_back_off_grows_and_is_spread() -> None:
    firsts, seconds = [], []
    for _ in range(20):
        network = Network(httpx.Response(500))
        with pytest.raises(ServerError):
            await network.client().deals.get_deal(1)
        first, second = network.waits
        firsts.append(first)
        seconds.append(second)
    assert 0.125 <= min(firsts) <= max(firsts) <= 0.375 < 0.5 <= min(seconds) <= max(seconds) <= 1.5
    assert len(set(firsts)) > 15


async def test_maintenance_that_names_its_end_is_waited_for() -> None:
    network = Network(httpx.Response(503, headers={"retry-after": "5"}), ok({"id": 1}))
    await network.client().deals.get_deal(1)
    assert network.waits == [5.0]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 415, 422, 501])
async def test_what_was_refused_for_good_is_not_tried_again(status: int) -> None:
    network = Network(httpx.Response(status, json={"success": False, "error": "no"}))
    with pytest.raises(ClientError):
        await network.client().deals.add_deal(title="x")
    assert len(network.sent) == 1


async def test_refused_post_is_sent_again_after_a_burst() -> None:
    network = Network(httpx.Response(429, headers={"retry-after": "3"}), ok({"id": 1}))
    await network.client().deals.add_deal(title="Once")
    assert len(network.sent) == 2
    assert 3 <= sum(network.waits) < 3.5


async def test_wait_may_be_given_as_a_date() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2026 07:28:04 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    network = Network(httpx.Response(429, headers=headers), ok({"id": 1}))
    await network.client().deals.get_deal(1)
    assert 4 <= sum(network.waits) < 4.5


@pytest.mark.parametrize("text", ["soon", "-5", "inf", "nan", "", "Wed, 99 Oct", "1e999", "0x10"])
async def test_wait_that_makes_no_sense_is_two_seconds(text: str) -> None:
    network = Network(httpx.Response(429, headers={"retry-after": text}), ok({"id": 1}))
    await network.client().deals.get_deal(1)
    assert 2 <= sum(network.waits) < 2.5


async def test_call_waits_ten_seconds_for_bursts_and_no_longer() -> None:
    network = Network(httpx.Response(429, headers={"retry-after": "4"}))
    with pytest.raises(RateLimited):
        await network.client().deals.get_deal(1)
    assert len(network.sent) == 3
    assert sum(network.waits) < 10


async def test_window_that_opens_in_five_minutes_is_the_day() -> None:
    network = Network(httpx.Response(429, headers={"x-ratelimit-reset": "3600"}))
    with pytest.raises(DailyBudgetSpent):
        await network.client().deals.get_deal(1)
    assert (len(network.sent), network.waits) == (1, [])


async def test_deleting_what_was_deleted_before_succeeds() -> None:
    gone = httpx.Response(410, json={"success": True, "data": {"id": 1}})
    deleted = await Network(httpx.ReadError("lost"), gone).client().deals.delete_deal(1)
    assert deleted.id == 1
    with pytest.raises(Gone):
        await Network(httpx.Response(410, json={"success": False})).client().deals.delete_deal(1)


async def test_connection_that_is_refused_never_left() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    network = Network(ok(None))
    configuration = Configuration(api_key="t0ken-t0ken", base_url=url)
    client = Client(transport=Transport(configuration, sleep=network.sleep))
    with pytest.raises(ConnectionFailed, match="could not be reached") as caught:
        await client.deals.add_deal(title="x")
    assert (caught.value.sent, len(network.waits)) == (False, 2)


@pytest.fixture
async def sandbox() -> AsyncIterator[tuple[Sandbox, str]]:
    made = Sandbox(seed=1)
    async with running(made) as url:
        yield made, url


@pytest.mark.parametrize("after", [False, True])
async def test_hang_up_makes_one_deal_at_most(sandbox: tuple[Sandbox, str], after: bool) -> None:
    made, url = sandbox
    made.faults.add(kind="drop", method="POST", after=after)
    before = len(list(made.company.living("deal")))
    with pytest.raises(ConnectionFailed) as caught:
        await Client(api_token=made.api_token, base_url=url).deals.add_deal(title="Once")
    assert caught.value.sent is True
    assert len(list(made.company.living("deal"))) - before == int(after)


async def test_slow_answer_is_a_time_out_that_names_the_call(sandbox: tuple[Sandbox, str]) -> None:
    made, url = sandbox
    made.faults.add(kind="slow", seconds=5, path="/deals")
    client = Client(Configuration(api_key=made.api_token, base_url=url, timeout=0.05))
    with pytest.raises(TimedOut, match=r"POST /api/v2/deals: no answer within 0.05 s") as caught:
        await client.deals.add_deal(title="x")
    assert (caught.value.method, caught.value.path) == ("POST", "/api/v2/deals")


async def test_closing_one_client_leaves_the_calls_of_others_alone(sandbox: tuple[Sandbox, str]) -> None:
    made, url = sandbox
    made.faults.add(kind="slow", seconds=0.2, path="/deals")
    other = Client(api_token=made.api_token, base_url=url)
    running_call = asyncio.create_task(other.deals.add_deal(title="Slow"))
    async with Client(api_token=made.api_token, base_url=url) as client:
        await client.users.get_current_user()
    assert (await running_call).title == "Slow"


async def test_token_that_stays_refused_is_raised_after_one_renewal() -> None:
    class Source:
        account, base_url = "acme", "https://pd.test"
        renewed = 0

        async def get_access_token(self) -> str:
            return f"access-token-{self.renewed}"

        async def renew(self, stale: str) -> str:
            assert stale == await self.get_access_token()
            self.renewed += 1
            return await self.get_access_token()

    network, source = Network(httpx.Response(401, json={"success": False, "error": "no"})), Source()
    backend = httpx.MockTransport(network.handle)
    client = Client(transport=Transport(source, backend=backend, sleep=network.sleep))
    with pytest.raises(Unauthorized) as caught:
        await client.deals.add_deal(title="x")
    assert [request.headers["authorization"][-1] for request in network.sent] == ["0", "1"]
    assert (source.renewed, caught.value.account) == (1, "acme")


async def test_argument_that_cannot_be_right_is_told_with_its_reason() -> None:
    with pytest.raises(BadRequest, match=r"Validation failed: title\. Correct the arguments"):
        await Network(httpx.Response(400, json={"error": "Validation failed: title"})).client().deals.add_deal(title="")
