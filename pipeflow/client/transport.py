"""Sends requests to Pipedrive: connections, retries, limits, errors. The only file that imports httpx."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from pipeflow.catalog import Operation
from pipeflow.client.answers import Response, check
from pipeflow.client.auth import TIMEOUT, Configuration, TokenSource, bearer
from pipeflow.client.model import UNSET
from pipeflow.client.wire import Outgoing, prepare
from pipeflow.errors import ClientError, ConnectionFailed, DailyBudgetSpent, RateLimited, ServerError, TimedOut

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("pipeflow.client")

TRIES = 3
LONGEST_WAIT = 10.0
_REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


class Observer(Protocol):
    """Somebody who must know of every write: `before` it is sent, and `after` its outcome is known."""

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
        self._observer = observer
        self._backend = backend
        self._sleep = sleep

    async def send(self, operation: Operation, arguments: Mapping[str, Any]) -> Response:
        """Send one operation and give its checked answer; raises ClientError."""
        outgoing = prepare(operation, arguments)
        if self._observer is None or operation.method == "GET":
            return await self._repeat(outgoing)
        given = {wire: value for wire, value in arguments.items() if value is not UNSET}
        token = await self._observer.before(operation, given)
        try:
            response = await self._repeat(outgoing)
        except ClientError as error:
            await self._observer.after(token, error)
            raise
        await self._observer.after(token, response)
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
                pause = 0.25 * 4 ** (tries - 1) * random.uniform(0.5, 1.5)  # noqa: S311  # spreads tries, no secret
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
        import httpx

        operation = outgoing.operation
        headers = {"accept": "application/json", "user-agent": "pipeflow", **credentials}
        request: dict[str, Any] = {"params": outgoing.query or None, "headers": headers}
        if outgoing.json is not UNSET:
            request["json"] = outgoing.json
        if outgoing.files:
            # The file goes first, as Pipedrive's own clients send it; httpx would put plain fields before it.
            fields = ((name, (None, text)) for name, text in outgoing.form.items())
            request["files"] = [*outgoing.files.items(), *fields]
        elif outgoing.form:
            request["data"] = outgoing.form
        url = root + outgoing.path
        about: dict[str, Any] = {"method": operation.method, "path": outgoing.path}
        try:
            if operation.result == "bytes":
                return await self._download(url, outgoing, request)
            answer = await self._pool().request(
                operation.method, url, timeout=self.timeout, follow_redirects=False, **request
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            text = f"Pipedrive could not be reached at {root} ({type(error).__name__})"
            raise ConnectionFailed(f"{text}: check the network and PIPEDRIVE_API_URL.", **about, sent=False) from error
        except httpx.TimeoutException as error:
            waited = f"within {self.timeout:g} s"
            raise TimedOut(f"{operation.method} {outgoing.path}: no answer {waited}.", **about) from error
        except httpx.HTTPError as error:
            text = f"{operation.method} {outgoing.path}: the connection broke ({type(error).__name__})."
            raise ConnectionFailed(text, **about) from error
        return self._note(Response(operation, outgoing.path, answer.status_code, _headers_of(answer), answer.content))

    async def _download(self, url: str, outgoing: Outgoing, request: dict[str, Any]) -> Response:
        """Follow redirects by hand, so that credentials never go to another host."""
        import httpx

        for _ in range(5):
            async with self._pool().stream("GET", url, timeout=self.timeout, **request) as answer:
                if answer.is_redirect:
                    target = httpx.URL(url).join(answer.headers["location"])
                    if target.host != httpx.URL(url).host:
                        request = {"headers": {}}
                    url = str(target)
                    continue
                content = b""
                if outgoing.to is not None and answer.status_code < 300:
                    await _stream(answer, outgoing.to)
                else:
                    content = await answer.aread()
                found = Response(outgoing.operation, outgoing.path, answer.status_code, _headers_of(answer), content)
                return self._note(found)
        raise ConnectionFailed(
            f"GET {outgoing.path}: more than five redirects; the file cannot be reached.",
            method="GET",
            path=outgoing.path,
        )

    def _note(self, response: Response) -> Response:
        for sent in self.captures:
            sent.append(response)
        return response

    def _pool(self) -> httpx.AsyncClient:
        """Give the connections of this loop: shared by all clients, unless a backend replaces the network."""
        import httpx

        if self._backend is not None:
            return httpx.AsyncClient(transport=self._backend)
        loop = asyncio.get_running_loop()
        pool = _pools.get(loop)
        if pool is None or pool.is_closed:
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
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


async def _stream(answer: httpx.Response, to: Path) -> None:
    part = to.with_name(to.name + ".part")
    with part.open("wb") as out:
        async for chunk in answer.aiter_bytes():
            await asyncio.to_thread(out.write, chunk)
    part.replace(to)
