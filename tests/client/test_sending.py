"""What goes over the wire and what becomes of the answer, through the public client and a network of our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from pipeflow.client import Client, Configuration
from pipeflow.client.limits import Governor
from pipeflow.client.transport import Transport
from pipeflow.client.v1 import WebhooksApi
from pipeflow.errors import (
    Blocked,
    ConnectionFailed,
    DailyBudgetSpent,
    NotFound,
    RateLimited,
    ServerError,
    UnexpectedBody,
)

Answer = Callable[[httpx.Request], httpx.Response]


class Network:
    """Answers requests from a list, and remembers what was sent and how long was waited."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 0.0

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def client(self) -> Client:
        configuration = Configuration(api_key="t0ken", base_url="https://pd.test")
        backend = httpx.MockTransport(self.handle)
        governor = Governor(clock=lambda: self.now, sleep=self.sleep)
        return Client(transport=Transport(configuration, backend=backend, sleep=self.sleep, governor=governor))


def ok(data: Any, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"success": True, "data": data, **more})


async def test_token_travels_in_the_header_and_never_in_the_url() -> None:
    network = Network(ok({"id": 42, "title": "Acme", "brand_new_field": 1}))
    deal = await network.client().deals.get_deal(42)
    request = network.sent[0]
    assert (request.method, str(request.url)) == ("GET", "https://pd.test/api/v2/deals/42")
    assert request.headers["x-api-token"] == "t0ken"
    assert deal.title == "Acme"
    assert deal.model_extra == {"brand_new_field": 1}


async def test_left_out_fields_and_none_are_different_requests() -> None:
    network = Network(ok({"id": 42}))
    await network.client().deals.update_deal(42, value=0, person_id=None, custom_fields={"a" * 40: None})
    assert json.loads(network.sent[0].content) == {"value": 0, "person_id": None, "custom_fields": {"a" * 40: None}}


async def test_version_1_writes_flatten_custom_fields() -> None:
    network = Network(ok({"id": "x"}))
    await network.client().leads.add_lead(title="New", custom_fields={"b" * 40: 5})
    assert json.loads(network.sent[0].content) == {"title": "New", "b" * 40: 5}


async def test_body_without_required_fields_is_an_empty_object() -> None:
    network = Network(ok({"id": 1}))
    await network.client().deals.update_deal(1)
    assert json.loads(network.sent[0].content) == {}


@pytest.mark.parametrize("value", ["", ".", "..", None])
async def test_path_values_that_would_reach_another_endpoint_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="path"):
        await Network().client().deals.get_deal(value)


async def test_naive_datetimes_are_refused_and_aware_ones_lose_their_fraction() -> None:
    network = Network(ok([]))
    since = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    await network.client().deals.get_deals(updated_since=since)
    assert network.sent[0].url.params["updated_since"] == "2026-01-02T03:04:05Z"
    with pytest.raises(ValueError, match="time zone"):
        await network.client().deals.get_deals(updated_since=since.replace(tzinfo=None))


async def test_loop_follows_cursors_and_asks_for_the_largest_pages() -> None:
    network = Network(
        ok([{"id": 1}, {"id": 2}], additional_data={"next_cursor": "abc"}),
        ok([{"id": 3}], additional_data={"next_cursor": None}),
    )
    assert [deal.id async for deal in network.client().deals.get_deals(status="open")] == [1, 2, 3]
    assert network.sent[0].url.params["limit"] == "500"
    assert network.sent[1].url.params["cursor"] == "abc"


async def test_loop_follows_offsets_with_and_without_next_start() -> None:
    network = Network(
        ok([{"id": 1}], additional_data={"pagination": {"more_items_in_collection": True, "next_start": 1}}),
        ok([{"id": 2}], additional_data={"start": 1, "limit": 1, "more_items_in_collection": True}),
        ok(None),
    )
    assert [note.id async for note in network.client().notes.get_notes(limit=1)] == [1, 2]
    assert [request.url.params.get("start") for request in network.sent] == [None, "1", "2"]


async def test_loop_stops_where_a_cursor_repeats() -> None:
    again = {"additional_data": {"next_cursor": "same"}}
    network = Network(ok([{"id": 1}], **again), ok([{"id": 2}], **again))
    assert [deal.id async for deal in network.client().deals.get_deals()] == [1, 2]


async def test_take_stops_without_asking_for_more() -> None:
    network = Network(ok([{"id": 1}, {"id": 2}], additional_data={"next_cursor": "abc"}))
    assert [deal.id async for deal in network.client().deals.get_deals().take(2)] == [1, 2]
    assert len(network.sent) == 1


async def test_odd_values_never_break_a_read() -> None:
    network = Network(ok({"id": "not a number", "title": 5, "value": None}))
    deal = await network.client().deals.get_deal(1)
    assert deal.title == 5


async def test_reads_are_repeated_after_trouble_and_posts_are_not() -> None:
    network = Network(httpx.Response(503), httpx.ReadError("gone"), ok({"id": 1}))
    assert (await network.client().deals.get_deal(1)).id == 1
    network = Network(httpx.Response(503))
    with pytest.raises(ServerError):
        await network.client().deals.add_deal(title="Once")
    network = Network(httpx.ReadTimeout("slow"))
    with pytest.raises(ConnectionFailed):
        await network.client().deals.add_deal(title="Once")


async def test_post_that_never_left_is_sent_again() -> None:
    network = Network(httpx.ConnectError("refused"), ok({"id": 7}))
    assert (await network.client().deals.add_deal(title="Once")).id == 7


async def test_burst_is_waited_out_and_a_long_wait_is_raised() -> None:
    network = Network(httpx.Response(429, headers={"retry-after": "3"}), ok({"id": 1}))
    assert (await network.client().deals.get_deal(1)).id == 1
    assert 3.0 <= sum(network.waits) < 3.5
    network = Network(httpx.Response(429, headers={"retry-after": "60"}))
    with pytest.raises(RateLimited) as caught:
        await network.client().deals.get_deal(1)
    assert caught.value.retry_after == 60


async def test_spent_daily_budget_is_never_waited_for() -> None:
    headers = {"x-daily-ratelimit-token-remaining": "0", "retry-after": "3"}
    network = Network(httpx.Response(429, headers=headers))
    with pytest.raises(DailyBudgetSpent):
        await network.client().deals.get_deal(1)
    assert network.waits == []


async def test_errors_carry_evidence_and_the_next_step() -> None:
    headers = {"x-correlation-id": "c-1"}
    network = Network(httpx.Response(404, json={"success": False, "error": "Deal not found"}, headers=headers))
    with pytest.raises(NotFound, match=r"GET /api/v2/deals/9 answered 404: Deal not found") as caught:
        await network.client().deals.get_deal(9)
    assert (caught.value.status, caught.value.request_id) == (404, "c-1")
    page = httpx.Response(403, text="<html>", headers={"content-type": "text/html"})
    with pytest.raises(Blocked):
        await Network(page).client().deals.get_deal(9)
    with pytest.raises(UnexpectedBody):
        await Network(httpx.Response(200, json={"success": False, "error": "no"})).client().deals.get_deal(9)


async def test_capture_shows_every_answer_inside() -> None:
    client = Network(ok({"id": 1}), ok({"id": 2})).client()
    with client.capture() as sent:
        await client.deals.get_deal(1)
    await client.deals.get_deal(2)
    assert [(answer.operation.id, answer.status) for answer in sent] == [("v2.DealsApi.getDeal", 200)]


async def test_repr_of_a_configuration_hides_its_secrets() -> None:
    assert "t0ken" not in repr(Configuration(api_key="t0ken", access_token="t0ken"))
    assert WebhooksApi(Configuration(api_key="t0ken"))
