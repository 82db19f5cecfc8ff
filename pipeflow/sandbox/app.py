"""The ASGI application: read a request, misbehave where asked to, and let the right part of the sandbox answer.

`/v1`, `/api/v1` and `/api/v2` are the generations; `/c/{domain}` in front of them is that company's own host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

import orjson

from pipeflow.sandbox.answers import Answer, blocked, over_limit, unknown_method
from pipeflow.sandbox.api import answer_api, target_of
from pipeflow.sandbox.control import Control
from pipeflow.sandbox.faults import Fault
from pipeflow.sandbox.incoming import Incoming, Receive, Scope, read_request
from pipeflow.sandbox.journal import Request
from pipeflow.sandbox.oauth import OAuthServer
from pipeflow.sandbox.pages import home_page
from pipeflow.sandbox.sandbox import Sandbox

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """The sandbox behind an ASGI door; its lifespan starts and stops what runs beside requests."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._oauth = OAuthServer(sandbox)
        self._control = Control(sandbox, self._oauth)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        incoming = await read_request(scope, receive)
        if incoming.path.startswith("/_sandbox"):
            await _send(await self._control.answer(incoming), send)
            return
        noted = self._note(incoming)
        faults = self._sandbox.faults.take(incoming.method, incoming.path)
        answer = await self._answer(incoming, noted, faults)
        if answer is not None:
            noted.status = answer.status
            await _send(answer, send, whole="cut" not in faults)
        if answer is None or "cut" in faults:
            await _hang_up(receive)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._sandbox.start()
                await send({"type": "lifespan.startup.complete"})
            if message["type"] == "lifespan.shutdown":
                await self._sandbox.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _note(self, incoming: Incoming) -> Request:
        stamp = self._sandbox.clock.stamp()
        body = incoming.fields
        if incoming.files:
            body = {**(body or {}), **{name: f"<{len(one.content)} bytes>" for name, one in incoming.files.items()}}
        return self._sandbox.journal.note(stamp, incoming.method, incoming.path, incoming.query, incoming.headers, body)

    async def _answer(self, incoming: Incoming, noted: Request, faults: Mapping[str, Fault]) -> Answer | None:
        """Answer a request; None hangs up."""
        if "slow" in faults:
            await asyncio.sleep(faults["slow"].seconds)
        if "drop" in faults and not faults["drop"].after:
            return None
        answer = _trouble(faults) or await self._serve(incoming, noted, faults)
        return None if "drop" in faults else answer

    async def _serve(self, incoming: Incoming, noted: Request, faults: Mapping[str, Fault]) -> Answer:
        if incoming.path.startswith(("/oauth", "/marketplace")):
            return over_limit() if "429" in faults else await self._oauth.answer(incoming)
        if incoming.path == "/" and self._sandbox.open_control:
            page = home_page(list(self._sandbox.companies.values()))
            return Answer(page.encode(), 200, {"content-type": "text/html; charset=utf-8"})
        target = target_of(incoming.path)
        if target is None:
            return unknown_method()
        return await answer_api(self._sandbox, incoming, target, noted, faults)


def _trouble(faults: Mapping[str, Fault]) -> Answer | None:
    """Answer the faults that need not know who asks."""
    if "html" in faults:
        return blocked()
    if "503" in faults:
        return Answer({"success": False, "error": "Service unavailable", "errorCode": 503}, 503)
    if "answer" in faults:
        given = faults["answer"]
        content = given.body.encode() if isinstance(given.body, str) else given.body
        return Answer(content, given.status, {"content-type": given.content_type, **given.headers})
    return None


async def _send(answer: Answer, send: Send, *, whole: bool = True) -> None:
    headers = dict(answer.headers)
    if answer.body is None:
        body = b""
    elif isinstance(answer.body, bytes):
        body = answer.body
        headers.setdefault("content-type", "application/octet-stream")
    else:
        body = orjson.dumps(answer.body, option=orjson.OPT_NON_STR_KEYS)
        headers.setdefault("content-type", "application/json; charset=utf-8")
    headers["content-length"] = str(len(body))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if whole:
        await send({"type": "http.response.body", "body": body})
    else:
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


async def _hang_up(receive: Receive) -> None:
    """Close the connection without (more of) an answer. ASGI has no word for it; uvicorn knows its transport."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("connections can be dropped only when uvicorn serves the sandbox")
    # What was written goes first; closing waits for it.
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        continue


def create_app(sandbox: Sandbox) -> Application:
    """Make the ASGI application that serves a sandbox."""
    return Application(sandbox)
