"""The ASGI application: read a request, check who asks, apply faults and limits, let a handler answer.

`/v1`, `/api/v1` and `/api/v2` are the generations; `/c/{domain}` in front of them is that company's own host.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from pipeflow import catalog
from pipeflow.sandbox.access import Identity, authenticate, in_scope
from pipeflow.sandbox.answers import Answer, RefusedError, refusal, unknown_method
from pipeflow.sandbox.control import Control
from pipeflow.sandbox.faults import Fault
from pipeflow.sandbox.handlers import handler_of
from pipeflow.sandbox.incoming import Incoming, Receive, Scope, read_request
from pipeflow.sandbox.journal import Request
from pipeflow.sandbox.oauth import OAuthServer
from pipeflow.sandbox.routing import Call, find, operation_of
from pipeflow.sandbox.sandbox import Sandbox
from pipeflow.sandbox.validate import check_body, check_query

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIXES: Final = {"/api/v2/": ("v2", "/api/v2/"), "/api/v1/": ("v1", "/v1/"), "/v1/": ("v1", "/v1/")}
CLOUDFLARE: Final = b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"


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
        noted = self._note(incoming)
        answer = await self._answer(incoming, noted)
        if answer is None:
            await _hang_up(receive)
            return
        noted.status = answer.status
        await _send(answer, send)

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
        headers = list(incoming.headers.items())
        return self._sandbox.journal.note(stamp, incoming.method, incoming.path, incoming.query, headers, body)

    async def _answer(self, incoming: Incoming, noted: Request) -> Answer | None:
        """Answer a request; None hangs up."""
        if incoming.path.startswith("/_sandbox"):
            return await self._control.answer(incoming)
        faults = self._sandbox.faults.take(incoming.method, incoming.path)
        if "slow" in faults:
            await asyncio.sleep(faults["slow"].seconds)
        if "drop" in faults and not faults["drop"].after:
            return None
        answer = _trouble(faults) or await self._serve(incoming, noted, faults)
        return None if "drop" in faults else answer

    async def _serve(self, incoming: Incoming, noted: Request, faults: dict[str, Fault]) -> Answer:
        if incoming.path.startswith(("/oauth", "/marketplace")):
            return await self._oauth.answer(incoming)
        domain, path = _company_host(incoming.path)
        for prefix, (generation, kept) in PREFIXES.items():
            if path.startswith(prefix):
                target = Target(generation, kept + path[len(prefix) :], domain)
                return await self._api(incoming, target, noted, faults)
        return unknown_method()

    async def _api(self, incoming: Incoming, target: Target, noted: Request, faults: dict[str, Fault]) -> Answer:
        identity = authenticate(self._sandbox, incoming.headers, dict(incoming.query), target.generation, target.domain)
        if isinstance(identity, Answer):
            return identity
        noted.company = identity.company.domain
        answer = await self._as(identity, incoming, target, noted, faults)
        answer.headers.setdefault("x-correlation-id", str(uuid.uuid4()))
        return answer

    async def _as(
        self, identity: Identity, incoming: Incoming, target: Target, noted: Request, faults: dict[str, Fault]
    ) -> Answer:
        found = find(target.path)
        operation = operation_of(incoming.method, found.template) if found else None
        noted.operation = operation.id if operation else None
        verdict = self._sandbox.limits.check(
            identity.company,
            identity.token,
            operation.cost if operation else 1,
            faults,
            oauth=identity.app is not None,
            search="/search" in target.path or "/itemSearch" in target.path,
        )
        if verdict.refused:
            body = {"success": False, "error": "Request over limit", "errorCode": 429}
            return Answer(body, 429, verdict.headers)
        if found is None:
            answer = unknown_method()
        elif incoming.method not in found.methods:
            answer = Answer({"success": False, "error": "Method not allowed", "errorCode": 405}, 405)
        elif operation and not in_scope(identity, operation):
            answer = Answer({"success": False, "error": "Scope and URL mismatch", "errorCode": 403}, 403)
        else:
            answer = await self._handle(identity, incoming, target, found.template, found.values, operation)
        answer.headers |= verdict.headers
        return answer

    async def _handle(
        self,
        identity: Identity,
        incoming: Incoming,
        target: Target,
        template: str,
        values: tuple[str, ...],
        operation: catalog.Operation | None,
    ) -> Answer:
        call = Call(
            sandbox=self._sandbox,
            company=identity.company,
            user=identity.user,
            actor=identity.actor(incoming.headers.get("user-agent")),
            generation=target.generation,
            path=values,
            query=dict(incoming.query),
            body=incoming.fields,
            files=incoming.files,
            operation=operation,
            app=identity.app,
            base_url=incoming.base_url,
        )
        try:
            if incoming.broken:
                raise incoming.broken
            if operation and target.generation == "v2":
                _check(operation, incoming)
            made = handler_of(incoming.method, template)(call)
            return await made if inspect.isawaitable(made) else made
        except RefusedError as refused:
            return refusal(refused, target.generation)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path leads: the generation, the path in the catalog's form, and the company whose host it is."""

    generation: str
    path: str
    domain: str | None


def _check(operation: catalog.Operation, incoming: Incoming) -> None:
    check_query(operation, incoming.query)
    if operation.body == "json":
        check_body(operation, {} if incoming.fields is None else incoming.fields)


def _company_host(path: str) -> tuple[str | None, str]:
    if not path.startswith("/c/"):
        return None, path
    domain, _, rest = path[3:].partition("/")
    return domain, f"/{rest}"


def _trouble(faults: dict[str, Fault]) -> Answer | None:
    """Answer the faults that need not know who asks."""
    if "html" in faults:
        return Answer(CLOUDFLARE, 403, {"content-type": "text/html; charset=UTF-8"})
    if "503" in faults:
        return Answer({"success": False, "error": "Service unavailable", "errorCode": 503}, 503)
    if "429" in faults:
        wait = faults["429"].retry_after
        body = {"success": False, "error": "Request over limit", "errorCode": 429}
        return Answer(body, 429, {"retry-after": wait} if wait else {})
    if "answer" in faults:
        given = faults["answer"]
        content = given.body.encode() if isinstance(given.body, str) else given.body
        return Answer(content, given.status, {"content-type": given.content_type})
    return None


async def _send(answer: Answer, send: Send) -> None:
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
    await send({"type": "http.response.body", "body": body})


async def _hang_up(receive: Receive) -> None:
    """Close the connection without an answer. ASGI has no word for it; uvicorn's `receive` knows its transport."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("connections can be dropped only when uvicorn serves the sandbox")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        continue


def create_app(sandbox: Sandbox) -> Application:
    """Make the ASGI application that serves a sandbox."""
    return Application(sandbox)
