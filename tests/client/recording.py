"""A server that writes down every request as it came over the wire and answers with the same body again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

EMPTY = b'{"success": true, "data": null}'


@dataclass(frozen=True)
class Received:
    """One request: `target` is the undecoded path and query, `headers` have lower-case names."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path, undecoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        """Names and values of the query, in order."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def kind(self) -> str:
        """The body's content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields of a form."""
        return parse_qsl(self.body.decode("ascii"), keep_blank_values=True)

    @property
    def parts(self) -> list[tuple[str, bytes]]:
        """Header lines and content of each part of a multipart body."""
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        between = self.body.split(b"--" + boundary)[1:-1]
        split = (part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n") for part in between)
        return [(head.decode("utf-8"), content) for head, _, content in split]

    def __str__(self) -> str:
        return f"{self.method} {unquote(self.target)}"


@dataclass
class Recorder:
    """What the server got, newest last; the next answers are `answer`, with `headers` (lines of bytes)."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: bytes = EMPTY
    headers: bytes = b""
    open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)

    @property
    def last(self) -> Received:
        """The newest request."""
        return self.got[-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests in plain HTTP/1.1."""
        self.open[writer] = asyncio.current_task()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip().split("\r\n")
                pairs = (line.partition(":") for line in lines)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                body = await _body(reader, headers)
                method, target, _ = first.split(" ")
                self.got.append(Received(method, target, headers, body))
                writer.write(b"HTTP/1.1 200 OK\r\n" + self.headers)
                writer.write(b"content-type: application/json\r\ncontent-length: ")
                writer.write(b"%d\r\n\r\n%b" % (len(self.answer), self.answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    """Serve on loopback while the block runs."""
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0, limit=2**20)
    recorder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield recorder
    finally:
        server.close()
        for writer in recorder.open:
            writer.close()
        await asyncio.gather(*filter(None, recorder.open.values()))
