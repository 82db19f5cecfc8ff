"""A small HTTP/1.1 client for what the sandbox sends: a request, the status that comes back, connections kept.

Never follows a redirect and knows no proxies. Imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import httptools

# Shorter than any server keeps an idle connection, so that none is found closed when it is used again.
IDLE_SECONDS: Final = 2.0


class WireError(Exception):
    """A request without an answer; the text is one word such as `timeout` or `ConnectionRefusedError`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status and its headers, names in lower case."""

    status: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads."""

    host: str
    port: int
    secure: bool
    target: str

    @property
    def named(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


@lru_cache(maxsize=1024)
def place_of(url: str) -> Place:
    """Read an http or https URL; a ValueError says that it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(mark in url for mark in " \r\n\t"):
        raise ValueError(f"{url!r} is no http or https URL")
    secure = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.hostname, port, secure, target)


class Wire:
    """Sends requests; keeps connections open for the next one to the same place."""

    def __init__(self) -> None:
        self._resting: dict[tuple[str, int, bool], list[_Connection]] = {}
        self._context: ssl.SSLContext | None = None

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109  (a limit for the whole exchange)
        """Send one request and wait for its whole answer; a WireError says why none came."""
        connection: _Connection | None = None
        try:
            place = place_of(url)
            async with asyncio.timeout(timeout):
                connection = self._rested(place) or await self._connect(place)
                reply = await connection.exchange(_written(method, place, headers, body))
        except TimeoutError:
            raise WireError("timeout") from None
        except (OSError, ValueError) as error:
            raise WireError(type(error).__name__) from error
        finally:
            if connection is not None:
                self._rest(connection)
        return reply

    def close(self) -> None:
        """Close what is kept open."""
        for connections in self._resting.values():
            for connection in connections:
                connection.close()
        self._resting.clear()

    def _rested(self, place: Place) -> _Connection | None:
        resting = self._resting.get((place.host, place.port, place.secure), [])
        now = asyncio.get_running_loop().time()
        while resting:
            connection = resting.pop()
            if connection.usable and now - connection.rested_at < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    def _rest(self, connection: _Connection) -> None:
        if not connection.usable:
            connection.close()
            return
        connection.rested_at = asyncio.get_running_loop().time()
        self._resting.setdefault(connection.place, []).append(connection)

    async def _connect(self, place: Place) -> _Connection:
        if place.secure and self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection((place.host, place.port, place.secure)),
            place.host,
            place.port,
            ssl=self._context if place.secure else None,
        )
        return connection


def _written(method: str, place: Place, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"{method} {place.target} HTTP/1.1\r\nhost: {place.named}\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


class _Connection(asyncio.Protocol):
    """One connection and the exchange on it; httptools reads the answer and calls the `on_…` methods."""

    def __init__(self, place: tuple[str, int, bool]) -> None:
        self.place = place
        self.rested_at = 0.0
        self.usable = False
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._headers: dict[str, str] = {}
        self._answer: asyncio.Future[Reply] | None = None
        self._begun = False

    async def exchange(self, request: bytes) -> Reply:
        """Write a request and wait for the answer; an OSError says that the connection broke."""
        if self._transport is None:
            raise ConnectionResetError
        self.usable = False
        self._begun = False
        self._headers = {}
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # a stream's is always a Transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, AttributeError):
            self._fail(ConnectionError("not an HTTP answer"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """End: an answer that has no length ends with its connection."""
        self._transport, self.usable = None, False
        if self._begun:
            self._finish()
        self._fail(error if isinstance(error, OSError) else ConnectionResetError())

    # httptools calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Know the status."""
        self._begun = True

    def on_message_complete(self) -> None:
        """Have the whole answer; what only says that one follows is passed over."""
        if self._parser.get_status_code() < 200:
            self._headers, self._begun = {}, False
            return
        self.usable = self._transport is not None and self._parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        self._begun = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._parser.get_status_code(), self._headers))

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
