"""The example of the docs, as a browser sees it, with the sandbox as Pipedrive."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from pipeflow.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox, running

DOCS = Path(__file__).parents[2] / "docs"
CALLBACK = "http://127.0.0.1:8000/callback"


def example() -> Any:
    """Import the example's file."""
    spec = importlib.util.spec_from_file_location("oauth_app", DOCS / "examples" / "oauth_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class World:
    """The sandbox, the application, and a person with a browser."""

    def __init__(self, sandbox: Sandbox, url: str, tokens: Path) -> None:
        self.sandbox = sandbox
        self.url = url
        self._tokens = tokens
        self.cookies = httpx.Cookies()

    def app(self) -> Starlette:
        made: Starlette = example().create_app(CLIENT_ID, CLIENT_SECRET, CALLBACK, "session-secret", str(self._tokens))
        return made

    def browser(self, app: Starlette) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000", cookies=self.cookies
        )

    async def decide(self, consent: httpx.Response, decision: str = "allow") -> str:
        """Look at the consent page, decide, and give the address to which Pipedrive sends the browser."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(consent.headers["location"]).query).items()}
        async with httpx.AsyncClient() as pipedrive:
            page = await pipedrive.get(consent.headers["location"])
            assert page.status_code == 200
            answer = await pipedrive.post(f"{self.url}/oauth/authorize", data={**asked, "decision": decision})
        return str(answer.headers["location"])

    async def signed_in(self, browser: httpx.AsyncClient) -> None:
        answer = await browser.get(await self.decide(await browser.get("/")))
        assert (answer.status_code, answer.headers["location"]) == (303, "/")

    @property
    def refreshes(self) -> int:
        return sum(grant.refreshes for grant in self.sandbox.oauth.grants)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    sandbox = Sandbox(seed=1, redirect_uri=CALLBACK)
    sandbox.oauth.switches.rotation = sandbox.oauth.switches.old_access_dies = True
    async with running(sandbox) as url:
        monkeypatch.setenv("PIPEDRIVE_OAUTH_URL", url)
        yield World(sandbox, url, tmp_path / "tokens.db")


def open_titles(sandbox: Sandbox) -> list[str]:
    return [deal["title"] for deal in sandbox.company.living("deal") if deal["status"] == "open"]


async def test_user_without_a_token_goes_through_consent_to_the_deals(world: World) -> None:
    async with world.browser(world.app()) as browser:
        first = await browser.get("/")
        assert first.status_code == 303
        assert first.headers["location"].startswith(f"{world.url}/oauth/authorize?")
        await world.signed_in(browser)
        page = (await browser.get("/")).text
    titles = open_titles(world.sandbox)
    assert titles
    assert [title for title in titles if escape(title) not in page] == []


async def test_deals_are_listed_after_the_token_has_expired(world: World) -> None:
    async with world.browser(world.app()) as browser:
        await world.signed_in(browser)
        world.sandbox.oauth.expire_access()
        assert (await browser.get("/")).status_code == 200
        world.sandbox.oauth.expire_access()
        assert (await browser.get("/")).status_code == 200
    assert world.refreshes == 2


async def test_restarted_application_still_knows_the_user_and_the_rotated_token(world: World) -> None:
    async with world.browser(world.app()) as browser:
        await world.signed_in(browser)
        world.sandbox.oauth.expire_access()
        await browser.get("/")
        world.cookies = browser.cookies
    async with world.browser(world.app()) as browser:
        assert (await browser.get("/")).status_code == 200
        world.sandbox.oauth.expire_access()
        assert (await browser.get("/")).status_code == 200
    assert world.refreshes == 2


async def test_no_comes_back_without_a_token(world: World) -> None:
    async with world.browser(world.app()) as browser:
        answer = await browser.get(await world.decide(await browser.get("/"), "deny"))
        assert answer.status_code == 403
        assert (await browser.get("/")).status_code == 303


async def test_callback_of_somebody_elses_sign_in_is_refused(world: World) -> None:
    app = world.app()
    async with world.browser(app) as attacker, world.browser(app) as victim:
        theirs = await world.decide(await attacker.get("/"))
        await victim.get("/")
        assert (await victim.get(theirs)).status_code == 400
    assert world.sandbox.oauth.grants == []


async def test_install_from_the_marketplace_is_sent_through_our_own_way(world: World) -> None:
    async with world.browser(world.app()) as browser:
        answer = await browser.get("/callback?code=from-the-marketplace")
    assert answer.status_code == 303
    assert "state" in parse_qs(urlsplit(answer.headers["location"]).query)


async def test_user_who_uninstalled_is_asked_again(world: World) -> None:
    async with world.browser(world.app()) as browser:
        await world.signed_in(browser)
        world.sandbox.oauth.grants.clear()
        assert (await browser.get("/")).headers["location"].startswith(world.url)
        await world.signed_in(browser)
        assert (await browser.get("/")).status_code == 200


async def test_disconnecting_uninstalls_the_app(world: World) -> None:
    async with world.browser(world.app()) as browser:
        await world.signed_in(browser)
        await browser.post("/disconnect")
        assert world.sandbox.oauth.grants == []
        assert (await browser.get("/")).status_code == 303


async def test_browser_never_sees_a_token(world: World) -> None:
    async with world.browser(world.app()) as browser:
        await world.signed_in(browser)
        page = await browser.get("/")
        kept = str(browser.cookies.jar) + page.text + str(page.headers)
    (grant,) = world.sandbox.oauth.grants
    assert [token for token in [*grant.access, grant.refresh_token, CLIENT_SECRET] if token in kept] == []


def test_docs_show_the_example_as_it_is() -> None:
    code = (DOCS / "examples" / "oauth_app.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```\n" in (DOCS / "oauth.md").read_text(encoding="utf-8")
