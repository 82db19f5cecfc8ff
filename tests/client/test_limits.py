"""Staying under Pipedrive's limits, against the sandbox in the same process and on a clock that only waiting moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeflow.client import Client, Configuration
from pipeflow.client.limits import Governor
from pipeflow.client.transport import Transport
from pipeflow.errors import Blocked, ClientError, DailyBudgetSpent, RateLimited
from pipeflow.sandbox import Sandbox, create_app
from pipeflow.sandbox.limits import Limits

WINDOW = 2.0


class Company:
    """A sandbox and an account of it: `now` moves as far as somebody waits."""

    def __init__(self, plan: str = "growth") -> None:
        self.now = 1000.0
        self._sleeping: list[float] = []
        self.sandbox = Sandbox(seed=1, deals=3)
        self.sandbox.limits = Limits(now=lambda: self.now)
        self.sandbox.company.plan = plan
        self.governor = Governor(clock=lambda: self.now, sleep=self.sleep, wall=lambda: self.now)
        self._backend = httpx.ASGITransport(create_app(self.sandbox))

    async def sleep(self, seconds: float) -> None:
        """Move the clock to whoever sleeps shortest, once all that can be done now is done."""
        due = self.now + seconds
        self._sleeping.append(due)
        try:
            while self.now < due:
                for _ in range(30):
                    await asyncio.sleep(0)
                self.now = max(self.now, min(self._sleeping))
        finally:
            self._sleeping.remove(due)

    def client(self, *, background: bool = False) -> Client:
        configuration = Configuration(api_key=self.sandbox.api_token, base_url="http://sandbox")
        transport = Transport(
            configuration, background=background, backend=self._backend, sleep=self.sleep, governor=self.governor
        )
        return Client(transport=transport)

    def statuses(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for request in self.sandbox.journal.listed():
            found[request["status"]] = found.get(request["status"], 0) + 1
        return found


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.mark.parametrize(("plan", "limit"), [("lite", 20), ("growth", 40), ("ultimate", 120)])
async def test_thousand_calls_at_once_use_the_whole_limit_and_never_hit_it(plan: str, limit: int) -> None:
    company = Company(plan)
    company.sandbox.faults.add(kind="burst")
    client, began = company.client(), company.now
    await asyncio.gather(*(client.pipelines.get_pipeline(1) for _ in range(1000)))
    assert company.statuses() == {200: 1000}
    assert 1000 / (company.now - began) >= 0.95 * limit / WINDOW


class SlowServer(httpx.AsyncBaseTransport):
    """Enforces a limit when a request arrives, `travel` after it was written, and answers later still."""

    def __init__(self, company: Company, limit: int, travel: Callable[[], float], work: Callable[[], float]) -> None:
        self.company = company
        self.limit = limit
        self.travel = travel
        self.work = work
        self.arrived: list[float] = []
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.extensions["trace"]("http11.send_request_body.complete", {})
        await self.company.sleep(self.travel())
        now = self.company.now
        used = sum(at > now - WINDOW for at in self.arrived)
        self.refused += used >= self.limit
        self.arrived.append(now)
        await self.company.sleep(self.work())
        headers = {"x-ratelimit-limit": str(self.limit), "x-ratelimit-remaining": str(max(0, self.limit - used - 1))}
        return httpx.Response(200, headers=headers, json={"success": True, "data": {"id": 1}})

    def client(self) -> Client:
        configuration = Configuration(api_key="t", base_url="http://slow")
        return Client(transport=Transport(configuration, backend=self, governor=self.company.governor))


async def test_slow_answers_slow_nobody_down(company: Company) -> None:
    server = SlowServer(company, 40, lambda: 0.0, lambda: 1.0)
    client = server.client()
    await client.pipelines.get_pipeline(1)
    began = company.now
    await asyncio.gather(*(client.pipelines.get_pipeline(1) for _ in range(400)))
    assert server.refused == 0
    assert 400 / (server.arrived[-1] - began) >= 0.95 * 40 / WINDOW


@pytest.mark.parametrize("seed", range(8))
async def test_limit_is_kept_however_long_requests_travel_and_answers_take(company: Company, seed: int) -> None:
    chance = random.Random(seed)
    longest = chance.choice([0.0, 0.3, 3.0])
    server = SlowServer(
        company, chance.choice([20, 33, 80]), lambda: chance.uniform(0, 0.1), lambda: chance.uniform(0, longest)
    )
    client = server.client()

    async def some() -> None:
        for _ in range(chance.randrange(8)):
            await company.sleep(chance.uniform(0, 1))
            await client.pipelines.get_pipeline(1)

    await asyncio.gather(*(some() for _ in range(60)))
    assert len(server.arrived) > 100
    assert server.refused == 0


async def test_clients_of_one_account_share_its_limit(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    clients = [company.client() for _ in range(10)]
    await asyncio.gather(*(client.pipelines.get_pipeline(1) for client in clients for _ in range(20)))
    assert company.statuses() == {200: 200}


async def test_searches_keep_to_their_own_stricter_limit(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    client, began = company.client(), company.now
    await asyncio.gather(*(client.deals.search_deals(term="acme") for _ in range(40)))
    assert company.statuses() == {200: 40}
    assert company.now - began >= 3 * WINDOW


async def test_search_that_waits_lets_nobody_past_the_general_limit(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    client = company.client()
    searches = [client.deals.search_deals(term="acme") for _ in range(15)]
    await asyncio.gather(*searches, *(client.pipelines.get_pipeline(1) for _ in range(100)))
    assert company.statuses() == {200: 115}


async def test_calls_never_stand_behind_searches(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    client, began = company.client(), company.now
    await client.pipelines.get_pipeline(1)
    searches = [asyncio.ensure_future(client.deals.search_deals(term="acme")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(*(client.pipelines.get_pipeline(1) for _ in range(20)))
    assert company.now == began
    await asyncio.gather(*searches)
    assert company.statuses() == {200: 71}


async def test_what_others_use_of_the_same_limit_is_left_to_them(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    mine, theirs = company.client(), Company.client(company)
    theirs.transport = Transport(
        theirs.transport.configuration,
        backend=httpx.ASGITransport(create_app(company.sandbox)),
        governor=Governor(clock=lambda: company.now, sleep=company.sleep),
    )
    await asyncio.gather(*(theirs.pipelines.get_pipeline(1) for _ in range(30)))
    await mine.pipelines.get_pipeline(1)
    assert mine.limits.burst_left == 40 - 31
    await asyncio.gather(*(mine.pipelines.get_pipeline(1) for _ in range(100)))
    assert company.statuses() == {200: 131}


async def test_handlers_never_stand_behind_background_work(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    quiet, handler = company.client(background=True), company.client()
    work = [asyncio.create_task(quiet.pipelines.get_pipeline(1)) for _ in range(200)]
    while len(company.sandbox.journal.listed()) < 60:
        await asyncio.sleep(0)
    before = len(company.sandbox.journal.listed())
    await asyncio.gather(*(handler.stages.get_stage(1) for _ in range(10)), *work)
    paths = [request["path"] for request in company.sandbox.journal.listed()]
    last = max(position for position, path in enumerate(paths) if "stages" in path)
    assert last - before < 40  # of 140 that stood in line before them
    assert company.statuses() == {200: 210}


async def test_background_work_leaves_room_for_a_handler_that_comes_now(company: Company) -> None:
    quiet = company.client(background=True)
    await quiet.pipelines.get_pipeline(1)
    work = [asyncio.create_task(quiet.pipelines.get_pipeline(1)) for _ in range(100)]
    while len(company.sandbox.journal.listed()) < 30:
        await asyncio.sleep(0)
    assert quiet.limits.burst_left is not None
    assert quiet.limits.burst_left >= 10
    await asyncio.gather(*work)


async def test_background_work_costs_a_crowd_of_handlers_no_more_than_one_window(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    quiet, handler, began = company.client(background=True), company.client(), company.now
    work = [asyncio.create_task(quiet.pipelines.get_pipeline(1)) for _ in range(300)]
    await asyncio.gather(*(handler.stages.get_stage(1) for _ in range(100)))
    assert company.now - began <= 3 * WINDOW + 0.1  # 2 where they are alone
    await asyncio.gather(*work)
    assert company.statuses() == {200: 400}


async def test_limits_tell_what_is_left_and_what_was_spent(company: Company) -> None:
    client = company.client()
    await client.pipelines.get_pipeline(1)
    await client.notes.get_notes()
    told = client.limits
    assert (told.burst_limit, told.burst_left, told.waiting, told.closed_for) == (40, 38, 0, 0.0)
    assert told.spent_today == 1 + 20
    assert told.daily_limit is not None
    assert told.daily_left == told.daily_limit - 21


async def test_new_day_begins_a_new_count(company: Company) -> None:
    client = company.client()
    await client.notes.get_notes()
    company.now += 86_400
    assert (client.limits.spent_today, client.limits.daily_left) == (0, None)


async def test_background_work_leaves_the_last_of_the_day_to_handlers(company: Company) -> None:
    company.sandbox.faults.add(kind="budget", limit=100)
    handler, quiet = company.client(), company.client(background=True)
    for _ in range(4):
        await handler.notes.get_notes()
    await quiet.pipelines.get_pipelines()
    await quiet.pipelines.get_pipelines()
    await handler.pipelines.get_pipeline(1)
    with pytest.raises(DailyBudgetSpent, match="left to handlers"):
        await quiet.pipelines.get_pipeline(1)
    await handler.pipelines.get_pipeline(1)


async def test_spent_budget_is_raised_at_once_and_spares_pipedrive_more_calls(company: Company) -> None:
    company.sandbox.faults.add(kind="daily")
    client, began = company.client(), company.now
    for _ in range(3):
        with pytest.raises(DailyBudgetSpent):
            await client.pipelines.get_pipeline(1)
    assert (company.statuses(), company.now) == ({429: 1}, began)
    company.sandbox.faults.clear()
    company.now += client.limits.closed_for
    await client.pipelines.get_pipeline(1)


async def test_web_page_of_cloudflare_stops_the_account_for_a_quarter_of_an_hour(company: Company) -> None:
    company.sandbox.faults.add(kind="html", count=1)
    client = company.client()
    with pytest.raises(Blocked, match="Cloudflare"):
        await client.pipelines.get_pipeline(1)
    with pytest.raises(Blocked, match=r"GET /api/v2/pipelines/2 was not sent: Cloudflare"):
        await client.pipelines.get_pipeline(2)
    company.now += 899
    with pytest.raises(Blocked):
        await client.pipelines.get_pipeline(1)
    assert company.statuses() == {403: 1}
    company.now += 1
    await client.pipelines.get_pipeline(1)


async def test_burst_refusal_holds_back_every_call_of_the_account(company: Company) -> None:
    client, began = company.client(), company.now
    await client.pipelines.get_pipeline(1)
    company.sandbox.faults.add(kind="429", retry_after="4", count=1)
    await client.pipelines.get_pipeline(1)
    await asyncio.gather(*(company.client().pipelines.get_pipeline(1) for _ in range(5)))
    assert company.statuses() == {200: 7, 429: 1}
    assert company.now - began >= 4


async def test_long_refusal_is_raised_and_answered_for_the_others_without_sending(company: Company) -> None:
    company.sandbox.faults.add(kind="429", retry_after="60", count=1)
    client = company.client()
    with pytest.raises(RateLimited) as first:
        await client.pipelines.get_pipeline(1)
    company.now += 20
    with pytest.raises(RateLimited, match="was not sent") as second:
        await client.pipelines.get_pipeline(1)
    assert first.value.retry_after == 60
    assert second.value.retry_after == pytest.approx(40, abs=1)
    assert company.statuses() == {429: 1}


async def test_refusal_after_a_full_wait_with_room_in_the_window_is_the_daily_budget() -> None:
    headers = {"retry-after": "3", "x-ratelimit-limit": "20", "x-ratelimit-remaining": "15"}
    company, sent = Company(), []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(429, headers=headers, json={"success": False, "error": "Request over limit"})

    configuration = Configuration(api_key="t", base_url="http://sandbox")
    backend = httpx.MockTransport(refuse)
    client = Client(transport=Transport(configuration, backend=backend, governor=company.governor))
    with pytest.raises(DailyBudgetSpent):
        await client.pipelines.get_pipeline(1)
    assert len(sent) == 2


async def test_server_that_names_no_limit_has_none(company: Company) -> None:
    backend = httpx.MockTransport(lambda _: httpx.Response(200, json={"success": True, "data": {"id": 1}}))
    configuration = Configuration(api_key="t", base_url="http://double")
    client = Client(transport=Transport(configuration, backend=backend, governor=company.governor))
    began = company.now
    await client.pipelines.get_pipeline(1)
    await asyncio.gather(*(client.pipelines.get_pipeline(1) for _ in range(500)))
    assert (company.now, client.limits.burst_limit) == (began, None)


async def test_server_that_names_no_limit_and_has_one_is_asked_slowly_after_the_first_refusal(company: Company) -> None:
    arrived: list[float] = []
    refused: list[float] = []

    def answer(_: httpx.Request) -> httpx.Response:
        if sum(at > company.now - WINDOW for at in arrived) >= 25:
            refused.append(company.now)
            return httpx.Response(429)
        arrived.append(company.now)
        return httpx.Response(200, json={"success": True, "data": {"id": 1}})

    configuration = Configuration(api_key="t", base_url="http://double")
    client = Client(transport=Transport(configuration, backend=httpx.MockTransport(answer), governor=company.governor))
    for _ in range(30):
        await client.pipelines.get_pipeline(1)
    refused_first = len(refused)
    await asyncio.gather(*(client.pipelines.get_pipeline(1) for _ in range(200)))
    assert (refused_first, len(refused)) == (1, 1)


async def test_call_that_never_left_takes_no_place_in_the_window(company: Company) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    configuration = Configuration(api_key="t", base_url="http://double")
    backend = httpx.MockTransport(fail)
    client = Client(transport=Transport(configuration, backend=backend, sleep=company.sleep, governor=company.governor))
    with pytest.raises(ClientError):
        await client.pipelines.get_pipeline(1)
    assert (client.limits.burst_left, client.limits.spent_today) == (20, 0)


async def test_caller_that_gives_up_waiting_leaves_the_line(company: Company) -> None:
    company.sandbox.faults.add(kind="burst")
    client = company.client()
    calls = [asyncio.create_task(client.pipelines.get_pipeline(1)) for _ in range(100)]
    await asyncio.sleep(0)
    for call in calls[50:]:
        call.cancel()
    outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 50
    assert (company.statuses(), client.limits.waiting) == ({200: 50}, 0)


async def test_accounts_do_not_wait_for_each_other() -> None:
    first, second = Company(), Company()
    first.sandbox.faults.add(kind="html", count=1)
    with pytest.raises(Blocked):
        await first.client().pipelines.get_pipeline(1)
    await second.client().pipelines.get_pipeline(1)
    one, other = (Client(Configuration(api_key=key, base_url="https://pd.test")) for key in ("key-one", "key-two"))
    assert one.transport.governor is not other.transport.governor
    assert one.transport.governor is Client(api_token="key-one", base_url="https://pd.test").transport.governor
