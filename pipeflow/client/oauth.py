"""OAuth 2.0 at Pipedrive: consent, tokens and their renewal. Imports auth and errors; the transport when it asks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import logging
import math
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit

from pipeflow import errors
from pipeflow.client.auth import TIMEOUT, default_root
from pipeflow.client.refusals import wait_of

if TYPE_CHECKING:
    from pipeflow.client.transport import Backend, Reply

log = logging.getLogger("pipeflow.client")

OAUTH_HOST = "https://oauth.pipedrive.com"
EARLY_SECONDS = 300.0
"""A token is refreshed this long before it ends, or halfway through its life where that is shorter."""
AGAIN_SECONDS = 30.0
"""After an early refresh that failed, the token that still lives is used for so long before the next try."""


class Token(dict[str, Any]):
    """A token as Pipedrive sends it, with `expires_at` (ms since 1970) added. A mapping: store it as JSON.

    `access_token`, `refresh_token`, `expires_in`, `expires_at`, `scope`, `api_domain`, `token_type`; its repr shows
    no secret.
    """

    def __repr__(self) -> str:
        return f"<Token for {self.get('api_domain')} until {self.get('expires_at')}>"

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that were granted."""
        return frozenset(str(self.get("scope") or "").replace(",", " ").split())


_GRANT = re.compile(r"^invalid[ _]grant", re.IGNORECASE)
_CLIENT = re.compile(r"^invalid[ _](client|request: redirect_uri)", re.IGNORECASE)

OnTokenUpdate = Callable[[Token], Awaitable[None] | None]


class OAuth2Configuration:
    """Act as the user who allowed your app, with a token that stays fresh.

        oauth2 = OAuth2Configuration("id", "secret", "https://you.example/callback", on_token_update=save)
        oauth2.authorization_url                 # send the user there
        token = await oauth2.authorize(code)     # what the callback brought
        client = Client(oauth2)

    One object per user, kept as long as the user is served: it makes one refresh of any number of calls at once.
    `host` is the OAuth server; default `PIPEDRIVE_OAUTH_URL`, else `https://oauth.pipedrive.com`. `state` travels
    through the consent page and must come back to your callback; a random one by default. `on_token_update` (a plain
    or an async function) gets the token once after each authorisation and refresh: store it. `timeout` is in
    seconds. `backend`, `clock` and `sleep` replace network and time, for tests. Raises ValueError where one is empty.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        *,
        host: str | None = None,
        state: str | None = None,
        on_token_update: OnTokenUpdate | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        backend: Backend | None = None,
    ) -> None:
        for name, value in (("client_id", client_id), ("client_secret", client_secret), ("redirect_uri", redirect_uri)):
            if not value:
                raise ValueError(f"{name} is empty: give what Developer Hub shows for your app.")
        self.client_id = client_id
        self.redirect_uri = redirect_uri
        self.host = (host or os.environ.get("PIPEDRIVE_OAUTH_URL") or OAUTH_HOST).rstrip("/")
        self.state = state or secrets.token_urlsafe(24)
        self.on_token_update = on_token_update
        self.timeout = timeout
        self._client_secret = client_secret
        self._clock = clock
        self._sleep = sleep
        self._backend = backend
        self._token = Token()
        self._mark = ""
        self._dead = False
        self._early_again = 0.0
        self._refreshing: asyncio.Task[Token] | None = None

    def __repr__(self) -> str:
        return f"<OAuth2Configuration of app {self.client_id} at {self.host}>"

    @property
    def authorization_url(self) -> str:
        """The consent page to which the user is sent; it comes back to `redirect_uri` with `code` and `state`."""
        query = {"client_id": self.client_id, "redirect_uri": self.redirect_uri, "state": self.state}
        return f"{self.host}/oauth/authorize?{urlencode(query)}"

    @property
    def expires_at(self) -> int | None:
        """When the access token ends, in milliseconds since 1970; None without a token."""
        return self._token.get("expires_at")

    @property
    def api_domain(self) -> str:
        """The address of the company's API; the generic one without a token."""
        return str(self._token.get("api_domain") or default_root()).rstrip("/")

    @property
    def base_path(self) -> str:
        """The root under which every path of the API stands: `api_domain`."""
        return self.api_domain

    @property
    def base_url(self) -> str:
        """The same by the name that `Configuration` has for it."""
        return self.api_domain

    @property
    def account(self) -> str:
        """Name the account without secrets: the app, the address, and a fingerprint of the grant."""
        return f"{self.client_id} at {self.api_domain}{self._mark}"

    async def authorize(self, code: str) -> Token:
        """Exchange the code that the callback brought for a token (`POST /oauth/token`); it works once, for 5 minutes.

        Raises NotConnected where the code is not accepted, ConfigError where the app's credentials are not.
        """
        if not code:
            raise ValueError("code is empty: give what Pipedrive sent to the callback, or read its `error` instead.")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri}
        token = await self._ask_token(form)
        self._mark = _mark(token)
        return token

    async def token_refresh(self) -> Token:
        """Refresh the token now (`POST /oauth/token`). Calls at the same time share one refresh.

        Raises NotConnected where the user's grant is gone.
        """
        running = self._refreshing
        if running is None or running.get_loop() is not asyncio.get_running_loop():
            running = self._refreshing = asyncio.create_task(self._refresh(), name="refresh of a Pipedrive token")
            running.add_done_callback(self._refreshed)
        return await asyncio.shield(running)

    async def get_access_token(self) -> str:
        """Give an access token that is good for the next minutes; refreshes it where it is not.

        Raises NotConnected where there is no token, or no way to a new one.
        """
        now = self._clock()
        ends = math.inf if self.expires_at is None else self.expires_at / 1000
        early = min(EARLY_SECONDS, (_number(self._token.get("expires_in")) or 2 * EARLY_SECONDS) / 2)
        token = self._token.get("access_token")
        if token and (now < ends - early or now < min(ends, self._early_again)):
            return str(token)
        try:
            return str((await self.token_refresh())["access_token"])
        except errors.NotConnected:
            raise
        except (errors.ClientError, errors.ConfigError):
            if not token or self._clock() >= ends:
                raise
            self._early_again = now + AGAIN_SECONDS
            log.warning("The token of %s could not be refreshed early; it still lives.", self.account)
            return str(token)

    async def renew(self, stale: str) -> str:
        """Give another token than `stale`, which Pipedrive refused; refreshes unless that has been done."""
        token = self._token.get("access_token")
        if token and token != stale:
            return str(token)
        return str((await self.token_refresh())["access_token"])

    def update_token(self, token: Mapping[str, Any] | None) -> None:
        """Use a token that was stored before; what it lacks is kept, None changes nothing.

        Raises ValueError where its `api_domain` is not Pipedrive's.
        """
        if token is None:
            return
        if not self._trusted(token.get("api_domain")):
            raise ValueError(f"api_domain of the token is not an address of {self._home()}: it is not used.")
        self._mark = _mark(self._keep(token))

    async def revoke(self, kind: Literal["refresh_token", "access_token"] = "refresh_token") -> None:
        """Revoke the user's grant (`POST /oauth/revoke`): the app is uninstalled for this user, all tokens die.

        With `"access_token"` that token dies alone; the next call fetches a new one.
        """
        token = self._token.get(kind)
        if token:
            self._check(await self._post("/oauth/revoke", {"token": token, "token_type_hint": kind}), "/oauth/revoke")
        kept = () if kind == "refresh_token" else ("refresh_token", "scope", "api_domain", "token_type")
        self._token = Token({name: value for name, value in self._token.items() if name in kept})

    async def _refresh(self) -> Token:
        refresh_token = self._token.get("refresh_token")
        if not refresh_token or self._dead:
            raise self._not_connected("there is no refresh token" if not refresh_token else "its grant is gone")
        try:
            return await self._ask_token({"grant_type": "refresh_token", "refresh_token": str(refresh_token)})
        except errors.NotConnected:
            self._dead = True
            raise

    def _refreshed(self, task: asyncio.Task[Token]) -> None:
        if self._refreshing is task:
            self._refreshing = None
        if not task.cancelled():
            task.exception()  # also where nobody waits any more

    async def _ask_token(self, form: Mapping[str, str]) -> Token:
        reply = await self._post("/oauth/token", form)
        answered = self._check(reply, "/oauth/token")
        if not isinstance(answered, dict) or not answered.get("access_token"):
            raise self._unexpected(reply, "without an access token")
        if not self._trusted(answered.get("api_domain")):
            raise self._unexpected(reply, f"with an api_domain outside {self._home()}; the token was not kept")
        token = self._keep({name: value for name, value in answered.items() if name != "expires_at"})
        if self.on_token_update is not None:
            saving = self.on_token_update(Token(token))
            if inspect.isawaitable(saving):
                await saving
        return Token(token)

    def _keep(self, token: Mapping[str, Any]) -> Token:
        """Overwrite what the token has: a refresh token may or may not come back, and may have changed."""
        new = Token({**self._token, **{name: value for name, value in token.items() if value}})
        if token.get("access_token") and not token.get("expires_at"):
            new.pop("expires_at", None)
            if (lives := _number(token.get("expires_in"))) is not None:
                new["expires_at"] = round((self._clock() + lives) * 1000)
        self._token, self._dead, self._early_again = new, False, 0.0
        return new

    async def _post(self, path: str, form: Mapping[str, str]) -> Reply:
        """Post a form with the app's credentials: again after a 5xx, or where it never left."""
        from pipeflow.client.retrying import TRIES, back_off
        from pipeflow.client.transport import post_form

        pair = base64.b64encode(f"{self.client_id}:{self._client_secret}".encode()).decode()
        tries = 1
        while True:
            try:
                reply = await post_form(
                    self.host,
                    path,
                    form,
                    {"authorization": f"Basic {pair}"},
                    patience=self.timeout,
                    backend=self._backend,
                )
            except errors.ConnectionFailed as error:
                if error.sent or tries >= TRIES:
                    raise
            else:
                if reply.status < 500 or tries >= TRIES:
                    secret = (form.get(name, "") for name in ("code", "refresh_token", "token"))
                    return reply if reply.status < 300 else reply.without(self._client_secret, pair, *secret)
            await self._sleep(back_off(tries))
            tries += 1

    def _check(self, reply: Reply, path: str) -> Any:
        if reply.status < 300:
            return reply.body()
        said = _said(reply.body())
        what = f"POST {path} answered {reply.status}: {said}"
        details: dict[str, Any] = {"method": "POST", "path": path, "account": self.account}
        if reply.status < 500 and _GRANT.search(said):
            raise self._not_connected(said)
        if reply.status < 500 and _CLIENT.search(said):
            raise errors.ConfigError(f"{what}. Check the app's client id, secret and callback URL in Developer Hub.")
        details |= {"status": reply.status, "body": reply.body(), "headers": reply.headers}
        if reply.status >= 500:
            raise errors.ServerError(f"{what}. Pipedrive's OAuth server has trouble; try again later.", **details)
        if reply.status == 429:
            raise errors.RateLimited(f"{what}. Wait for it.", retry_after=wait_of(reply.headers), **details)
        kind = errors.BadRequest if reply.status == 400 else errors.ResponseError
        raise kind(f"{what}.", **details)

    def _not_connected(self, why: str) -> errors.NotConnected:
        return errors.NotConnected(
            f"The authorization at {self.api_domain} does not work ({why}): send the user to authorization_url again.",
            method="POST",
            path="/oauth/token",
            account=self.account,
        )

    def _unexpected(self, reply: Reply, why: str) -> errors.UnexpectedBody:
        return errors.UnexpectedBody(
            f"POST /oauth/token answered {reply.status} {why}.", method="POST", path="/oauth/token", status=reply.status
        )

    def _home(self) -> str:
        return (urlsplit(self.host).hostname or "").removeprefix("oauth.")

    def _trusted(self, api_domain: object) -> bool:
        """Tell whether tokens may be sent there: https, under the OAuth server's own domain (or the set API's host)."""
        if not api_domain:
            return True
        try:
            where, own = urlsplit(str(api_domain)), urlsplit(self.host)
            name = where.hostname or ""
        except ValueError:
            return False
        if where.scheme not in ("https", own.scheme) or where.username or where.query or where.fragment:
            return False
        return name == self._home() or name.endswith(f".{self._home()}") or name == urlsplit(default_root()).hostname


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _said(body: Any) -> str:
    """Find the words of an OAuth error: the text, else the code, in whichever field they stand."""
    if not isinstance(body, dict):
        return str(body)[:200] or "no reason given"
    found = [str(body[name]) for name in ("message", "error_description", "error") if body.get(name)]
    return next((text for text in found if _GRANT.search(text) or _CLIENT.search(text)), [*found, "no reason given"][0])


def _mark(token: Mapping[str, Any]) -> str:
    """Give a fingerprint that tells one grant from another and gives nothing away."""
    grant = str(token.get("refresh_token") or token.get("access_token") or "")
    return f" ({hashlib.sha256(grant.encode()).hexdigest()[:8]})" if grant else ""
