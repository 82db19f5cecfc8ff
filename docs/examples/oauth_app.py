"""A web application that acts in Pipedrive for whoever signs in: consent, callback, stored tokens, calls, refresh.

pip install pipeflow itsdangerous
export PIPEDRIVE_CLIENT_ID=… PIPEDRIVE_CLIENT_SECRET=… CALLBACK_URL=https://you.example/callback SESSION_SECRET=…
uvicorn --factory oauth_app:from_environment
"""

from __future__ import annotations

import html
import json
import os
import secrets
import sqlite3

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeflow.client import Client, OAuth2Configuration, Token
from pipeflow.errors import NotConnected


class Tokens:
    """One token for each user, in a file; encrypt it where others can read the disk."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("CREATE TABLE IF NOT EXISTS tokens (user TEXT PRIMARY KEY, token TEXT NOT NULL)")

    def save(self, user: str, token: Token) -> None:
        self._database.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?)", (user, json.dumps(token)))

    def load(self, user: str) -> Token | None:
        row = self._database.execute("SELECT token FROM tokens WHERE user = ?", (user,)).fetchone()
        return Token(json.loads(row[0])) if row else None

    def forget(self, user: str) -> None:
        self._database.execute("DELETE FROM tokens WHERE user = ?", (user,))


class App:
    """The pages. The session knows the user's random id and never a token: it lies in the browser."""

    def __init__(self, client_id: str, client_secret: str, callback_url: str, tokens: str) -> None:
        self._app = (client_id, client_secret, callback_url)
        self._tokens = Tokens(tokens)
        self._connected: dict[str, OAuth2Configuration] = {}

    async def deals(self, request: Request) -> Response:
        """List the user's open deals; whoever has no token is sent to the consent page first."""
        oauth2 = self._of(request.session.get("user", ""))
        if oauth2 is None:
            return self._ask_consent(request)
        try:
            deals = Client(oauth2).deals.get_deals(status="open").take(100)
            titles = [deal.title or "" async for deal in deals]
        except NotConnected:  # uninstalled, or not used for 60 days
            self._drop(request)
            return self._ask_consent(request)
        rows = "".join(f"<li>{html.escape(title)}</li>" for title in titles)
        button = "<form method=post action=/disconnect><button>Disconnect</button></form>"
        return HTMLResponse(f"<h1>Your open deals</h1><ul>{rows}</ul>{button}")

    async def callback(self, request: Request) -> Response:
        """Take what the consent page brought: a code once, or the user's no."""
        state = request.session.pop("state", "")
        given = request.query_params
        if "state" not in given:  # installed from Pipedrive's marketplace: start here, so that there is one
            return self._ask_consent(request)
        if not state or not secrets.compare_digest(state.encode(), given["state"].encode()):
            return HTMLResponse("This sign-in was not started here. <a href=/>Start again</a>", 400)
        if "code" not in given:
            return HTMLResponse("You did not allow it. <a href=/>Try again</a>", 403)
        user = secrets.token_urlsafe(24)
        oauth2 = self._configuration(user)
        try:
            await oauth2.authorize(given["code"])
        except NotConnected:  # older than five minutes, or used before
            return HTMLResponse("That took too long. <a href=/>Start again</a>", 400)
        self._connected[user] = oauth2
        request.session["user"] = user
        return RedirectResponse("/", 303)

    async def disconnect(self, request: Request) -> Response:
        """Give the user's permission back: the app is uninstalled for this user."""
        oauth2 = self._of(request.session.get("user", ""))
        if oauth2 is not None:
            await oauth2.revoke()
        self._drop(request)
        return HTMLResponse("Disconnected. <a href=/>Connect again</a>")

    def _ask_consent(self, request: Request) -> Response:
        oauth2 = OAuth2Configuration(*self._app)
        request.session["state"] = oauth2.state
        return RedirectResponse(oauth2.authorization_url, 303)

    def _of(self, user: str) -> OAuth2Configuration | None:
        """Give the user's configuration: always the same one, so that there is never a second refresh beside it."""
        if user not in self._connected and (token := self._tokens.load(user)) is not None:
            self._connected[user] = self._configuration(user)
            self._connected[user].update_token(token)
        return self._connected.get(user)

    def _configuration(self, user: str) -> OAuth2Configuration:
        return OAuth2Configuration(*self._app, on_token_update=lambda token: self._tokens.save(user, token))

    def _drop(self, request: Request) -> None:
        user = request.session.pop("user", "")
        self._connected.pop(user, None)
        self._tokens.forget(user)


def create_app(client_id: str, client_secret: str, callback_url: str, session_secret: str, tokens: str) -> Starlette:
    """Put the application together; `tokens` is the path of the file in which tokens are kept."""
    pages = App(client_id, client_secret, callback_url, tokens)
    secure = callback_url.startswith("https:")
    return Starlette(
        routes=[
            Route("/", pages.deals),
            Route("/callback", pages.callback),
            Route("/disconnect", pages.disconnect, methods=["POST"]),
        ],
        middleware=[Middleware(SessionMiddleware, secret_key=session_secret, https_only=secure)],
    )


def from_environment() -> Starlette:
    """Make the application of environment variables, for `uvicorn --factory`."""
    names = ("PIPEDRIVE_CLIENT_ID", "PIPEDRIVE_CLIENT_SECRET", "CALLBACK_URL", "SESSION_SECRET")
    client_id, client_secret, callback_url, session_secret = (os.environ[name] for name in names)
    return create_app(client_id, client_secret, callback_url, session_secret, os.environ.get("TOKENS", "tokens.db"))
