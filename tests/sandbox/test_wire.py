"""The small HTTP client behind deliveries: every way in which a server may answer, or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from pipeflow.sandbox.wire import Reply, Wire, WireError, place_of

EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Server:
    """Answers each request with the next of `answers`; an empty one closes the connection."""

    answers: list[bytes] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else EMPTY
                writer.write(answer)
                await writer.drain()
                if not answer or b"connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/a/b?c=d&e"
    yield made
    listening.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    yield made
    made.close()


async def send(wire: Wire, url: str, timeout: float = 5.0) -> Reply:
    return await wire.send("POST", url, {"x-own": "1"}, b"body", timeout)


async def test_request_is_written_whole(wire: Wire, server: Server) -> None:
    assert (await send(wire, server.url)).status == 200
    host = server.url.split("/")[2]
    expected = f"POST /a/b?c=d&e HTTP/1.1\r\nhost: {host}\r\nx-own: 1\r\ncontent-length: 4\r\n\r\nbody"
    assert server.requests == [expected.encode()]


async def test_connection_is_used_again_and_not_by_two_at_once(wire: Wire, server: Server) -> None:
    for _ in range(3):
        await send(wire, server.url)
    assert server.connections == 1
    await asyncio.gather(*(send(wire, server.url) for _ in range(4)))
    assert 1 < server.connections <= 4


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\nuntil the end", 500),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok", 201),
        (b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n", 200),
        (b"HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 301),
    ],
)
async def test_any_form_of_answer_is_read_and_the_next_request_works(
    wire: Wire, server: Server, answer: bytes, status: int
) -> None:
    server.answers.append(answer)
    assert [(await send(wire, server.url)).status for _ in range(2)] == [status, 200]


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2\x00\x00 OK\r\n\r\n"])
async def test_what_is_no_answer_is_an_error_and_the_next_request_works(
    wire: Wire, server: Server, answer: bytes
) -> None:
    server.answers.append(answer)
    with pytest.raises(WireError, match="Connection"):
        await send(wire, server.url)
    assert (await send(wire, server.url)).status == 200


async def test_half_an_answer_with_a_length_ends_as_it_began(wire: Wire, server: Server) -> None:
    server.answers.append(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabc")
    assert (await send(wire, server.url)).status == 200


async def test_silence_is_a_timeout_and_its_connection_is_not_used_again(wire: Wire) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    with pytest.raises(WireError, match="timeout"):
        await send(wire, url, timeout=0.05)
    listening.close()
    with pytest.raises(WireError, match="ConnectionRefusedError"):
        await send(wire, url)


async def test_connection_that_the_server_closed_in_between_is_replaced(wire: Wire, server: Server) -> None:
    server.answers.append(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    await send(wire, server.url)
    server.answers.append(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await send(wire, server.url)
    await send(wire, server.url)
    assert server.connections == 2


async def test_plain_server_behind_https_is_an_error(wire: Wire) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(WireError, match="SSLError"):
        await send(wire, f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
    listening.close()


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "http://a b/", "http://x:99999/", "//x", "http://[::1/"])
async def test_odd_urls_are_errors(wire: Wire, url: str) -> None:
    with pytest.raises(WireError):
        await send(wire, url)


@pytest.mark.parametrize(
    ("url", "named", "target"),
    [
        ("https://hooks.example.com", "hooks.example.com", "/"),
        ("https://hooks.example.com:8443/a", "hooks.example.com:8443", "/a"),
        ("http://[::1]:80/?q", "[::1]", "/?q"),
        ("http://user:secret@127.0.0.1/", "127.0.0.1", "/"),
    ],
)
def test_urls_are_read(url: str, named: str, target: str) -> None:
    place = place_of(url)
    assert (place.named, place.target) == (named, target)
