"""The OAuth server: consent page, token and revocation endpoints, and the marketplace that installs and uninstalls.

Its state is in `grants`; what happens to a company's webhooks at an uninstall goes through the sandbox.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from pipeflow.sandbox.answers import Answer, Record
from pipeflow.sandbox.grants import App, Grant, GrantError
from pipeflow.sandbox.incoming import Incoming
from pipeflow.sandbox.pages import consent_page, marketplace_page, sorry_page
from pipeflow.sandbox.sender import basic
from pipeflow.sandbox.wire import Wire, WireError

if TYPE_CHECKING:
    from pipeflow.sandbox.sandbox import Sandbox

FORM: Final = "application/x-www-form-urlencoded"
PARALLEL_SECONDS: Final = 1.0
UNINSTALL_SECONDS: Final = 5.0


class OAuthServer:
    """Answers `/oauth/…` and `/marketplace…`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._refreshing: dict[tuple[str, str, int], float] = {}

    async def answer(self, incoming: Incoming) -> Answer:
        """Answer one request."""
        routes = {
            ("GET", "/oauth/authorize"): self._ask,
            ("POST", "/oauth/authorize"): self._decide,
            ("POST", "/oauth/token"): self._token,
            ("POST", "/oauth/revoke"): self._revoke,
            ("GET", "/marketplace"): self._market,
            ("POST", "/marketplace/install"): self._install,
            ("POST", "/marketplace/uninstall"): self._uninstall,
        }
        handler = routes.get((incoming.method, incoming.path.rstrip("/")))
        if handler is None:
            return Answer({"success": False, "message": "Not found", "error": "not_found"}, 404)
        try:
            return await handler(incoming)
        except GrantError as error:
            return Answer({"success": False, "message": error.message, "error": error.error}, 400)
        finally:
            self._sandbox.touch()

    # Consent

    async def _ask(self, incoming: Incoming) -> Answer:
        query = dict(incoming.query)
        app, trouble = self._asked(query)
        if app is None:
            return _html(sorry_page(trouble), 400)
        return _html(consent_page(app, query, self._accounts()))

    async def _decide(self, incoming: Incoming) -> Answer:
        form = incoming.object
        app, trouble = self._asked(form)
        if app is None:
            return _html(sorry_page(trouble), 400)
        state = {"state": form["state"]} if form.get("state") else {}
        if form.get("decision") != "allow":
            return _redirect(app.redirect_uri, {"error": "user_denied", **state})
        domain, user_id = self._account(form)
        return _redirect(app.redirect_uri, {"code": self._sandbox.oauth.new_code(app, domain, user_id), **state})

    def _asked(self, given: dict[str, Any]) -> tuple[App | None, str]:
        app = self._sandbox.oauth.apps.get(given.get("client_id", ""))
        if app is None:
            return None, "Invalid client: client is invalid"
        if given.get("redirect_uri") != app.redirect_uri:
            return None, "Invalid request: redirect_uri is not the one registered for the app"
        return app, ""

    def _accounts(self) -> list[tuple[str, str]]:
        return [
            (f"{company.domain}/{user['id']}", f"{user['name']}, {company.name}")
            for company in self._sandbox.companies.values()
            for user in company.users
            if user["active_flag"]
        ]

    def _account(self, form: dict[str, Any]) -> tuple[str, int]:
        domain, _, user_id = str(form.get("account", "")).partition("/")
        company = self._sandbox.companies.get(domain, self._sandbox.company)
        known = user_id.isdigit() and int(user_id) in company.tables["user"]
        return company.domain, int(user_id) if known else company.admin["id"]

    # Tokens

    async def _token(self, incoming: Incoming) -> Answer:
        form = _form(incoming)
        app = self._client(incoming, form)
        await asyncio.sleep(self._sandbox.oauth.switches.delay)
        kind = form.get("grant_type")
        if not kind:
            raise GrantError("Missing parameter: grant_type", "invalid_request")
        if kind == "authorization_code":
            grant = self._exchange(app, form)
        elif kind == "refresh_token":
            grant = self._refresh(app, form.get("refresh_token", ""))
        else:
            raise GrantError(f"Unsupported grant type: {kind}", "unsupported_grant_type")
        return Answer(self._answered(grant, incoming.base_url))

    def _exchange(self, app: App, form: dict[str, Any]) -> Grant:
        if form.get("redirect_uri") != app.redirect_uri:
            raise GrantError("Invalid request: redirect_uri is missing or not the registered one", "invalid_request")
        code = form.get("code", "")
        known = self._sandbox.oauth.codes.get(code)
        company = self._sandbox.companies.get(known.domain) if known else None
        return self._sandbox.oauth.exchange(app, code, company.id if company else None)

    def _refresh(self, app: App, token: str) -> Grant:
        oauth = self._sandbox.oauth
        grant = next((one for one in oauth.grants if one.refresh_token == token), None)
        if grant is not None and oauth.switches.parallel_failure:
            key = (grant.client_id, grant.domain, grant.user_id)
            last, now = self._refreshing.get(key), time.monotonic()
            if last is not None and now - last < PARALLEL_SECONDS:
                raise GrantError("Invalid grant: refresh_token is invalid")
            self._refreshing[key] = now
        return oauth.refresh(app, token)

    def _answered(self, grant: Grant, base_url: str) -> Record:
        oauth = self._sandbox.oauth
        return {
            "access_token": oauth.new_access(grant),
            "token_type": "Bearer",
            "expires_in": 3599,
            "refresh_token": grant.refresh_token,
            "scope": oauth.switches.scope_separator.join(grant.scopes),
            "api_domain": f"{base_url}/c/{grant.domain}",
        }

    async def _revoke(self, incoming: Incoming) -> Answer:
        form = _form(incoming)
        app = self._client(incoming, form)
        ended = self._sandbox.oauth.revoke(app, form.get("token", ""))
        if ended is not None:
            self._clean(ended)
        return Answer({}, 200)

    def _client(self, incoming: Incoming, form: dict[str, Any]) -> App:
        client_id, secret = form.get("client_id"), form.get("client_secret")
        kind, _, pair = incoming.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                client_id, _, secret = base64.b64decode(pair, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                client_id = secret = None
        return self._sandbox.oauth.client(client_id, secret)

    # Marketplace

    async def _market(self, incoming: Incoming) -> Answer:
        installed = [(one.client_id, f"{one.domain}/{one.user_id}") for one in self._sandbox.oauth.grants]
        return _html(marketplace_page(list(self._sandbox.oauth.apps.values()), self._accounts(), installed))

    async def _install(self, incoming: Incoming) -> Answer:
        """Install from the marketplace: the user comes back with a code and without any state."""
        form = incoming.object
        app = self._sandbox.oauth.apps.get(form.get("client_id", ""))
        if app is None:
            return _html(sorry_page("There is no such app"), 404)
        domain, user_id = self._account(form)
        return _redirect(app.redirect_uri, {"code": self._sandbox.oauth.new_code(app, domain, user_id)})

    async def _uninstall(self, incoming: Incoming) -> Answer:
        form = incoming.object
        domain, user_id = self._account(form)
        told = await self.uninstall(form.get("client_id", ""), domain, user_id)
        text = "The app is uninstalled." if told else "The app was not installed for this account."
        return _html(sorry_page(text), 200)

    async def uninstall(self, client_id: str, domain: str, user_id: int) -> bool:
        """Uninstall an app for a user and tell its callback URL, whose answer is ignored; False if there is none."""
        ended = self._sandbox.oauth.revoke_user(client_id, domain, user_id)
        app = self._sandbox.oauth.apps.get(client_id)
        if ended is None or app is None:
            return False
        self._clean(ended)
        as_text = self._sandbox.oauth.switches.ids_as_text
        ids: Record = {"company_id": ended.company_id, "user_id": user_id}
        body = {"client_id": client_id, **({k: str(v) for k, v in ids.items()} if as_text else ids)}
        body["timestamp"] = self._sandbox.clock.stamp()
        headers = {"authorization": basic(client_id, app.client_secret), "content-type": "application/json"}
        wire = Wire()
        with contextlib.suppress(WireError):
            await wire.send("DELETE", app.redirect_uri, headers, orjson.dumps(body), UNINSTALL_SECONDS)
        wire.close()
        return True

    def _clean(self, grant: Grant) -> None:
        """Remove the app's webhooks of a user, as an uninstall does."""
        company = self._sandbox.companies[grant.domain]
        for webhook in list(company.webhooks.values()):
            if webhook["client_id"] == grant.client_id and webhook["owner_id"] == grant.user_id:
                self._sandbox.webhooks.remove(company, webhook)


def _form(incoming: Incoming) -> dict[str, Any]:
    if not incoming.headers.get("content-type", "").startswith(FORM):
        raise GrantError(f"Invalid request: content must be {FORM}", "invalid_request")
    return incoming.object


def _redirect(url: str, query: dict[str, str]) -> Answer:
    joint = "&" if "?" in url else "?"
    return Answer(None, 302, {"location": f"{url}{joint}{urlencode(query)}"})


def _html(text: str, status: int = 200) -> Answer:
    return Answer(text.encode(), status, {"content-type": "text/html; charset=utf-8"})
