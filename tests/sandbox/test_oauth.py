"""Apps: consent, tokens on a clock that moves, rotation, revocation, the marketplace, uninstalling."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pipeflow.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox
from tests.sandbox.conftest import PLAIN, Receiver, data, opened, subscribe

HOUR, DAY = 3600.0, 86400.0
BASIC = (CLIENT_ID, CLIENT_SECRET)


@pytest.fixture
async def sandbox(receiver: Receiver) -> Sandbox:
    """Two companies, a clock that stands still until it is moved, an app whose callback the receiver takes."""
    return Sandbox(seed=1, companies=2, deals=6, scale=0, redirect_uri=f"{receiver.url}?app=1")


@pytest.fixture
async def web(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """A browser or an app: no API token."""
    async with opened(sandbox) as api, httpx.AsyncClient(base_url=api.base_url, verify=PLAIN) as client:
        yield client


def account(sandbox: Sandbox, company: int = 0, user: int = 0) -> str:
    home = list(sandbox.companies.values())[company]
    return f"{home.domain}/{home.users[user]['id']}"


def asked(sandbox: Sandbox, **more: str) -> dict[str, str]:
    app = sandbox.oauth.apps[CLIENT_ID]
    return {"client_id": CLIENT_ID, "redirect_uri": app.redirect_uri, **more}


def answered(answer: httpx.Response) -> dict[str, str]:
    """Give what a redirect to the callback carries."""
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    return {name: values[0] for name, values in query.items()}


async def code(web: httpx.AsyncClient, sandbox: Sandbox, company: int = 0, user: int = 0) -> str:
    form = asked(sandbox, decision="allow", account=account(sandbox, company, user))
    return answered(await web.post("/oauth/authorize", data=form))["code"]


async def token(web: httpx.AsyncClient, auth: Any = BASIC, **form: str) -> httpx.Response:
    return await web.post("/oauth/token", data=form, auth=auth)


async def exchange(web: httpx.AsyncClient, sandbox: Sandbox, given: str, **more: str) -> httpx.Response:
    redirect = {"redirect_uri": sandbox.oauth.apps[CLIENT_ID].redirect_uri}
    return await token(web, **{"grant_type": "authorization_code", "code": given, **redirect, **more})


async def install(web: httpx.AsyncClient, sandbox: Sandbox, company: int = 0, user: int = 0) -> dict[str, Any]:
    answer = await exchange(web, sandbox, await code(web, sandbox, company, user))
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def refresh(web: httpx.AsyncClient, refresh_token: str) -> httpx.Response:
    return await token(web, grant_type="refresh_token", refresh_token=refresh_token)


async def me(web: httpx.AsyncClient, tokens: dict[str, Any]) -> httpx.Response:
    return await web.get("/v1/users/me", headers={"authorization": f"Bearer {tokens['access_token']}"})


async def switch(web: httpx.AsyncClient, **switches: Any) -> None:
    assert (await web.post("/_sandbox/oauth", json=switches)).is_success


# Consent


async def test_consent_page_names_the_app_its_scopes_and_every_account(
    web: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    page = await web.get("/oauth/authorize", params=asked(sandbox, state='a"b&c'))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "deals:full" in page.text
    assert len(re.findall("<option", page.text)) == 8
    assert 'value="a&quot;b&amp;c"' in page.text


async def test_allowing_and_refusing_go_back_with_the_state(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    form = asked(sandbox, state='a"b&c', account=account(sandbox))
    allowed = answered(await web.post("/oauth/authorize", data={**form, "decision": "allow"}))
    refused = answered(await web.post("/oauth/authorize", data={**form, "decision": "deny"}))
    assert (set(allowed), allowed["state"]) == ({"app", "code", "state"}, 'a"b&c')
    assert refused == {"app": "1", "error": "user_denied", "state": 'a"b&c'}


@pytest.mark.parametrize("wrong", [{"client_id": "nobody"}, {"redirect_uri": "https://evil.example/"}])
async def test_consent_goes_to_nobody_but_the_registered_callback(
    web: httpx.AsyncClient, sandbox: Sandbox, wrong: dict[str, str]
) -> None:
    for method in ("GET", "POST"):
        given = {**asked(sandbox), "decision": "allow", **wrong}
        answer = await web.request(method, "/oauth/authorize", params=given if method == "GET" else None, data=given)
        assert answer.status_code == 400
        assert "location" not in answer.headers


# Tokens


async def test_code_becomes_tokens_of_that_company_and_user(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    second = list(sandbox.companies.values())[1]
    tokens = await install(web, sandbox, company=1, user=2)
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token", "scope", "api_domain"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3599)
    assert tokens["scope"].split(",")[:2] == ["base", "deals:full"]
    assert tokens["api_domain"] == f"{web.base_url}/c/{second.domain}".replace("//c", "/c")
    mine = (await me(web, tokens)).json()["data"]
    assert (mine["company_id"], mine["id"]) == (second.id, second.users[2]["id"])
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert (await web.get(f"{tokens['api_domain']}/api/v2/deals", headers=bearer)).status_code == 200
    other = tokens["api_domain"].replace(second.domain, sandbox.company.domain)
    assert (await web.get(f"{other}/api/v2/deals", headers=bearer)).status_code == 401


async def test_code_works_once(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    given = await code(web, sandbox)
    answers = [await exchange(web, sandbox, given) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 400]
    assert answers[1].json()["message"].startswith("Invalid grant: authorization_code is invalid")


async def test_code_lives_five_minutes(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    young, old = await code(web, sandbox), await code(web, sandbox, user=1)
    sandbox.clock.advance(299)
    assert (await exchange(web, sandbox, young)).status_code == 200
    sandbox.clock.advance(2)
    late = await exchange(web, sandbox, old)
    assert late.json()["message"].startswith("Invalid grant: authorization_code has expired")


async def test_access_token_lives_an_hour(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox)
    sandbox.clock.advance(HOUR - 1)
    assert (await me(web, tokens)).status_code == 200
    sandbox.clock.advance(2)
    late = await me(web, tokens)
    assert (late.status_code, late.json()["error"]) == (401, "Invalid token: access_token is invalid")
    fresh = (await refresh(web, tokens["refresh_token"])).json()
    assert (await me(web, fresh)).status_code == 200


async def test_access_tokens_can_be_let_expire_at_once(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox)
    await web.post("/_sandbox/oauth/expire")
    assert (await me(web, tokens)).status_code == 401


async def test_refreshing_starts_the_sixty_days_again(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox)
    for _ in range(3):
        sandbox.clock.advance(59 * DAY)
        assert (await refresh(web, tokens["refresh_token"])).json()["refresh_token"] == tokens["refresh_token"]
    sandbox.clock.advance(60 * DAY + 1)
    dead = await refresh(web, tokens["refresh_token"])
    assert (dead.status_code, dead.json()["error"]) == (400, "invalid_grant")
    assert dead.json()["message"].startswith("Invalid grant: refresh_token is invalid")


async def test_rotation_gives_a_new_refresh_token_and_kills_the_old(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await switch(web, rotation=True)
    first = (await install(web, sandbox))["refresh_token"]
    second = (await refresh(web, first)).json()["refresh_token"]
    assert first != second
    assert (await refresh(web, first)).status_code == 400
    assert (await refresh(web, second)).status_code == 200


@pytest.mark.parametrize("dies", [False, True])
async def test_old_access_token_dies_at_a_refresh_only_where_asked(
    web: httpx.AsyncClient, sandbox: Sandbox, dies: bool
) -> None:
    await switch(web, old_access_dies=dies)
    tokens = await install(web, sandbox)
    await refresh(web, tokens["refresh_token"])
    assert (await me(web, tokens)).status_code == (401 if dies else 200)


async def test_two_refreshes_at_once_can_fail_for_the_second(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    refresh_token = (await install(web, sandbox))["refresh_token"]
    both = [await asyncio.gather(*(refresh(web, refresh_token) for _ in range(2)))]
    await switch(web, parallel_failure=True)
    both.append(await asyncio.gather(*(refresh(web, refresh_token) for _ in range(2))))
    assert [sorted(one.status_code for one in pair) for pair in both] == [[200, 200], [200, 400]]


async def test_scopes_can_be_separated_by_spaces(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await switch(web, scope_separator=" ")
    assert (await install(web, sandbox))["scope"].startswith("base deals:full ")


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"code": "x"}, "Missing parameter: grant_type"),
        ({"grant_type": "password"}, "Unsupported grant type"),
        ({"grant_type": "authorization_code", "code": "x"}, "Invalid request: redirect_uri"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "Invalid grant: refresh_token is invalid"),
    ],
)
async def test_wrong_token_requests_say_what_is_wrong(web: httpx.AsyncClient, form: dict[str, str], says: str) -> None:
    answer = await token(web, **form)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(says)


async def test_clients_must_say_who_they_are(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": (await install(web, sandbox))["refresh_token"]}
    nobody = await token(web, auth=None, **form)
    wrong = await token(web, auth=(CLIENT_ID, "wrong"), **form)
    in_body = await token(web, auth=None, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, **form)
    assert nobody.json()["message"].startswith("Invalid client: cannot retrieve client credentials")
    assert wrong.json()["message"].startswith("Invalid client: client is invalid")
    assert in_body.status_code == 200


async def test_token_requests_are_forms_and_nothing_else(web: httpx.AsyncClient) -> None:
    answer = await web.post("/oauth/token", json={"grant_type": "refresh_token"}, auth=BASIC)
    assert answer.json()["message"].startswith("Invalid request: content must be application/x-www-form-urlencoded")


async def test_missing_scope_is_told_as_such(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await web.post("/_sandbox/oauth/app", json={"client_id": CLIENT_ID, "scopes": ["base", "deals:read"]})
    bearer = {"authorization": f"Bearer {(await install(web, sandbox))['access_token']}"}
    assert (await web.get("/api/v2/deals", headers=bearer)).status_code == 200
    for method, path in (("POST", "/api/v2/deals"), ("GET", "/v1/webhooks"), ("GET", "/api/v2/products")):
        refused = await web.request(method, path, headers=bearer)
        assert (refused.status_code, refused.json()["error"]) == (403, "Scope and URL mismatch")


async def test_old_grant_keeps_its_scopes_until_it_is_given_again(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox)
    await web.post("/_sandbox/oauth/app", json={"client_id": CLIENT_ID, "scopes": ["base"]})
    assert "deals:full" in (await refresh(web, tokens["refresh_token"])).json()["scope"]
    assert (await install(web, sandbox))["scope"] == "base"


async def test_token_of_a_deactivated_user_is_dead(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox, user=1)
    sandbox.change("user", sandbox.company.users[1]["id"], active_flag=False)
    assert (await me(web, tokens)).status_code == 401


# The end of a grant


async def test_revoked_access_token_dies_alone(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox)
    answer = await web.post("/oauth/revoke", data={"token": tokens["access_token"]}, auth=BASIC)
    assert answer.status_code == 200
    assert (await me(web, tokens)).status_code == 401
    assert (await refresh(web, tokens["refresh_token"])).status_code == 200


async def test_revoked_refresh_token_takes_everything_with_it(
    web: httpx.AsyncClient, sandbox: Sandbox, receiver: Receiver
) -> None:
    tokens = await install(web, sandbox)
    await hook(web, tokens, receiver)
    await web.post("/oauth/revoke", data={"token": tokens["refresh_token"]}, auth=BASIC)
    assert (await me(web, tokens)).status_code == 401
    assert (await refresh(web, tokens["refresh_token"])).status_code == 400
    assert (await web.get("/_sandbox/webhooks")).json() == []


async def hook(web: httpx.AsyncClient, tokens: dict[str, Any], receiver: Receiver) -> dict[str, Any]:
    body = {"subscription_url": receiver.url, "event_action": "*", "event_object": "*", "name": "app"}
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    made: dict[str, Any] = (await web.post("/v1/webhooks", json=body, headers=bearer)).json()["data"]
    return made


async def test_webhooks_of_an_app_are_its_own(web: httpx.AsyncClient, sandbox: Sandbox, receiver: Receiver) -> None:
    tokens = await install(web, sandbox)
    made = await hook(web, tokens, receiver)
    assert made["type"] == "application"
    async with httpx.AsyncClient(base_url=web.base_url, headers={"x-api-token": sandbox.api_token}) as api:
        general = await subscribe(api, receiver)
        assert [one["id"] for one in await data(api, "GET", "/v1/webhooks")] == [general["id"]]
        assert (await api.delete(f"/v1/webhooks/{made['id']}")).status_code == 404
        await data(api, "PATCH", "/api/v2/deals/1", {"title": "New"})
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert [one["id"] for one in (await web.get("/v1/webhooks", headers=bearer)).json()["data"]] == [made["id"]]
    types = {body["meta"]["webhook_id"]: body["meta"]["type"] for body in await receiver.until(2)}
    assert types == {str(made["id"]): "application", str(general["id"]): "general"}


@pytest.mark.parametrize("as_text", [False, True])
async def test_uninstalling_tells_the_callback_and_ends_that_users_grant_alone(
    web: httpx.AsyncClient, sandbox: Sandbox, receiver: Receiver, as_text: bool
) -> None:
    await switch(web, ids_as_text=as_text)
    gone, kept = await install(web, sandbox), await install(web, sandbox, user=1)
    await hook(web, gone, receiver)
    await hook(web, kept, receiver)
    user_id = sandbox.company.admin["id"]
    done = await web.post("/_sandbox/oauth/uninstall", json={"company": sandbox.company.domain, "user_id": user_id})
    assert done.json() == {"uninstalled": True}
    headers, body = receiver.got[-1]
    assert headers["authorization"] == "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    text = str if as_text else int
    assert body.pop("timestamp") == sandbox.clock.stamp()
    assert body == {"client_id": CLIENT_ID, "company_id": text(sandbox.company.id), "user_id": text(user_id)}
    assert [(await me(web, one)).status_code for one in (gone, kept)] == [401, 200]
    assert len((await web.get("/_sandbox/webhooks")).json()) == 1
    again = await web.post("/_sandbox/oauth/uninstall", json={"user_id": user_id})
    assert again.json() == {"uninstalled": False}


async def test_failing_callback_does_not_stop_an_uninstall(
    web: httpx.AsyncClient, sandbox: Sandbox, receiver: Receiver
) -> None:
    tokens = await install(web, sandbox)
    receiver.status = 500
    assert (await web.post("/_sandbox/oauth/uninstall", json={})).json() == {"uninstalled": True}
    assert (await me(web, tokens)).status_code == 401


# Marketplace


async def test_marketplace_installs_without_a_state_and_uninstalls(
    web: httpx.AsyncClient, sandbox: Sandbox, receiver: Receiver
) -> None:
    assert "Install" in (await web.get("/marketplace")).text
    form = {"client_id": CLIENT_ID, "account": account(sandbox, 1)}
    back = answered(await web.post("/marketplace/install", data=form))
    assert set(back) == {"app", "code"}
    tokens = (await exchange(web, sandbox, back["code"])).json()
    assert (await me(web, tokens)).status_code == 200
    assert "Uninstall" in (await web.get("/marketplace")).text
    assert (await web.post("/marketplace/uninstall", data=form)).status_code == 200
    assert (await me(web, tokens)).status_code == 401
    assert receiver.got[-1][1]["company_id"] == list(sandbox.companies.values())[1].id


async def test_grants_are_listed_without_their_tokens(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    tokens = await install(web, sandbox)
    await refresh(web, tokens["refresh_token"])
    told = await web.get("/_sandbox/oauth")
    assert told.json()["grants"] == [
        {
            "client_id": CLIENT_ID,
            "company": sandbox.company.domain,
            "user_id": sandbox.company.admin["id"],
            "refreshes": 1,
        }
    ]
    assert tokens["refresh_token"] not in told.text
    assert CLIENT_SECRET not in told.text


async def test_maintenance_answers_503_before_consent(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await web.post("/_sandbox/faults", json={"kind": "503", "path": "/oauth/authorize"})
    assert (await web.get("/oauth/authorize", params=asked(sandbox))).status_code == 503


async def test_grants_survive_a_restart(web: httpx.AsyncClient, sandbox: Sandbox, tmp_path: Any) -> None:
    from pipeflow.sandbox.snapshot import Saver, restore

    tokens = await install(web, sandbox, company=1)
    Saver(sandbox, tmp_path / "state.json").save()
    again = Sandbox(seed=1, companies=2, deals=6, scale=0)
    restore(again, tmp_path / "state.json")
    async with opened(again) as api, httpx.AsyncClient(base_url=api.base_url, verify=PLAIN) as other:
        assert (await me(other, tokens)).status_code == 200
        assert (await refresh(other, tokens["refresh_token"])).status_code == 200
