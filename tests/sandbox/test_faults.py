"""Trouble on demand: limits, refusals, slow and broken answers, each as Pipedrive or its gateway makes them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import data

ME = "/v1/users/me"
DAILY = ("x-daily-ratelimit-token-limit", "x-daily-ratelimit-token-remaining")


async def fault(api: httpx.AsyncClient, kind: str, **more: Any) -> None:
    answer = await api.post("/_sandbox/faults", json={"kind": kind, **more})
    assert answer.is_success, answer.text


async def test_calm_answers_tell_of_both_limits(api: httpx.AsyncClient) -> None:
    headers = (await api.get(ME)).headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("100", "99")
    assert headers["x-ratelimit-reset"] == "2"
    assert headers[DAILY[0]] == str(30_000 * 5 * 4)
    assert int(headers[DAILY[1]]) == int(headers[DAILY[0]]) - 2


@pytest.mark.parametrize(
    ("method", "path", "cost"),
    [
        ("GET", "/api/v2/deals/1", 1),
        ("GET", "/api/v2/deals", 10),
        ("GET", "/api/v2/stages", 5),
        ("GET", "/api/v2/deals/search?term=annual", 20),
        ("GET", "/api/v2/deals/archived", 20),
        ("PATCH", "/api/v2/deals/1", 5),
        ("DELETE", "/api/v2/deals/1", 3),
        ("GET", "/v1/users/me", 2),
        ("GET", "/v1/users", 20),
        ("GET", "/v1/webhooks", 10),
        ("GET", "/v1/deals/1/flow", 40),
        ("GET", "/v1/leads", 20),
        ("GET", "/v1/nothing", 1),
        ("PATCH", "/api/v2/deals/99999", 5),
    ],
)
async def test_every_call_costs_its_price_also_a_refused_one(
    api: httpx.AsyncClient, method: str, path: str, cost: int
) -> None:
    before = int((await api.get("/api/v2/deals/2")).headers[DAILY[1]])
    answer = await api.request(method, path, json={} if method == "PATCH" else None)
    assert before - int(answer.headers[DAILY[1]]) == cost


async def test_burst_is_refused_only_where_asked_and_says_how_long_to_wait(api: httpx.AsyncClient) -> None:
    assert {(await api.get(ME)).status_code for _ in range(5)} == {200}
    await fault(api, "burst", limit=8)
    answers = [await api.get(ME) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
    refused = answers[-1]
    assert refused.json()["error"] == "Request over limit"
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("8", "0")
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"]
    assert 1 <= int(refused.headers["retry-after"]) <= 2


async def test_burst_counts_each_token_by_itself(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await fault(api, "burst", limit=1)
    assert [(await api.get(ME)).status_code for _ in range(2)] == [200, 429]
    other = {"x-api-token": sandbox.company.users[1]["token"]}
    assert (await api.get(ME, headers=other)).status_code == 200


async def test_eleventh_search_within_two_seconds_is_refused(api: httpx.AsyncClient) -> None:
    await fault(api, "burst")
    answers = [(await api.get("/api/v2/itemSearch?term=annual")).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]
    assert (await api.get(ME)).status_code == 200


async def test_plan_sets_the_limits(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    answer = await api.post("/_sandbox/company", json={"plan": "lite"})
    assert answer.json()["plan"] == "lite"
    headers = (await api.get(ME)).headers
    assert (headers["x-ratelimit-limit"], headers[DAILY[0]]) == ("20", "120000")


async def test_forced_429_carries_burst_headers_and_any_retry_after(api: httpx.AsyncClient) -> None:
    await fault(api, "429", count=2, retry_after="Wed, 25 Nov 2026 10:00:00 GMT")
    refused = await api.get(ME)
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (429, "0")
    assert refused.headers["retry-after"] == "Wed, 25 Nov 2026 10:00:00 GMT"
    assert [(await api.get(ME)).status_code for _ in range(2)] == [429, 200]


async def test_spent_day_says_so_and_misleads_about_the_wait(api: httpx.AsyncClient) -> None:
    await fault(api, "daily")
    refused = await api.get(ME)
    assert (refused.status_code, refused.headers[DAILY[1]], refused.headers["retry-after"]) == (429, "0", "3")
    assert int(refused.headers["x-ratelimit-remaining"]) > 0


async def test_budget_ends_and_comes_back_at_midnight(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await fault(api, "budget", limit=25)
    codes = [(await api.get("/api/v2/deals")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    assert (await api.get("/api/v2/deals/1")).status_code == 200
    sandbox.clock.advance(86400)
    assert (await api.get("/api/v2/deals")).status_code == 200


async def test_daily_headers_can_be_missing(api: httpx.AsyncClient) -> None:
    await fault(api, "no_daily_headers")
    headers = (await api.get(ME)).headers
    assert not set(DAILY) & set(headers)
    assert "x-ratelimit-limit" in headers


async def test_gateway_page_is_html(api: httpx.AsyncClient) -> None:
    await fault(api, "html", count=1)
    answer = await api.get(ME)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "Cloudflare" in answer.text


async def test_who_hammers_through_429_is_blocked(api: httpx.AsyncClient) -> None:
    await fault(api, "burst", limit=1)
    await fault(api, "block", limit=3)
    codes = [(await api.get(ME)).status_code for _ in range(6)]
    assert codes == [200, 429, 429, 429, 403, 403]


async def test_outage_meets_so_many_requests_of_one_path_and_verb(api: httpx.AsyncClient) -> None:
    await fault(api, "503", count=2, path="/deals", method="GET")
    codes = [(await api.get("/api/v2/deals")).status_code for _ in range(3)]
    assert codes == [503, 503, 200]
    await fault(api, "503", path="/deals", method="POST")
    assert (await api.get("/api/v2/deals")).status_code == 200
    assert (await api.get(ME)).status_code == 200


async def test_any_answer_can_be_given(api: httpx.AsyncClient) -> None:
    await fault(api, "answer", count=1, status=502, body="<html>Bad gateway</html>", content_type="text/html")
    answer = await api.get(ME)
    assert (answer.status_code, answer.text) == (502, "<html>Bad gateway</html>")
    await fault(api, "answer", count=1, status=200, body={"success": False, "error": "no"})
    assert (await api.get(ME)).json() == {"success": False, "error": "no"}
    await fault(api, "answer", count=1, status=302, headers={"location": "http://127.0.0.1:1/elsewhere"})
    assert (await api.get(ME)).headers["location"] == "http://127.0.0.1:1/elsewhere"
    await fault(api, "answer", count=1, status=200, body="")
    assert (await api.get(ME)).content == b""


async def test_connection_drops_before_or_after_the_work(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    before = len(sandbox.company.tables["person"])
    for after, made in ((False, 0), (True, 1)):
        await fault(api, "drop", count=1, after=after)
        with pytest.raises(httpx.TransportError):
            await api.post("/api/v2/persons", json={"name": "Ann"})
        assert len(sandbox.company.tables["person"]) == before + made


async def test_answer_can_break_off_in_the_middle(api: httpx.AsyncClient) -> None:
    await fault(api, "cut", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await api.get("/api/v2/deals")
    assert (await api.get("/api/v2/deals")).status_code == 200


async def test_slow_answer_is_slow(api: httpx.AsyncClient) -> None:
    await fault(api, "slow", count=1, seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        await api.get(ME, timeout=0.1)
    assert (await api.get(ME)).status_code == 200


async def test_faults_are_listed_and_taken_back_by_kind(api: httpx.AsyncClient) -> None:
    await fault(api, "html")
    await fault(api, "503")
    assert [one["kind"] for one in (await api.get("/_sandbox/faults")).json()] == ["html", "503"]
    await api.delete("/_sandbox/faults?kind=html")
    assert (await api.get(ME)).status_code == 503
    await api.delete("/_sandbox/faults")
    assert (await api.get(ME)).status_code == 200


@pytest.mark.parametrize("wrong", [{"kind": "flood"}, {"kind": "429", "colour": "red"}, {}])
async def test_unknown_faults_are_refused_with_the_known_ones(api: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    answer = await api.post("/_sandbox/faults", json=wrong)
    assert answer.status_code == 400
    assert "kind" in answer.text or "burst" in answer.text


async def test_broken_json_is_refused(api: httpx.AsyncClient) -> None:
    broken = await api.post("/api/v2/deals", content=b'{"title": ', headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["success"]) == (400, False)
    assert await data(api, "GET", ME)
