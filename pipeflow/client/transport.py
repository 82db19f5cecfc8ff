"""Sends requests to Pipedrive: connections, retries, limits, errors. The only file that imports httpx."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from pipeflow.catalog import Operation
from pipeflow.client.answers import Response
from pipeflow.client.auth import TIMEOUT, Configuration, TokenSource, bearer
from pipeflow.client.limits import Call, Governor, Turn, governor_of
from pipeflow.client.model import UNSET
from pipeflow.client.reach import load_httpx, proxy_of
from pipeflow.client.refusals import read_body
from pipeflow.client.retrying import TRIES, asked_for, back_off, judge, may_repeat, may_wait
from pipeflow.client.streams import receive
from pipeflow.client.wire import Outgoing, prepare
from pipeflow.errors import ClientError, ConnectionFailed, RateLimited, ServerError, TimedOut

if TYPE_CHECKING:
    from typing import TypeAlias

    import httpx

    Backend: TypeAlias = httpx.AsyncBaseTransport

log = logging.getLogger("pipeflow.client")

CONNECTIONS = 40
IDLE_SECONDS = 4.0
"""Connections idle for longer are left: many servers hang up after five, and a POST that meets that is lost."""
SHORTEST_SECRET = 8
_HEADERS = {"accept": "application/json", "accept-encoding": "gzip, deflate", "user-agent": "pipeflow"}


@dataclass(slots=True)
class Connections:
    """The connections of one loop, by proxy; how many clients are open as context managers, and calls on their way."""

    pools: dict[str | None, Backend] = field(default_factory=dict)
    clients: int = 0
    flying: int = 0


_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = WeakKeyDictionary()


class Observer(Protocol):
    """Somebody who must know of every write: `before` it is sent, and `after` its outcome is known.

    A `Response` that `before` returns stands for Pipedrive's answer: nothing is sent.
    """

    async def before(self, operation: Operation, arguments: Mapping[str, Any]) -> object | None:
        """Note the intent; what is returned is handed to `after`. Raising keeps the write from being sent."""

    async def after(self, token: object | None, outcome: Response | ClientError) -> None:
        """Note the outcome: the answer, or the error (`ConnectionFailed.sent` False: it never left)."""


class Transport:
    """Sends the operations of one client. Making one costs nothing: connections are shared by all of a loop, and
    limits are kept together with every other client of the account.

    `background` says that its calls yield to those of handlers. `backend` replaces the network, `sleep` the waiting
    and `governor` the account's own, for tests.
    """

    def __init__(
        self,
        configuration: Configuration | TokenSource,
        *,
        observer: Observer | None = None,
        background: bool = False,
        backend: Backend | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        governor: Governor | None = None,
    ) -> None:
        self.configuration = configuration
        self.timeout = configuration.timeout if isinstance(configuration, Configuration) else TIMEOUT
        self.captures: list[list[Response]] = []
        self.observer = observer
        self.background = background
        self._backend = backend
        self._sleep = sleep
        self._governor = governor or (Governor(sleep=sleep) if backend is not None else None)

    @property
    def governor(self) -> Governor:
        """Who keeps the account's limits: shared by all clients of the account in this loop."""
        return self._governor or governor_of(self.configuration.account)

    async def send(self, operation: Operation, arguments: Mapping[str, Any]) -> Response:
        """Send one operation and give its checked answer; raises ClientError."""
        try:
            return await self._observed(operation, arguments)
        except ClientError as error:
            error.account = error.account or self.configuration.account
            raise

    async def _observed(self, operation: Operation, arguments: Mapping[str, Any]) -> Response:
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
        """Try until it works, or another try may do harm or no good."""
        waited, tries = 0.0, 1
        while True:
            governor = self.governor
            try:
                return await self._admitted(outgoing, governor)
            except RateLimited as error:
                waited += may_wait(error, waited, governor)
            except (ConnectionFailed, ServerError) as error:
                if tries >= TRIES or not may_repeat(outgoing.operation, error):
                    raise
                pause = max(back_off(tries), asked_for(error))
                tries += 1
                log.info("%s %s again in %.1f s", outgoing.operation.method, outgoing.path, pause)
                await self._sleep(pause)

    async def _admitted(self, outgoing: Outgoing, governor: Governor) -> Response:
        """Send with our credentials; with an OAuth token that is refused, once more with a new one."""
        call = Call(outgoing.operation, outgoing.path, self.background)
        turn = await governor.admit(call)
        try:
            if isinstance(self.configuration, Configuration):
                root, credentials, token = self.configuration.root, self.configuration.credentials(), None
            else:
                token = await self.configuration.get_access_token()
                root, credentials = self.configuration.base_url, bearer(token)
        except BaseException:
            turn.over(sent=False)
            raise
        response = await self._once(outgoing, root, credentials, turn)
        if response.status == 401 and token is not None and not isinstance(self.configuration, Configuration):
            renewed = await self.configuration.renew(token)
            turn = await governor.admit(call)
            response = await self._once(outgoing, self.configuration.base_url, bearer(renewed), turn)
        judge(response, governor)
        return response

    async def _once(self, outgoing: Outgoing, root: str, credentials: Mapping[str, str], turn: Turn) -> Response:
        operation = outgoing.operation
        headers = {**_HEADERS, **credentials}
        request: dict[str, Any] = {"headers": headers}
        if outgoing.json is not UNSET:
            request["json"] = outgoing.json
        if outgoing.files:
            # The file goes first, as Pipedrive's own clients send it; httpx would put plain fields before it.
            fields = ((name, (None, text)) for name, text in outgoing.form.items())
            request["files"] = [*outgoing.files.items(), *fields]
        elif outgoing.form:
            request["data"] = outgoing.form
        sent = True
        try:
            with _lent(self._backend, root) as pool:
                call = _Call(operation.method, root, outgoing.path, self.timeout, pool, turn, outgoing.query)
                reply = await (call.download(request, outgoing) if operation.result == "bytes" else call.ask(request))
            turn.answered(reply.status, reply.headers)
        except ConnectionFailed as error:
            sent = error.sent
            raise
        finally:
            turn.over(sent=sent)
        reply = reply.without(*credentials.values()) if reply.status >= 300 else reply
        names = frozenset(outgoing.json) if isinstance(outgoing.json, dict) else frozenset()
        response = Response(
            operation, outgoing.path, reply.status, reply.headers, reply.content, names, self.configuration.account
        )
        for captured in self.captures:
            captured.append(response)
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
            plain = secret.rpartition(" ")[2]
            for part in {secret, plain, quote(plain, safe="")}:
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
    pool: Backend
    turn: Turn | None = None
    query: Sequence[tuple[str, str]] = ()

    async def ask(self, request: Mapping[str, Any]) -> Reply:
        """Send it and read the answer; redirects are not followed."""
        with self._errors():
            answer = await self.pool.handle_async_request(self._asked(self._url, request))
            try:
                return Reply(answer.status_code, _headers_of(answer), await answer.aread())
            finally:
                await answer.aclose()

    async def download(self, request: Mapping[str, Any], outgoing: Outgoing) -> Reply:
        """Follow redirects by hand, so that credentials never go to another host."""
        import httpx

        url = self._url
        with self._errors():
            for _ in range(5):
                answer = await self.pool.handle_async_request(self._asked(url, request))
                try:
                    if not answer.has_redirect_location:
                        return await _received(answer, outgoing)
                finally:
                    await answer.aclose()
                before = httpx.URL(url)
                target = before.join(answer.headers["location"])
                if (target.scheme, target.host, target.port) != (before.scheme, before.host, before.port):
                    request = {"headers": _HEADERS}
                url = str(target)
        raise ConnectionFailed(
            f"GET {self.path}: more than five redirects; the file cannot be reached.", method="GET", path=self.path
        )

    @property
    def _url(self) -> str:
        query = f"?{urlencode(self.query, quote_via=quote)}" if self.query else ""
        return f"{self.root}{self.path}{query}"

    def _asked(self, url: str, request: Mapping[str, Any]) -> httpx.Request:
        """Put the request together; it waits for Pipedrive, but without end for one of our own connections."""
        import httpx

        patience = httpx.Timeout(self.timeout, pool=None).as_dict()
        return httpx.Request(self.method, url, extensions={"timeout": patience, "trace": self._trace}, **request)

    async def _trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Hear from the connection when the request has been written."""
        if self.turn is not None and event.endswith(".send_request_body.complete"):
            self.turn.left()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx

        about: dict[str, Any] = {"method": self.method, "path": self.path}
        try:
            yield
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.ProxyError,
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
        ) as error:
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
    backend: Backend | None,
) -> Reply:
    """Post a form to somewhere that is no operation of the API; raises ConnectionFailed."""
    with _lent(backend, root) as pool:
        call = _Call("POST", root, path, patience, pool)
        return await call.ask({"data": dict(form), "headers": {**_HEADERS, **headers}})


@contextmanager
def _lent(backend: Backend | None, root: str) -> Iterator[Backend]:
    """Lend the connections of this loop: shared by all clients, unless a backend replaces the network.

    They stand below httpx's own client: its cookies would be shared by all accounts, and it costs as much again.
    """
    if backend is not None:
        yield backend
        return
    load_httpx()
    import httpx

    ours, proxy = _ours(), proxy_of(root)
    if proxy not in ours.pools:
        limits = httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        )
        ours.pools[proxy] = httpx.AsyncHTTPTransport(limits=limits, proxy=proxy)
    ours.flying += 1
    try:
        yield ours.pools[proxy]
    finally:
        ours.flying -= 1


def _ours() -> Connections:
    return _connections.setdefault(asyncio.get_running_loop(), Connections())


def client_opened() -> None:
    """Keep the connections of this loop until as many clients have gone as came."""
    _ours().clients += 1


async def client_closed() -> None:
    """Close the connections of this loop with the last client, unless somebody's call is on its way."""
    ours = _ours()
    ours.clients -= 1
    if ours.clients <= 0 and not ours.flying:
        await close_connections()


async def close_connections() -> None:
    """Close the connections that the clients of this loop share."""
    ours = _ours()
    pools, ours.pools = ours.pools, {}
    for pool in pools.values():
        await pool.aclose()


def _headers_of(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


async def _received(answer: httpx.Response, outgoing: Outgoing) -> Reply:
    if answer.status_code >= 300:
        return Reply(answer.status_code, _headers_of(answer), await answer.aread())
    length = "" if "content-encoding" in answer.headers else answer.headers.get("content-length", "")
    total = int(length) if length.isdigit() else None
    content = await receive(answer.aiter_bytes(), outgoing.to, total, outgoing.progress)
    return Reply(answer.status_code, _headers_of(answer), content)
