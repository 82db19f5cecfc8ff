"""OAuth by its public names, against the sandbox's OAuth server over real HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pipeflow.client import Client, OAuth2Configuration, Token
from pipeflow.errors import (
    BadRequest,
    ClientError,
    ConfigError,
    ConnectionFailed,
    NotConnected,
    RateLimited,
    ResponseError,
    ServerError,
    UnexpectedBody,
)
from pipeflow.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox, running

CALLBACK = "http://127.0.0.1:8000/oauth/callback"
HOUR = 3600.0
TOKENS = ("access_token", "refresh_token")


async def no_sleep(seconds: float) -> None:
    """Wait for nothing."""


class Clock:
    """A time of day that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class App:
    """An app at the sandbox, and what its `on_token_update` was told."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.sandbox = sandbox
        self.url = url
        self.clock = Clock()
        self.told: list[Token] = []
        self.oauth2 = self.configuration(on_token_update=self.told.append)

    def configuration(
        self, *, secret: str = CLIENT_SECRET, on_token_update: Callable[[Token], None] | None = None
    ) -> OAuth2Configuration:
        return OAuth2Configuration(
            CLIENT_ID,
            secret,
            CALLBACK,
            host=self.url,
            clock=self.clock,
            sleep=no_sleep,
            on_token_update=on_token_update,
        )

    def code(self) -> str:
        oauth, company = self.sandbox.oauth, self.sandbox.company
        return oauth.new_code(oauth.apps[CLIENT_ID], company.domain, company.admin["id"])

    async def authorized(self) -> OAuth2Configuration:
        await self.oauth2.authorize(self.code())
        self.told.clear()
        return self.oauth2

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.sandbox.clock.advance(seconds)

    @property
    def refreshes(self) -> int:
        return sum(grant.refreshes for grant in self.sandbox.oauth.grants)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    sandbox = Sandbox(seed=1)
    async with running(sandbox) as url:
        yield App(sandbox, url)


def test_consent_page_is_asked_with_escaped_arguments_and_a_state() -> None:
    oauth2 = OAuth2Configuration("id &1", "secret", "https://you.example/back?a=1&b=2", state="s/ä")
    url = urlsplit(oauth2.authorization_url)
    assert (url.scheme, url.netloc, url.path) == ("https", "oauth.pipedrive.com", "/oauth/authorize")
    asked = parse_qs(url.query, strict_parsing=True)
    assert asked == {"client_id": ["id &1"], "redirect_uri": ["https://you.example/back?a=1&b=2"], "state": ["s/ä"]}


def test_state_cannot_be_guessed() -> None:
    states = {OAuth2Configuration("id", "secret", "https://you.example").state for _ in range(20)}
    assert len(states) == 20
    assert min(map(len, states)) >= 32


@pytest.mark.parametrize("empty", [("", "s", "r"), ("i", "", "r"), ("i", "s", "")])
def test_empty_arguments_are_refused_at_once(empty: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="is empty"):
        OAuth2Configuration(*empty)


async def test_code_becomes_a_token_that_calls_use_at_the_companys_address(app: App) -> None:
    token = await app.oauth2.authorize(app.code())
    assert app.oauth2.api_domain == app.oauth2.base_path == token["api_domain"]
    assert app.oauth2.api_domain.endswith(f"/c/{app.sandbox.company.domain}")
    assert app.oauth2.expires_at == token["expires_at"] == (app.clock.now + 3599) * 1000
    assert "deals:full" in token.scopes
    assert (await Client(app.oauth2).users.get_current_user()).company_id == app.sandbox.company.id


async def test_token_is_told_once_after_authorising_and_once_after_each_refresh(app: App) -> None:
    first = await app.oauth2.authorize(app.code())
    second = await app.oauth2.token_refresh()
    assert app.told == [first, second]
    assert first["access_token"] != second["access_token"]


async def test_async_listener_is_awaited_before_the_token_is_given(app: App) -> None:
    saved: list[str] = []

    async def save(token: Token) -> None:
        await asyncio.sleep(0)
        saved.append(token["access_token"])

    app.oauth2.on_token_update = save
    token = await app.oauth2.authorize(app.code())
    assert saved == [token["access_token"]]


async def test_listener_that_fails_is_heard_and_the_token_is_kept(app: App) -> None:
    def fail(token: Token) -> None:
        raise OSError("disk full")

    oauth2 = await app.authorized()
    oauth2.on_token_update = fail
    with pytest.raises(OSError, match="disk full"):
        await oauth2.token_refresh()
    assert await oauth2.get_access_token()
    assert (await Client(oauth2).users.get_current_user()).id == app.sandbox.company.admin["id"]
    assert app.refreshes == 1


async def test_stored_token_comes_back_through_json_and_tells_nobody(app: App) -> None:
    stored = json.dumps(await app.oauth2.authorize(app.code()))
    told: list[Token] = []
    again = app.configuration(on_token_update=told.append)
    again.update_token(json.loads(stored))
    assert (again.expires_at, again.api_domain) == (app.oauth2.expires_at, app.oauth2.api_domain)
    assert (await Client(again).users.get_current_user()).id == app.sandbox.company.admin["id"]
    assert told == []


async def test_token_is_refreshed_minutes_before_it_ends(app: App) -> None:
    oauth2 = await app.authorized()
    app.pass_time(HOUR - 320)
    await oauth2.get_access_token()
    assert app.refreshes == 0
    app.pass_time(30)
    await oauth2.get_access_token()
    assert app.refreshes == 1


async def test_hundred_calls_with_an_expired_token_make_one_refresh(app: App) -> None:
    app.sandbox.oauth.switches.parallel_failure = app.sandbox.oauth.switches.rotation = True
    client = Client(await app.authorized())
    app.pass_time(2 * HOUR)
    users = await asyncio.gather(*(client.users.get_current_user() for _ in range(100)))
    assert {user.id for user in users} == {app.sandbox.company.admin["id"]}
    assert (app.refreshes, len(app.told)) == (1, 1)


async def test_hundred_calls_refused_at_once_make_one_refresh(app: App) -> None:
    app.sandbox.oauth.switches.parallel_failure = app.sandbox.oauth.switches.rotation = True
    client = Client(await app.authorized())
    app.sandbox.oauth.expire_access()
    await asyncio.gather(*(client.users.get_current_user() for _ in range(100)))
    assert (app.refreshes, len(app.told)) == (1, 1)


async def test_cancelled_caller_does_not_take_the_refresh_from_the_others(app: App) -> None:
    app.sandbox.oauth.switches.delay = 0.05
    oauth2 = await app.authorized()
    first, second = asyncio.create_task(oauth2.token_refresh()), asyncio.create_task(oauth2.token_refresh())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)["access_token"]
    assert app.refreshes == 1


async def test_refused_token_is_renewed_and_the_call_replayed_once(app: App) -> None:
    client = Client(await app.authorized())
    app.sandbox.oauth.expire_access()
    with client.capture() as sent:
        await client.deals.add_deal(title="Once")
    assert [answer.status for answer in sent] == [401, 201]
    assert app.refreshes == 1


async def test_rotated_refresh_token_is_the_one_used_next(app: App) -> None:
    app.sandbox.oauth.switches.rotation = True
    oauth2 = await app.authorized()
    tokens = [await oauth2.token_refresh() for _ in range(3)]
    assert len({token["refresh_token"] for token in tokens}) == 3
    assert app.told == tokens


async def test_dead_grant_is_not_connected_and_never_asked_again(app: App) -> None:
    client = Client(await app.authorized())
    app.sandbox.oauth.revoke_user(CLIENT_ID, app.sandbox.company.domain, app.sandbox.company.admin["id"])
    for _ in range(3):
        with pytest.raises(NotConnected, match="authorization_url"):
            await client.users.get_current_user()
    assert len(app.sandbox.journal.listed(path="/oauth/token")) == 2  # the code's exchange, and one refresh


async def test_new_authorisation_revives_a_dead_grant(app: App) -> None:
    oauth2 = await app.authorized()
    app.sandbox.oauth.revoke_user(CLIENT_ID, app.sandbox.company.domain, app.sandbox.company.admin["id"])
    with pytest.raises(NotConnected):
        await oauth2.token_refresh()
    await oauth2.authorize(app.code())
    assert (await Client(oauth2).users.get_current_user()).id == app.sandbox.company.admin["id"]


async def test_without_a_token_the_user_must_first_be_sent_to_the_consent_page(app: App) -> None:
    with pytest.raises(NotConnected, match="authorization_url"):
        await Client(app.oauth2).users.get_current_user()


async def test_code_works_once(app: App) -> None:
    code = app.code()
    await app.oauth2.authorize(code)
    with pytest.raises(NotConnected, match="authorization_code is invalid"):
        await app.oauth2.authorize(code)
    assert await app.oauth2.get_access_token()


async def test_wrong_secret_is_an_error_of_the_settings(app: App) -> None:
    with pytest.raises(ConfigError, match="Developer Hub"):
        await app.configuration(secret="wrong").authorize(app.code())


async def test_revoking_the_grant_leaves_nothing_to_call_with(app: App) -> None:
    oauth2 = await app.authorized()
    await oauth2.revoke()
    assert app.sandbox.oauth.grants == []
    with pytest.raises(NotConnected):
        await oauth2.get_access_token()


async def test_revoking_the_access_token_leaves_the_grant(app: App) -> None:
    oauth2 = await app.authorized()
    await oauth2.revoke("access_token")
    await oauth2.get_access_token()
    assert app.refreshes == 1


@pytest.mark.parametrize("fault", [{"kind": "503"}, {"kind": "html"}, {"kind": "drop"}])
async def test_early_refresh_that_fails_does_not_fail_the_call(app: App, fault: dict[str, str]) -> None:
    client = Client(await app.authorized())
    app.pass_time(HOUR - 120)
    app.sandbox.faults.add(**fault, path="/oauth/token")
    assert await client.users.get_current_user()
    assert await client.users.get_current_user()
    app.pass_time(240)
    with pytest.raises(ClientError) as caught:
        await client.users.get_current_user()
    assert caught.value.path == "/oauth/token"


async def test_api_token_wins_where_both_are_set(app: App) -> None:
    client = Client(await app.authorized(), api_token=app.sandbox.api_token)
    await client.users.get_current_user()
    headers = app.sandbox.journal.listed(path="/users/me")[-1]["headers"]
    assert "x-api-token" in headers
    assert "authorization" not in headers


def token_from(**answer: object) -> OAuth2Configuration:
    """A configuration whose OAuth server answers with this token."""
    body = {"access_token": "acc-ess-1", "refresh_token": "ref-resh-1", "expires_in": 3600, **answer}
    backend = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    return OAuth2Configuration("id", "secret", "https://you.example", backend=backend)


@pytest.mark.parametrize(
    "api_domain",
    [
        "https://evil.example",
        "https://pipedrive.com.evil.example",
        "https://evilpipedrive.com",
        "http://acme.pipedrive.com",
        "https://acme.pipedrive.com@evil.example",
        "https://user@acme.pipedrive.com",
        "https://[",
    ],
)
async def test_token_is_never_kept_for_an_address_that_is_not_pipedrives(api_domain: str) -> None:
    oauth2 = token_from(api_domain=api_domain)
    with pytest.raises(UnexpectedBody, match="api_domain"):
        await oauth2.authorize("the-code")
    with pytest.raises(ValueError, match="api_domain"):
        oauth2.update_token({"access_token": "x", "api_domain": api_domain})
    assert oauth2.base_url == "https://api.pipedrive.com"


async def test_address_follows_a_company_that_changed_its_domain() -> None:
    oauth2 = token_from(api_domain="https://acme-new.pipedrive.com/")
    oauth2.update_token({"access_token": "a", "refresh_token": "r", "api_domain": "https://acme.pipedrive.com"})
    await oauth2.token_refresh()
    assert oauth2.base_url == "https://acme-new.pipedrive.com"


async def test_answer_without_a_refresh_token_keeps_the_old_one() -> None:
    oauth2 = token_from(refresh_token=None)
    oauth2.update_token({"access_token": "a", "refresh_token": "kept-as-it-was"})
    assert (await oauth2.token_refresh())["refresh_token"] == "kept-as-it-was"


@pytest.mark.parametrize("life", ["soon", None, "nan", [], "inf"])
async def test_token_whose_life_is_not_told_is_used_until_it_is_refused(life: object) -> None:
    oauth2 = token_from(expires_in=life)
    assert (await oauth2.authorize("c"))["access_token"] == await oauth2.get_access_token()
    assert oauth2.expires_at is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (403, ResponseError), (404, ResponseError), (429, RateLimited), (503, ServerError)],
)
async def test_other_trouble_of_the_oauth_server_is_no_lost_authorisation(
    status: int, kind: type[ResponseError]
) -> None:
    backend = httpx.MockTransport(lambda _: httpx.Response(status, text="<html>sorry</html>"))
    oauth2 = OAuth2Configuration("id", "secret", "https://you.example", backend=backend, sleep=no_sleep)
    oauth2.update_token({"access_token": "a", "refresh_token": "r"})
    with pytest.raises(kind, match=f"POST /oauth/token answered {status}") as caught:
        await oauth2.token_refresh()
    assert type(caught.value) is kind


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"<html>", b'{"access_token": ""}'])
async def test_answer_without_a_token_is_an_error_and_changes_nothing(content: bytes) -> None:
    backend = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    oauth2 = OAuth2Configuration("id", "secret", "https://you.example", backend=backend)
    oauth2.update_token({"access_token": "a", "refresh_token": "r"})
    with pytest.raises(UnexpectedBody):
        await oauth2.token_refresh()
    assert await oauth2.get_access_token() == "a"


async def test_scopes_are_read_with_commas_and_with_spaces() -> None:
    assert (await token_from(scope="base,deals:full").authorize("c")).scopes == {"base", "deals:full"}
    assert (await token_from(scope="base deals:full").authorize("c")).scopes == {"base", "deals:full"}


@pytest.mark.parametrize(("trouble", "tries"), [(httpx.ConnectError("no"), 3), (httpx.ReadTimeout("slow"), 1)])
async def test_refresh_is_posted_again_only_where_it_never_left(trouble: Exception, tries: int) -> None:
    sent: list[httpx.Request] = []

    def fail(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise trouble

    backend = httpx.MockTransport(fail)
    oauth2 = OAuth2Configuration("id", "secret", "https://you.example", backend=backend, sleep=no_sleep)
    oauth2.update_token({"access_token": "a", "refresh_token": "r"})
    with pytest.raises(ConnectionFailed):
        await oauth2.token_refresh()
    assert len(sent) == tries


async def test_no_secret_stands_in_a_repr_message_log_or_url(caplog: pytest.LogCaptureFixture) -> None:
    secrets = ("cl1ent-s3cret", "the-c0de-itself", "acc-ess-t0ken", "1:2:ref-resh-t0ken", "Y2xpZW50", "ref-resh-t0ken")
    sent: list[httpx.Request] = []

    def echo(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        said = f"no: {request.content.decode()} {request.headers.get('authorization')}"
        return httpx.Response(400, json={"error": said})

    oauth2 = OAuth2Configuration("client", secrets[0], "https://you.example", backend=httpx.MockTransport(echo))
    caplog.set_level(logging.DEBUG)
    shown = [repr(oauth2), str(oauth2), oauth2.account]
    with pytest.raises(BadRequest) as refused:
        await oauth2.authorize(secrets[1])
    oauth2.update_token({"access_token": secrets[2], "refresh_token": secrets[3]})
    with pytest.raises(BadRequest) as dead:
        await oauth2.token_refresh()
    for caught in (refused, dead):
        error = caught.value
        shown += [repr(error), str(error), str(error.body), str(error.headers), str(error.account)]
    shown += [repr(oauth2), oauth2.account, repr(Token(access_token=secrets[2])), caplog.text]
    shown += [str(request.url) for request in sent]
    assert [text for text in shown for secret in secrets if secret in text] == []


async def test_whole_life_of_a_token_leaves_no_secret_in_the_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = app.code()
    first = await app.oauth2.authorize(code)
    client = Client(app.oauth2)
    app.sandbox.oauth.expire_access()
    await client.users.get_current_user()
    second = app.told[-1]
    await app.oauth2.revoke()
    secrets = [code, CLIENT_SECRET, *(token[name] for token in (first, second) for name in TOKENS)]
    assert caplog.text
    assert [secret for secret in secrets if secret in caplog.text] == []
