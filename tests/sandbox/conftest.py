"""A sandbox over real HTTP, a client that speaks to it, and a receiver of deliveries whose answers a test chooses."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox, running

PATIENCE = 10.0
# Everything here is plain HTTP; without this each client reads the system's certificates.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Receiver:
    """What a webhook's URL leads to: keeps every POST and answers with `status`; answers a GET with `probe`."""

    url: str = ""
    status: int = 200
    probe: int = 405
    headers: dict[str, str] = field(default_factory=dict)
    wait: asyncio.Event | None = None
    got: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.got]

    async def until(self, count: int) -> list[Any]:
        """Wait for so many deliveries."""
        async with self._more:
            await asyncio.wait_for(self._more.wait_for(lambda: len(self.got) >= count), PATIENCE)
        return self.bodies

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection after another in plain HTTP/1.1."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode("latin-1"), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        status = self.probe
        if not first.startswith("GET"):
            async with self._more:
                self.got.append((headers, json.loads(body) if body else None))
                self._more.notify_all()
            if self.wait is not None:
                await self.wait.wait()
            status = self.status
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{more}\r\n".encode())
        await writer.drain()


@pytest.fixture
def sandbox() -> Sandbox:
    """A sandbox that sends one delivery after the other, so that tests may count on their order."""
    made = Sandbox(seed=1)
    made.webhooks.set_modes(parallel=1)
    return made


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first company's admin."""
    async with opened(sandbox) as client:
        yield client


@asynccontextmanager
async def opened(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(sandbox) as url,
        httpx.AsyncClient(base_url=url, headers={"x-api-token": sandbox.api_token}, verify=PLAIN) as client,
    ):
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    yield made
    server.close()


async def data(client: httpx.AsyncClient, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """Send a request that must work and give its data."""
    answer = await client.request(method, path, json=body, params=query or None)
    assert answer.is_success, answer.text
    return answer.json().get("data")


async def subscribe(client: httpx.AsyncClient, receiver: Receiver, **more: Any) -> Any:
    """Add a webhook for everything."""
    body = {"subscription_url": receiver.url, "event_action": "*", "event_object": "*", "name": "test"} | more
    return await data(client, "POST", "/v1/webhooks", body)


async def act(client: httpx.AsyncClient, action: str, **what: Any) -> Any:
    """Do what a person does in the app, through the control surface."""
    answer = await client.post("/_sandbox/act", json={"action": action, **what})
    assert answer.is_success, answer.text
    return answer.json()
