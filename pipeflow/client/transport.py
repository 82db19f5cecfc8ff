"""Sends requests to Pipedrive: connections, retries, limits, errors. The only file that imports httpx."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from pipeflow.catalog import Operation
from pipeflow.client.answers import Response, check, read_body
from pipeflow.client.auth import TIMEOUT, Configuration, TokenSource, bearer
from pipeflow.client.model import UNSET
from pipeflow.client.wire import Outgoing, prepare
from pipeflow.errors import ClientError, ConnectionFailed, DailyBudgetSpent, RateLimited, ServerError, TimedOut

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("pipeflow.client")

TRIES = 3
LONGEST_WAIT = 10.0
CONNECTIONS = 100
SHORTEST_SECRET = 8
_HEADERS = {"accept": "application/json", "accept-encoding": "gzip, deflate", "user-agent": "pipeflow"}
_REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


class Observer(Protocol):
    """Somebody who must know of every write: `before` it is sent, and `after` its outcome is known.

    A `Response` that `before` returns stands for Pipedrive's answer: nothing is sent.
    """

    async def before(self, operation: Operation, arguments: Mapping[str, Any]) -> object | None:
        """Note the intent; what is returned is handed to `after`. Raising keeps the write from being sent."""

    async def after(self, token: object | None, outcome: Response | ClientError) -> None:
        """Note the outcome: the answer, or the error (`ConnectionFailed.sent` False: it never left)."""


class Transport:
    """Sends the operations of one client. Making one costs nothing: connections are shared by all of a loop.

    `backend` replaces the network and `sleep` the waiting, for tests.
    """

    def __init__(
        self,
        configuration: Configuration | TokenSource,
        *,
        observer: Observer | None = None,
        backend: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.configuration = configuration
        self.timeout = configuration.timeout if isinstance(configuration, Configuration) else TIMEOUT
        self.captures: list[list[Response]] = []
        self.observer = observer
        self._backend = backend
        self._sleep = sleep

    async def send(self, operation: Operation, arguments: Mapping[str, Any]) -> Response:
        """Send one operation and give its checked answer; raises ClientError."""
        outgoing = prepare(operation, arguments)
        observer = self.observer
        if observer is None or operation.method == "GET":
            return await self._repeat(outgoing)
        given = {wire: value for wire, value in arguments.items() if value is not UNSET}
        token = await observer.before(operation, given)
        if isinstance(token, Response):
            for sent in self.captures:
                sent.append(token)
            return token
        try:
            response = await self._repeat(outgoing)
        except ClientError as error:
            await observer.after(token, error)
            raise
        await observer.after(token, response)
        return response

    async def _repeat(self, outgoing: Outgoing) -> Response:
        waited = 0.0
        tries = 1
        while True:
            try:
                return await self._admitted(outgoing)
            except DailyBudgetSpent:
                raise
            except RateLimited as error:
                pause = error.retry_after or 2.0
                if waited + pause > LONGEST_WAIT:
                    raise
                waited += pause
            except (ConnectionFailed, ServerError) as error:
                if tries >= TRIES or not _may_repeat(outgoing.operation, error):
                    raise
                pause = back_off(tries)
                tries += 1
            log.info("%s %s again in %.1f s", outgoing.operation.method, outgoing.path, pause)
            await self._sleep(pause)

    async def _admitted(self, outgoing: Outgoing) -> Response:
        """Send with our credentials; with an OAuth token that is refused, once more with a new one."""
        if isinstance(self.configuration, Configuration):
            return _checked(await self._once(outgoing, self.configuration.root, self.configuration.credentials()))
        token = await self.configuration.get_access_token()
        response = await self._once(outgoing, self.configuration.base_url, bearer(token))
        if response.status == 401:
            token = await self.configuration.renew(token)
            response = await self._once(outgoing, self.configuration.base_url, bearer(token))
        return _checked(response)

    async def _once(self, outgoing: Outgoing, root: str, credentials: Mapping[str, str]) -> Response:
        operation = outgoing.operation
        headers = {**_HEADERS, **credentials}
        request: dict[str, Any] = {"params": outgoing.query or None, "headers": headers}
        if outgoing.json is not UNSET:
            request["json"] = outgoing.json
        if outgoing.files:
            # The file goes first, as Pipedrive's own clients send it; httpx would put plain fields before it.
            fields = ((name, (None, text)) for name, text in outgoing.form.items())
            request["files"] = [*outgoing.files.items(), *fields]
        elif outgoing.form:
            request["data"] = outgoing.form
        call = _Call(operation.method, root, outgoing.path, self.timeout, _pool(self._backend))
        if operation.result == "bytes":
            reply = await call.download(request, outgoing.to)
        else:
            reply = await call.ask(request)
        reply = reply.without(*credentials.values()) if reply.status >= 300 else reply
        response = Response(operation, outgoing.path, reply.status, reply.headers, reply.content)
        for sent in self.captures:
            sent.append(response)
        return response


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one request: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    def without(self, *secrets: str) -> Reply:
        """Blank out secrets that the answer repeats, so that no error carries them."""
        content = self.content
        for secret in secrets:
            for part in {secret, secret.rpartition(" ")[2]}:
                content = content.replace(part.encode(), b"***") if len(part) >= SHORTEST_SECRET else content
        return replace(self, content=content)

    def body(self) -> Any:
        """The body as JSON, else as text."""
        return read_body(self.content)


@dataclass(frozen=True, slots=True)
class _Call:
    """One request over the shared connections; whatever httpx raises becomes one of our errors."""

    method: str
    root: str
    path: str
    timeout: float
    pool: httpx.AsyncClient

    async def ask(self, request: Mapping[str, Any]) -> Reply:
        """Send it and read the answer; redirects are not followed."""
        import httpx

        # A request made here carries no cookies of other accounts, and costs less than one that the pool puts together.
        waits = {"timeout": self._patience().as_dict()}
        with self._errors():
            asked = httpx.Request(self.method, self.root + self.path, extensions=waits, **request)
            answer = await self.pool.send(asked, follow_redirects=False)
        return Reply(answer.status_code, _headers_of(answer), answer.content)

    async def download(self, request: Mapping[str, Any], to: Path | None) -> Reply:
        """Follow redirects by hand, so that credentials never go to another host."""
        import httpx

        url = self.root + self.path
        with self._errors():
            for _ in range(5):
                async with self.pool.stream("GET", url, timeout=self._patience(), **request) as answer:
                    if not answer.is_redirect:
                        return await _received(answer, to)
                    target = httpx.URL(url).join(answer.headers["location"])
                    if target.host != httpx.URL(url).host:
                        request = {"headers": {}}
                    url = str(target)
        raise ConnectionFailed(
            f"GET {self.path}: more than five redirects; the file cannot be reached.", method="GET", path=self.path
        )

    def _patience(self) -> httpx.Timeout:
        """Wait so long for Pipedrive, but without end for one of our own connections."""
        import httpx

        return httpx.Timeout(self.timeout, pool=None)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx

        about: dict[str, Any] = {"method": self.method, "path": self.path}
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            text = f"Pipedrive could not be reached at {self.root} ({type(error).__name__})"
            raise ConnectionFailed(f"{text}: check the network and PIPEDRIVE_API_URL.", **about, sent=False) from error
        except httpx.TimeoutException as error:
            text = f"{self.method} {self.path}: no answer within {self.timeout:g} s."
            raise TimedOut(text, **about) from error
        except httpx.HTTPError as error:
            text = f"{self.method} {self.path}: the connection broke ({type(error).__name__})."
            raise ConnectionFailed(text, **about) from error


async def post_form(
    root: str,
    path: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    patience: float,
    backend: httpx.AsyncBaseTransport | None,
) -> Reply:
    """Post a form to somewhere that is no operation of the API; raises ConnectionFailed."""
    call = _Call("POST", root, path, patience, _pool(backend))
    return await call.ask({"data": dict(form), "headers": {**_HEADERS, **headers}})


def back_off(tries: int) -> float:
    """Give the seconds to wait before another try; spread, so that many do not come back at once."""
    return float(0.25 * 4 ** (tries - 1) * random.uniform(0.5, 1.5))  # noqa: S311  # no secret


def _pool(backend: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Give the connections of this loop: shared by all clients, unless a backend replaces the network."""
    import httpx

    if backend is not None:
        return httpx.AsyncClient(transport=backend, trust_env=False)
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None or pool.is_closed:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        pool = _pools[loop] = httpx.AsyncClient(limits=limits)
    return pool


async def close_connections() -> None:
    """Close the connections that the clients of this loop share."""
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        await pool.aclose()


def _checked(response: Response) -> Response:
    check(response)
    return response


def _may_repeat(operation: Operation, error: ClientError) -> bool:
    if operation.method in _REPEATABLE:
        return True
    return isinstance(error, ConnectionFailed) and not error.sent


def _headers_of(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


async def _received(answer: httpx.Response, to: Path | None) -> Reply:
    if to is None or answer.status_code >= 300:
        return Reply(answer.status_code, _headers_of(answer), await answer.aread())
    await _stream(answer, to)
    return Reply(answer.status_code, _headers_of(answer), b"")


async def _stream(answer: httpx.Response, to: Path) -> None:
    part = to.with_name(to.name + ".part")
    with part.open("wb") as out:
        async for chunk in answer.aiter_bytes():
            await asyncio.to_thread(out.write, chunk)
    part.replace(to)
