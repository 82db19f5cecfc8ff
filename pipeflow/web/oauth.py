"""Connecting accounts: the way to Pipedrive's consent page and back, and uninstalls. Imports client and store rows.

The state we send along is signed, lives five minutes, and is bound by a cookie to the browser that set out. Who comes
without one, from Pipedrive's marketplace, is sent through our own way again. Codes and tokens appear in no page, log or
address that stays: the callback answers with a redirect.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeflow.errors import (
    ClientError,
    ConfigError,
    ConnectionFailed,
    NotConnected,
    RateLimited,
    ServerError,
    StoreUnavailable,
)
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Store
from pipeflow.store.connect import Grant, account_of, connect, disconnect, lives, trusted_root
from pipeflow.vault import Vault
from pipeflow.web import oauth_pages as pages

INSTALL, CALLBACK, CONNECTED = "/oauth/install", "/oauth/callback", "/oauth/connected"
COOKIE = "pipeflow_install"
STATE_SECONDS = 300
PATIENCE = 30.0
BODY_LIMIT = 64 * 1024
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_BROWSER = re.compile(r"[\w-]{20,64}")

log = logging.getLogger("pipeflow.web.oauth")


class OAuthRoutes:
    """The routes under `/oauth/` of an OAuth app: `settings` must have its client id, secret and public URL.

    `changed` is called when an account came or went.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        vault: Vault,
        *,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._vault = vault
        self._clock = clock
        self._changed = changed

    def routes(self) -> list[Route]:
        """Give the routes."""
        return [
            Route(INSTALL, self.install),
            Route(CALLBACK, self.come_back, methods=["GET"]),
            Route(CALLBACK, self.uninstall, methods=["DELETE"]),
            Route(CONNECTED, self.connected),
        ]

    async def install(self, request: Request) -> Response:
        """Send a person to Pipedrive's consent page."""
        given = request.cookies.get(COOKIE, "")
        browser = given if _BROWSER.fullmatch(given) else secrets.token_urlsafe(24)
        state = self._vault.sign("oauth-state", browser, self._clock() + STATE_SECONDS)
        asked = {"client_id": self._settings.client_id, "redirect_uri": self._redirect_uri, "state": state}
        answer = RedirectResponse(f"{self._settings.oauth_url}/oauth/authorize?{urlencode(asked)}", 302, _HEADERS)
        answer.set_cookie(
            COOKIE,
            browser,
            max_age=STATE_SECONDS,
            path=urlsplit(self._at("/oauth")).path,
            secure=self._redirect_uri.startswith("https:"),
            httponly=True,
            samesite="lax",
        )
        return answer

    async def come_back(self, request: Request) -> Response:
        """Take a person in who comes from the consent page, or from Pipedrive's marketplace."""
        asked = request.query_params
        if "error" in asked:
            return self._refused(asked["error"])
        if not asked.get("code"):
            return _page(pages.stale(), 400)
        if not asked.get("state"):
            return RedirectResponse(self._at(INSTALL), 303, _HEADERS)
        if not self._began_here(asked["state"], request.cookies.get(COOKIE, "")):
            return _page(pages.stale(), 400)
        try:
            account = await self._connect(asked["code"])
        except (ConnectionFailed, RateLimited, ServerError, StoreUnavailable, TimeoutError) as error:
            log.warning("An account could not be connected now: %s", error)
            return _page(pages.maintenance(), 503)
        except NotConnected:
            return _page(pages.stale(), 400)
        except (ClientError, ConfigError) as error:
            log.error("An account could not be connected: %s", error)
            return _page(pages.misconfigured(), 500)
        company = account.company_name or f"company {account.company}"
        log.info("%s is connected, as %s", company, account.name, extra={"company": account.company})
        told = json.dumps([company, account.name])
        about = self._vault.sign("oauth-connected", told, self._clock() + STATE_SECONDS)
        return RedirectResponse(f"{self._at(CONNECTED)}?{urlencode({'about': about})}", 303, _HEADERS)

    async def connected(self, request: Request) -> Response:
        """Say that it worked."""
        told = self._vault.unsign("oauth-connected", request.query_params.get("about", ""), self._clock())
        return _page(pages.connected(*json.loads(told)) if told else pages.stale(), 200 if told else 400)

    async def uninstall(self, request: Request) -> Response:
        """Take in that Pipedrive tells of an uninstall: that company and user alone are disconnected."""
        if not self._is_pipedrive(request.headers.get("authorization", "")):
            log.warning("An uninstall without the app's credentials was refused.")
            return Response(
                "These are not the app's credentials.\n", 401, {"www-authenticate": 'Basic realm="pipeflow"'}
            )
        told = await _json(request)
        company, user_id = _number(told.get("company_id")), _number(told.get("user_id"))
        if (
            company is None
            or user_id is None
            or told.get("client_id", self._settings.client_id) != self._settings.client_id
        ):
            return Response("An uninstall names this app, a company and a user.\n", 400)
        try:
            for account in await self._store.accounts():
                if (account.company, account.user_id, account.mode) == (company, user_id, "oauth"):
                    await self._end(account)
        except StoreUnavailable:
            return Response("Not stored; send it again.\n", 503, {"retry-after": "5"})
        return Response(status_code=204)

    async def _end(self, account: Account) -> None:
        ended = await disconnect(self._store, account.id, "uninstalled in Pipedrive", self._clock())
        if ended is not None:
            self._changed()
            name = account.company_name or f"company {account.company}"
            log.warning("%s uninstalled the app (%s).", name, account.name, extra={"company": account.company})

    def _is_pipedrive(self, authorization: str) -> bool:
        secret = self._settings.client_secret.get_secret_value() if self._settings.client_secret else ""
        scheme, _, given = authorization.partition(" ")
        ours = b64encode(f"{self._settings.client_id}:{secret}".encode())
        fits = hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), ours)
        return fits and scheme.lower() == "basic" and bool(secret)

    def _began_here(self, state: str, browser: str) -> bool:
        """Say whether we sent this browser out, less than five minutes ago."""
        signed = self._vault.unsign("oauth-state", state, self._clock())
        return signed is not None and hmac.compare_digest(signed.encode(), browser.encode("utf-8", "surrogatepass"))

    def _refused(self, error: str) -> Response:
        if error in ("user_denied", "access_denied"):
            return _page(pages.refused())
        log.error("Pipedrive sent somebody back without consent: %r", error[:80])
        return _page(pages.misconfigured(), 400)

    async def _connect(self, code: str) -> Account:
        """Exchange the code, ask whose token it is, and keep the account; it acts from now on."""
        from pipeflow.client.auth import Configuration
        from pipeflow.client.client import Client
        from pipeflow.client.oauth import OAuth2Configuration

        settings = self._settings
        secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
        async with asyncio.timeout(PATIENCE):
            oauth = OAuth2Configuration(settings.client_id or "", secret, self._redirect_uri, host=settings.oauth_url)
            token = await oauth.authorize(code)
            now = self._clock()
            root = trusted_root(token.get("api_domain") or "", settings.api_url)
            if root is None:
                raise ClientError("The token came with an API address that is not under PIPEDRIVE_API_URL's domain.")
            asking = Client(Configuration(access_token=token["access_token"], base_url=root))
            user = await asking.users.get_current_user()
        grant = Grant(token["access_token"], token.get("refresh_token") or "", token.get("scope") or "")
        account = account_of(
            user.model_dump(by_alias=True),
            mode="oauth",
            api_domain=root,
            credentials=grant.sealed(self._vault),
            expires_at=now + lives(token),
        )
        connected = await connect(self._store, account, now)
        self._changed()
        return connected

    @property
    def _redirect_uri(self) -> str:
        return self._at(CALLBACK)

    def _at(self, path: str) -> str:
        return f"{self._settings.public_url or ''}{path}"


def _page(html: str, status: int = 200) -> Response:
    return HTMLResponse(html, status, _HEADERS | ({"retry-after": "60"} if status == 503 else {}))


async def _json(request: Request) -> dict[str, Any]:
    """Read a small JSON object; an empty one stands for anything else."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_LIMIT:
            return {}
    try:
        told = json.loads(raw)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _number(value: Any) -> int | None:
    """Read an id, which comes as a number or as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
