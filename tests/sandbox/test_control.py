"""The control surface: what tests learn of the sandbox, and what they make it do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import Receiver, act, data, opened, subscribe


async def ask(api: httpx.AsyncClient, door: str, **query: Any) -> Any:
    answer = await api.get(f"/_sandbox/{door}", params=query)
    assert answer.is_success, answer.text
    return answer.json()


async def do(api: httpx.AsyncClient, door: str, **body: Any) -> Any:
    answer = await api.post(f"/_sandbox/{door}", json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def test_requests_are_told_with_all_but_their_secrets(api: httpx.AsyncClient) -> None:
    await api.patch("/api/v2/deals/1", json={"title": "New"}, headers={"x-own": "1"})
    await api.get("/api/v2/deals", params={"status": "open", "limit": 2})
    first, second = await ask(api, "requests")
    assert (first["method"], first["path"], first["body"]) == ("PATCH", "/api/v2/deals/1", {"title": "New"})
    assert (first["operation"], first["status"]) == ("v2.DealsApi.updateDeal", 200)
    assert (first["headers"]["x-own"], first["headers"]["x-api-token"]) == ("1", "***")
    assert second["query"] == [["status", "open"], ["limit", "2"]]
    assert await ask(api, "requests", method="PATCH") == [first]
    assert await ask(api, "requests", after=first["number"]) == [second]
    await api.delete("/_sandbox/requests")
    assert await ask(api, "requests") == []


async def test_secrets_in_bodies_are_not_told(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver, http_auth_user="u", http_auth_password="s3cret")
    form = {"grant_type": "refresh_token", "refresh_token": "s3cret", "client_secret": "s3cret", "code": "s3cret"}
    await api.post("/oauth/token", data=form)
    await api.post("/oauth/revoke", data={"token": "s3cret"})
    for door in ("requests", "webhooks", "deliveries", "events"):
        assert "s3cret" not in (await api.get(f"/_sandbox/{door}")).text
    assert (await ask(api, "requests", path="/oauth/token"))[0]["body"]["grant_type"] == "refresh_token"


async def test_deliveries_are_told_with_bodies_and_attempts(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    await act(api, "change", kind="deal", id=1, changes={"value": 5})
    await act(api, "change", kind="deal", id=2, changes={"value": 5})
    assert (await ask(api, "idle"))["idle"] is True
    first, second = await ask(api, "deliveries", bodies=1)
    assert (first["status"], first["attempts"][0]["status"], first["record_id"]) == ("delivered", 200, "1")
    assert first["body"] == receiver.bodies[0]
    assert first["event_id"] == first["body"]["meta"]["id"]
    assert [one["number"] for one in await ask(api, "deliveries", record_id=2)] == [second["number"]]
    assert await ask(api, "deliveries", only="event_id,status", limit=1) == [
        {"event_id": first["event_id"], "status": "delivered"}
    ]


async def test_events_are_told_also_where_nobody_listened(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await act(api, "change", kind="deal", id=1, changes={"value": 5})
    before = (await ask(api, "events"))[-1]["number"]
    person = await data(api, "POST", "/api/v2/persons", {"name": "Ann"})
    await api.delete(f"/api/v2/persons/{person['id']}")
    told = await ask(api, "events", after=before)
    assert [(one["kind"], one["action"], one["record_id"]) for one in told] == [
        ("person", "create", person["id"]),
        ("person", "delete", person["id"]),
    ]
    assert told[0]["user_id"] == sandbox.company.admin["id"]


async def test_thousand_changes_arrive_once_each(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    made = await do(api, "bulk", count=1000, bulk=True)
    assert made["made"] == 1000
    assert (await ask(api, "idle", timeout=20))["deliveries"]["delivered"] == 1000
    assert len({body["meta"]["id"] for body in receiver.bodies}) == 1000
    assert receiver.bodies[0]["meta"]["is_bulk_edit"] is True
    told = await ask(api, "deliveries", only="event_id", limit=5000)
    assert {one["event_id"] for one in told} == {body["meta"]["id"] for body in receiver.bodies}


async def test_bulk_can_add_choose_its_records_and_keep_a_pace(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await do(api, "bulk", count=3, kind="person", action="add")
    await do(api, "bulk", count=4, kind="deal", ids=[1, 2], field="title", per_second=1000)
    bodies = await receiver.until(7)
    assert [body["meta"]["entity"] for body in bodies] == ["person"] * 3 + ["deal"] * 4
    assert [body["meta"]["entity_id"] for body in bodies[3:]] == ["1", "2", "1", "2"]
    assert (await api.post("/_sandbox/bulk", json={"count": 1, "action": "burn"})).status_code == 400


async def test_old_bodies_fade_and_what_became_of_them_stays(receiver: Receiver, monkeypatch: Any) -> None:
    from pipeflow.sandbox import sender

    monkeypatch.setattr(sender, "BODIES", 3)
    sandbox = Sandbox(seed=1)
    async with opened(sandbox) as api:
        await subscribe(api, receiver)
        await do(api, "bulk", count=5)
        await ask(api, "idle")
        told = await ask(api, "deliveries", bodies=1)
    assert [one["body"] is None for one in told] == [True, True, False, False, False]
    assert {one["status"] for one in told} == {"delivered"}


async def test_state_sums_everything_up(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    await subscribe(api, receiver)
    state = await ask(api, "state")
    assert state["webhooks"] == 1
    assert state["companies"][sandbox.company.domain]["deal"] == 29
    assert state["requests"] == 1
    assert state["idle"] is True


async def test_companies_are_told_with_their_users_tokens(sandbox: Sandbox) -> None:
    sandbox = Sandbox(seed=1, companies=3, deals=4)
    async with opened(sandbox) as api:
        told = await ask(api, "companies")
        assert len({one["id"] for one in told}) == len({one["domain"] for one in told}) == 3
        for one in told:
            for user in one["users"]:
                me = (await api.get("/v1/users/me", headers={"x-api-token": user["api_token"]})).json()["data"]
                assert (me["id"], me["company_id"]) == (user["id"], one["id"])


async def test_companies_keep_their_records_apart() -> None:
    sandbox = Sandbox(seed=1, companies=2, deals=4)
    first, second = sandbox.companies.values()
    async with opened(sandbox) as api:
        theirs = {"x-api-token": second.admin["token"]}
        await api.patch("/api/v2/deals/1", json={"title": "Ours"})
        assert (await api.get("/api/v2/deals/1", headers=theirs)).json()["data"]["title"] != "Ours"
    assert set(first.custom_fields("deal")).isdisjoint(second.custom_fields("deal"))


async def test_company_can_be_added_while_it_runs(api: httpx.AsyncClient) -> None:
    made = await do(api, "companies", deals=4)
    told = await ask(api, "companies")
    assert [one["domain"] for one in told][-1] == made["domain"]
    token = {"x-api-token": made["users"][0]["api_token"]}
    assert (await api.get("/v1/users/me", headers=token)).json()["data"]["company_id"] == made["id"]


async def test_clock_is_moved_and_scaled(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await do(api, "clock", scale=0)
    before = (await ask(api, "clock"))["time"]
    after = await do(api, "clock", advance=86400)
    assert after["time"][:10] > before[:10]
    assert after["time"][10:] == before[10:]
    assert (await do(api, "clock", to="2027-02-03T04:05:06Z"))["time"] == "2027-02-03T04:05:06.000Z"


async def test_sales_team_steps_on_demand_and_repeats_itself(sandbox: Sandbox) -> None:
    told = []
    for _ in range(2):
        async with opened(Sandbox(seed=4, deals=10)) as api:
            await do(api, "team", steps=12)
            told.append([(one["kind"], one["action"], one["record_id"]) for one in await ask(api, "events")])
    assert told[0] == told[1]


async def test_unknown_doors_and_words_are_answered_with_the_known_ones(api: httpx.AsyncClient) -> None:
    nowhere = await api.get("/_sandbox/nowhere")
    assert nowhere.status_code == 404
    assert "POST /_sandbox/bulk" in nowhere.json()["doors"]
    mode = await api.post("/_sandbox/modes", json={"colour": 1})
    assert mode.status_code == 400
    assert "parallel" in mode.json()["error"]
    company = await api.post("/_sandbox/act", json={"kind": "deal", "id": 1, "company": "nobody"})
    assert company.status_code == 400
    record = await api.post("/_sandbox/act", json={"kind": "deal", "id": 99999})
    assert record.status_code == 404


async def test_control_asks_for_a_token_away_from_loopback(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.open_control = False
    assert (await api.get("/_sandbox/state")).status_code == 200
    async with httpx.AsyncClient(base_url=api.base_url) as stranger:
        assert (await stranger.get("/_sandbox/state")).status_code == 401


async def test_process_of_its_own_says_where_it_is_and_ends_with_its_pipe(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeflow.sandbox", "--deals", "5", "--companies", "2", "--token", "t" * 40),
        *("--state", str(tmp_path / "state.json")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdin
    ready = json.loads(await process.stdout.readline())
    async with httpx.AsyncClient(base_url=ready["url"], headers={"x-api-token": ready["api_token"]}) as api:
        assert ready["api_token"] == "t" * 40
        assert len(await ask(api, "companies")) == 2
        await data(api, "PATCH", "/api/v2/deals/1", {"title": "Kept"})
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert "Kept" in (tmp_path / "state.json").read_text()


async def test_browser_is_told_what_is_here_on_loopback_alone(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    page = await api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert sandbox.api_token in page.text
    sandbox.open_control = False
    assert (await api.get("/")).status_code == 404
