"""Files out and in: from any source, with progress, and without credentials for other hosts."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from pipeflow.client import Client, Configuration
from pipeflow.client.transport import Transport
from pipeflow.errors import ConnectionFailed, NotFound, ResponseError
from pipeflow.sandbox import Sandbox, running

CONTENT = bytes(range(256)) * 1000
Source = Callable[[Path], Any]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    sandbox = Sandbox(seed=1)
    async with running(sandbox) as url, Client(api_token=sandbox.api_token, base_url=url) as client:
        yield client


def opened(path: Path) -> BinaryIO:
    return path.open("rb")


SOURCES: dict[str, tuple[Source, str]] = {
    "a path": (lambda path: path, "contract.pdf"),
    "bytes": (lambda path: CONTENT, "file"),
    "named bytes": (lambda path: ("offer.txt", CONTENT), "offer.txt"),
    "named and typed bytes": (lambda path: ("offer", CONTENT, "text/plain"), "offer"),
    "a file object": (opened, "contract.pdf"),
    "a named stream": (lambda path: ("stream.bin", io.BytesIO(CONTENT)), "stream.bin"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("watched", [True, False])
async def test_a_file_goes_out_whole_from_any_source(
    client: Client, tmp_path: Path, source: str, watched: bool
) -> None:
    (tmp_path / "contract.pdf").write_bytes(CONTENT)
    make, name = SOURCES[source]
    given = make(tmp_path / "contract.pdf")
    seen: list[tuple[int, int | None]] = []
    progress = (lambda done, total: seen.append((done, total))) if watched else None
    made = await client.files.add_file(file=given, deal_id=1, progress=progress)
    assert (made.name, made.file_size) == (name, len(CONTENT))
    assert await client.files.download_file(int(made.id or 0)) == CONTENT
    assert not watched or (len(seen) > 1 and seen[-1] == (len(CONTENT), len(CONTENT)))
    assert seen == sorted(seen)
    if isinstance(given, io.BufferedReader):
        given.close()


async def test_a_file_comes_in_to_a_path_with_progress(client: Client, tmp_path: Path) -> None:
    made = await client.files.add_file(file=("big.bin", CONTENT))
    seen: list[tuple[int, int | None]] = []
    path = await client.files.download_file(
        int(made.id or 0), to=tmp_path / "big.bin", progress=lambda done, total: seen.append((done, total))
    )
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [each.name for each in tmp_path.iterdir()] == ["big.bin"]


async def test_a_file_that_is_not_there_is_refused_before_anything_is_sent(client: Client, tmp_path: Path) -> None:
    with client.capture() as sent, pytest.raises(FileNotFoundError):
        await client.files.add_file(file=tmp_path / "nothing")
    assert sent == []


class Network:
    """Answers by host and path, and remembers what was sent where."""

    def __init__(self, answers: dict[str, httpx.Response | Callable[[], httpx.Response]]) -> None:
        self.answers = answers
        self.sent: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers[str(request.url).partition("?")[0]]
        return answer if isinstance(answer, httpx.Response) else answer()

    async def sleep(self, _: float) -> None: ...

    def client(self, **configuration: Any) -> Client:
        given = Configuration(base_url="https://pd.test", **configuration)
        return Client(transport=Transport(given, backend=httpx.MockTransport(self.handle), sleep=self.sleep))


FILE = "https://pd.test/v1/files/1/download"


def elsewhere(url: str) -> httpx.Response:
    return httpx.Response(302, headers={"location": url})


@pytest.mark.parametrize("credentials", [{"api_key": "t0ken-t0ken"}, {"access_token": "t0ken-t0ken"}])
@pytest.mark.parametrize("there", ["https://storage.test/x", "http://pd.test/x", "https://pd.test:8443/x"])
async def test_redirects_are_followed_without_credentials_for_others(credentials: dict[str, str], there: str) -> None:
    network = Network({FILE: elsewhere(f"{there}?signature=s"), there: httpx.Response(200, content=b"file")})
    assert await network.client(**credentials).files.download_file(1) == b"file"
    assert "t0ken" in str(network.sent[0].headers.raw)
    assert "t0ken" not in str(network.sent[1].headers.raw) + str(network.sent[1].url)
    assert network.sent[1].url.params["signature"] == "s"


async def test_a_redirect_within_pipedrive_keeps_credentials_and_a_circle_ends() -> None:
    network = Network({FILE: elsewhere("/v1/x"), "https://pd.test/v1/x": httpx.Response(200, content=b"file")})
    assert await network.client(api_key="t0ken-t0ken").files.download_file(1) == b"file"
    assert network.sent[1].headers["x-api-token"] == "t0ken-t0ken"
    circle = Network({FILE: elsewhere(FILE)})
    with pytest.raises(ConnectionFailed, match="redirects"):
        await circle.client(api_key="t0ken-t0ken").files.download_file(1)


async def test_a_redirect_to_nowhere_is_an_answer_that_nobody_can_follow() -> None:
    nowhere = Network({FILE: httpx.Response(302)})
    with pytest.raises(ResponseError, match="answered 302"):
        await nowhere.client(api_key="t0ken-t0ken").files.download_file(1)


async def test_a_refused_or_broken_download_leaves_the_old_file_and_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise httpx.ReadError("gone")

    for answer, error in (
        (lambda: httpx.Response(404, json={"error": "File not found"}), NotFound),
        (lambda: httpx.Response(200, content=breaks()), ConnectionFailed),
    ):
        with pytest.raises(error):
            await Network({FILE: answer}).client(api_key="x").files.download_file(1, to=path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file.bin", b"old")]


async def test_an_empty_file_is_empty_however_pipedrive_says_so(tmp_path: Path) -> None:
    for status in (200, 204):
        network = Network({FILE: httpx.Response(status)})
        assert await network.client(api_key="x").files.download_file(1) == b""
        path = await network.client(api_key="x").files.download_file(1, to=tmp_path / "empty")
        assert path.read_bytes() == b""
