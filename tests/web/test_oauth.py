"""Connecting and uninstalling over real HTTP, against a simulated Pipedrive: what works, and what is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pipeflow.cli.listener import bind, serving
from pipeflow.sandbox import Sandbox, running
from pipeflow.sandbox.sandbox import CLIENT_ID, CLIENT_SECRET
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import Account, EventFilter, Store
from pipeflow.store.connect import Grant
from pipeflow.vault import Vault
from pipeflow.web.app import create_app

from .conftest import basic

KEY = "the key of the tests that connect accounts"
MINUTE = 60


@dataclass
class Site:
    """pipeflow's web half and a simulated Pipedrive, with one clock."""

    url: str
    sandbox: Sandbox
    store: Store
    vault: Vault
    browser: httpx.AsyncClient

    async def consent(self, decision: str = "allow", account: str | None = None) -> httpx.Response:
        """Set out from our page, decide on Pipedrive's, and give what the callback answers."""
        out = await self.browser.get(f"{self.url}/oauth/install")
        asked = {name: values[0] for name, values in parse_qs(urlsplit(out.headers["location"]).query).items()}
        form = {**asked, "decision": decision, "account": account or ""}
        back = await self.browser.post(out.headers["location"].partition("?")[0], data=form)
        return await self.browser.get(back.headers["location"])

    def code(self, user: int = 0) -> str:
        """Let Pipedrive issue a code, as when a user of the first company allows the app."""
        home = self.sandbox.company
        person = list(home.tables["user"].values())[user]
        return self.sandbox.oauth.new_code(self.sandbox.oauth.apps[CLIENT_ID], home.domain, person["id"])

    async def state(self) -> str:
        """Set out from our page and give the state that goes along."""
        out = await self.browser.get(f"{self.url}/oauth/install")
        return parse_qs(urlsplit(out.headers["location"]).query)["state"][0]

    async def uninstall(self, body: Any, authorization: str | None = None) -> httpx.Response:
        """Call the callback as Pipedrive does at an uninstall."""
        headers = {"authorization": authorization or basic(CLIENT_ID, CLIENT_SECRET)}
        return await self.browser.request("DELETE", f"{self.url}/oauth/callback", json=body, headers=headers)

    async def deliver(self, company: int) -> httpx.Response:
        """Deliver an event of a company, as Pipedrive does."""
        return await self.browser.post(
            f"{self.url}/webhooks/{company}",
            json={"meta": {"action": "change", "entity": "deal", "entity_id": "1", "id": "x", "version": "2.0"}},
            auth=self.vault.webhook_credentials(company),
        )

    async def accounts(self) -> list[Account]:
        return await self.store.accounts()

    async def told(self) -> list[str]:
        return [event.name for event in reversed(await self.store.events(EventFilter(limit=0)))]


@asynccontextmanager
async def site_at(path: Path) -> AsyncIterator[Site]:
    listening = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    sandbox = Sandbox(seed=1, companies=2, deals=1, redirect_uri=f"{url}/oauth/callback")
    store = open_store(f"sqlite:///{path}")
    await store.open()
    vault = Vault([KEY])
    async with running(sandbox) as pipedrive, httpx.AsyncClient(trust_env=False) as browser:
        settings = Settings.load(
            api_url=pipedrive,
            oauth_url=pipedrive,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            public_url=url,
            secret_key=KEY,
        )
        app = create_app(store, settings, vault, ready=lambda: True, clock=sandbox.clock.seconds)
        async with serving(app, listening):
            yield Site(url, sandbox, store, vault, browser)
    await store.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_at(tmp_path / "store.db") as made:
        yield made


async def test_consent_connects_the_company_and_user_who_gave_it(site: Site) -> None:
    answer = await site.consent()
    assert answer.status_code == 303
    page = await site.browser.get(answer.headers["location"])
    home = site.sandbox.company
    assert f"{home.name} is connected" in page.text
    (account,) = await site.accounts()
    assert (account.company, account.user_id, account.mode) == (home.id, home.admin["id"], "oauth")
    assert (account.status, account.acting, account.is_admin) == ("connected", True, True)
    assert account.api_domain.endswith(f"/c/{home.domain}")
    assert account.credentials is not None
    assert Grant.opened(site.vault, account.credentials).refresh_token == site.sandbox.oauth.grants[0].refresh_token
    assert await site.told() == ["account.connected"]


async def test_no_code_or_token_stays_in_an_address_or_page(site: Site) -> None:
    answer = await site.consent()
    page = await site.browser.get(answer.headers["location"])
    (grant,) = site.sandbox.oauth.grants
    for secret in (grant.refresh_token, *grant.access, *site.sandbox.oauth.codes):
        assert secret not in answer.headers["location"] + answer.text + page.text
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


async def test_refused_consent_changes_nothing_and_offers_another_try(site: Site) -> None:
    answer = await site.consent("deny")
    assert answer.status_code == 200
    assert "Nothing was connected" in answer.text
    assert 'href="install"' in answer.text
    assert await site.accounts() == []


async def test_an_install_from_the_marketplace_goes_through_our_own_way(site: Site) -> None:
    answer = await site.browser.get(f"{site.url}/oauth/callback", params={"code": site.code()})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{site.url}/oauth/install")
    assert await site.accounts() == []
    assert (await site.consent()).status_code == 303
    assert len(await site.accounts()) == 1


async def test_a_forged_state_is_refused_before_pipedrive_is_asked(site: Site) -> None:
    await site.state()
    forged = Vault(["somebody else's key, long enough to be one"]).sign("oauth-state", "x" * 32, 9e9)
    other = site.vault.sign("oauth-connected", "x" * 32, 9e9)
    for state in (forged, other, "nonsense", "1.2.3", "é.é"):
        answer = await site.browser.get(f"{site.url}/oauth/callback", params={"code": site.code(), "state": state})
        assert answer.status_code == 400
        assert "start again" in answer.text
    assert site.sandbox.journal.listed(path="/oauth/token") == []
    assert await site.accounts() == []


async def test_a_state_is_of_no_use_in_another_browser(site: Site) -> None:
    state = await site.state()
    async with httpx.AsyncClient(trust_env=False) as other:
        await other.get(f"{site.url}/oauth/install")
        answer = await other.get(f"{site.url}/oauth/callback", params={"code": site.code(), "state": state})
    assert answer.status_code == 400
    assert await site.accounts() == []


async def test_a_state_ends_after_five_minutes(site: Site) -> None:
    state = await site.state()
    site.sandbox.clock.advance(5 * MINUTE + 1)
    answer = await site.browser.get(f"{site.url}/oauth/callback", params={"code": site.code(), "state": state})
    assert answer.status_code == 400
    assert await site.accounts() == []


async def test_a_replayed_code_connects_nobody(site: Site) -> None:
    state, code = await site.state(), site.code()
    first = await site.browser.get(f"{site.url}/oauth/callback", params={"code": code, "state": state})
    before = await site.accounts()
    second = await site.browser.get(f"{site.url}/oauth/callback", params={"code": code, "state": state})
    assert (first.status_code, second.status_code) == (303, 400)
    assert await site.accounts() == before
    assert await site.told() == ["account.connected"]


@pytest.mark.parametrize("trouble", [("503", "/oauth/token"), ("429", "/oauth/token"), ("daily", "/users/me")])
async def test_maintenance_is_said_and_a_later_try_works(site: Site, trouble: tuple[str, str]) -> None:
    kind, path = trouble
    site.sandbox.faults.add(kind=kind, path=path, retry_after="60" if kind == "429" else None)
    answer = await site.consent()
    assert answer.status_code == 503
    assert "try again in a few minutes" in answer.text
    assert "retry-after" in answer.headers
    site.sandbox.faults.clear()
    assert (await site.consent()).status_code == 303


async def test_a_store_that_is_down_is_maintenance_too(site: Site) -> None:
    await site.store.close()
    answer = await site.consent()
    assert answer.status_code == 503
    assert "try again in a few minutes" in answer.text
    body = {"client_id": CLIENT_ID, "company_id": 1, "user_id": 1}
    assert (await site.uninstall(body)).status_code == 503


async def test_wrong_credentials_of_the_app_are_not_the_visitors_fault(site: Site) -> None:
    site.sandbox.oauth.apps[CLIENT_ID].client_secret = "changed in Developer Hub"
    answer = await site.consent()
    assert answer.status_code == 500
    assert "not your fault" in answer.text
    assert CLIENT_SECRET not in answer.text


async def test_two_users_of_a_company_and_two_companies_are_accounts_of_their_own(site: Site) -> None:
    first, second = site.sandbox.companies.values()
    users = [one for one in first.users if one["active_flag"]][:2]
    for account in (f"{first.domain}/{users[1]['id']}", f"{first.domain}/{users[0]['id']}", f"{second.domain}/0"):
        assert (await site.consent(account=account)).status_code == 303
    found = [(account.company, account.acting) for account in await site.accounts()]
    assert sorted(found) == sorted([(first.id, False), (first.id, True), (second.id, True)])


@pytest.mark.parametrize("as_text", [False, True])
async def test_an_uninstall_ends_that_user_of_that_company_alone(site: Site, as_text: bool) -> None:
    first, second = site.sandbox.companies.values()
    users = [one["id"] for one in first.users if one["active_flag"]][:2]
    for account in (f"{first.domain}/{users[0]}", f"{first.domain}/{users[1]}", f"{second.domain}/0"):
        await site.consent(account=account)
    ids: dict[str, Any] = {"company_id": first.id, "user_id": users[0]}
    body = {name: str(value) if as_text else value for name, value in ids.items()}
    answer = await site.uninstall({"client_id": CLIENT_ID, **body, "timestamp": "2026-11-24T10:00:00.000Z"})
    assert answer.status_code == 204
    ended = [(one.company, one.user_id) for one in await site.accounts() if one.status == "disconnected"]
    assert ended == [(first.id, users[0])]
    assert all(one.credentials is None for one in await site.accounts() if one.status == "disconnected")
    assert [one.user_id for one in await site.accounts() if one.company == first.id and one.acting] == [users[1]]
    assert (await site.told())[-1] == "account.disconnected"


@pytest.mark.parametrize(
    "authorization",
    [
        basic(CLIENT_ID, "guessed"),
        basic("other", CLIENT_SECRET),
        "Basic " + b64encode(b"no colon").decode(),
        "Basic é",
        f"Bearer {b64encode(f'{CLIENT_ID}:{CLIENT_SECRET}'.encode()).decode()}",
        "nothing",
    ],
)
async def test_a_forged_uninstall_is_refused(site: Site, authorization: str) -> None:
    await site.consent()
    (account,) = await site.accounts()
    body = {"client_id": CLIENT_ID, "company_id": account.company, "user_id": account.user_id}
    headers = [(b"authorization", authorization.encode("utf-8"))]
    answer = await site.browser.request("DELETE", f"{site.url}/oauth/callback", json=body, headers=headers)
    assert answer.status_code == 401
    assert await site.accounts() == [account]


@pytest.mark.parametrize(
    "body",
    [[], None, "text", {}, {"company_id": 1}, {"company_id": "x", "user_id": 1}, {"company_id": -1, "user_id": 2.5}],
)
async def test_an_uninstall_that_names_nobody_ends_nobody(site: Site, body: Any) -> None:
    await site.consent()
    assert (await site.uninstall(body)).status_code == 400
    assert [account.status for account in await site.accounts()] == ["connected"]


async def test_an_uninstall_for_another_app_ends_nobody(site: Site) -> None:
    await site.consent()
    (account,) = await site.accounts()
    body = {"client_id": "another", "company_id": account.company, "user_id": account.user_id}
    assert (await site.uninstall(body)).status_code == 400
    assert (await site.accounts())[0].status == "connected"


async def test_an_uninstall_of_somebody_unknown_is_answered_and_ends_nobody(site: Site) -> None:
    await site.consent()
    assert (await site.uninstall({"company_id": 1, "user_id": 2})).status_code == 204
    assert (await site.accounts())[0].status == "connected"


async def test_deliveries_of_an_uninstalled_company_are_refused(site: Site) -> None:
    await site.consent()
    (account,) = await site.accounts()
    assert (await site.deliver(account.company)).status_code == 200
    await site.uninstall({"company_id": account.company, "user_id": account.user_id})
    assert (await site.deliver(account.company)).status_code == 404


async def test_deliveries_of_a_company_are_taken_in_from_the_moment_it_is_connected(site: Site) -> None:
    company = site.sandbox.company.id
    assert (await site.deliver(company)).status_code == 404
    await site.consent()
    assert (await site.deliver(company)).status_code == 200


async def test_a_delivery_with_another_companys_credentials_is_refused_and_leaves_nothing(site: Site) -> None:
    first, second = site.sandbox.companies.values()
    for home in (first, second):
        await site.consent(account=f"{home.domain}/0")
    before = await site.told()
    meta = {"action": "change", "entity": "deal", "entity_id": "1", "id": "x", "version": "2.0"}
    for key, claimed, credentials, status in (
        (first.id, first.id, second.id, 401),
        (first.id, second.id, first.id, 403),
        (second.id, first.id, first.id, 401),
    ):
        answer = await site.browser.post(
            f"{site.url}/webhooks/{key}",
            json={"meta": {**meta, "company_id": str(claimed)}, "data": {"id": 1}},
            auth=site.vault.webhook_credentials(credentials),
        )
        assert answer.status_code == status
    assert await site.told() == before


async def test_connecting_again_after_an_uninstall_works(site: Site) -> None:
    await site.consent()
    (account,) = await site.accounts()
    await site.uninstall({"company_id": account.company, "user_id": account.user_id})
    await site.consent()
    (again,) = await site.accounts()
    assert (again.id, again.status, again.acting) == (account.id, "connected", True)


async def test_behind_a_path_of_a_proxy_everything_stays_below_it(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await store.open()
    given = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "public_url": "https://you.example/crm"}
    app = create_app(store, Settings.load(**given), Vault([KEY]), ready=lambda: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://you.example") as browser:
        out = await browser.get("/oauth/install")
        asked = parse_qs(urlsplit(out.headers["location"]).query)
        assert asked["redirect_uri"] == ["https://you.example/crm/oauth/callback"]
        assert "Path=/crm/oauth;" in out.headers["set-cookie"]
        assert {"HttpOnly", "Secure", "SameSite=lax"} <= set(out.headers["set-cookie"].split("; "))
        back = await browser.get("/oauth/callback?code=x")
        assert back.headers["location"] == "https://you.example/crm/oauth/install"
    await store.close()


async def test_without_an_app_there_are_no_such_pages(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await store.open()
    app = create_app(store, Settings.load(), Vault([KEY]), ready=lambda: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as browser:
        assert (await browser.get("/oauth/install")).status_code == 404
        assert (await browser.request("DELETE", "/oauth/callback")).status_code == 404
    await store.close()
