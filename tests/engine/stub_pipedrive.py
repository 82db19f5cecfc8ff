"""A Pipedrive of a few lines, over real HTTP: it says yes to everything, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class Stub:
    """What came, and where to. Writes get `answers` first, each once, as (status, body); none where it is `silent`."""

    url: str = ""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    silent: bool = False

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        return [one for one in self.requests if one[0] != "GET"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                method, path, _ = head.split(" ", 2)
                length = next((int(h.split(":")[1]) for h in head.lower().split("\r\n") if "content-length" in h), 0)
                sent = await reader.readexactly(length)
                body = orjson.loads(sent) if sent.startswith((b"{", b"[")) else None
                self.requests.append((method, path, body))
                if self.silent and method != "GET":
                    await asyncio.sleep(60)
                waiting = self.answers and method != "GET"
                status, answer = self.answers.pop(0) if waiting else (200, self._answer(method, path, body))
                content = orjson.dumps(answer)
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str, body: Any) -> dict[str, Any]:
        last = path.split("?")[0].rsplit("/", 1)[-1]
        if method == "GET" and not last.isdigit():
            return {"success": True, "data": []}
        return {"success": True, "data": {"id": int(last) if last.isdigit() else 1000, **(body or {})}}


@asynccontextmanager
async def stub_pipedrive() -> AsyncIterator[Stub]:
    stub = Stub()
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stub
    finally:
        server.close()
