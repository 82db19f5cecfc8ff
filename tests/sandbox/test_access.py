"""Who may ask, and where: tokens, hosts, paths."""

from __future__ import annotations

import httpx

from pipeflow.sandbox import Sandbox


async def test_missing_and_wrong_tokens_get_the_gateways_401(api: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(base_url=api.base_url) as stranger:
        nothing = await stranger.get("/api/v2/deals")
        wrong = await stranger.get("/api/v2/deals", headers={"x-api-token": "no"})
        bearer = await stranger.get("/v1/users/me", headers={"authorization": f"Bearer {api.headers['x-api-token']}"})
        malformed = await stranger.get("/v1/users/me", headers={"authorization": "Token abc"})
    assert [answer.status_code for answer in (nothing, wrong, bearer, malformed)] == [401, 401, 401, 400]
    assert nothing.headers["x-401-by-gw"] == "true"
    assert nothing.headers["x-correlation-id"]
    assert nothing.json() == {
        "success": False,
        "error": "unauthorized access",
        "errorCode": 401,
        "error_info": "Please check developers.pipedrive.com",
    }


async def test_generations_answer_under_their_own_prefixes(api: httpx.AsyncClient) -> None:
    statuses = [
        (await api.get(path)).status_code for path in ("/v1/users/me", "/api/v1/users/me", "/api/v2/deals", "/v2/deals")
    ]
    assert statuses == [200, 200, 200, 404]
    assert (await api.get("/v2/deals")).json() == {"status": False, "error": "Unknown method ."}


async def test_old_token_in_the_query_opens_generation_one_alone(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    async with httpx.AsyncClient(base_url=api.base_url, params={"api_token": sandbox.api_token}) as old:
        assert (await old.get("/v1/users/me")).status_code == 200
        assert (await old.get("/api/v2/deals")).status_code == 401


async def test_company_host_knows_only_its_own_tokens() -> None:
    sandbox = Sandbox(seed=1, companies=2)
    from tests.sandbox.conftest import opened

    first, second = sandbox.companies
    async with opened(sandbox) as api:
        mine = await api.get(f"/c/{first}/api/v2/deals")
        theirs = await api.get(f"/c/{second}/api/v2/deals")
    assert (mine.status_code, theirs.status_code) == (200, 401)


async def test_who_am_i_names_user_and_company(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    me = (await api.get("/v1/users/me")).json()["data"]
    assert me["is_you"]
    assert me["company_id"] == sandbox.company.id
    assert me["company_domain"] == sandbox.company.domain
    assert me["timezone_name"] == "Europe/Tallinn"
    assert me["access"][0]["admin"] is True


async def test_secrets_are_not_kept_with_the_requests(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await api.get("/v1/users/me", params={"api_token": sandbox.api_token})
    kept = (await api.get("/_sandbox/requests")).text
    assert sandbox.api_token not in kept
