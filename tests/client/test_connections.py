"""The connections that all clients of a process share: what they carry, what they do not, and which way they go."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from pipeflow.client import Client
from pipeflow.errors import ConnectionFailed
from tests.client.recording import EMPTY, Recorder, recording


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


async def test_one_connection_serves_clients_of_several_accounts(server: Recorder) -> None:
    for token in ("first", "second"):
        await Client(api_token=token, base_url=server.url).users.get_users()
    assert [got.headers["x-api-token"] for got in server.got] == ["first", "second"]
    assert len(server.open) == 1


async def test_cookies_of_one_account_are_not_sent_with_another(server: Recorder) -> None:
    server.headers = b"set-cookie: session=of-the-first; path=/\r\n"
    for token in ("first", "first", "second"):
        await Client(api_token=token, base_url=server.url).users.get_users()
    assert ["cookie" in got.headers for got in server.got] == [False, False, False]


async def test_compressed_answers_are_read(server: Recorder) -> None:
    server.answer, server.headers = (
        gzip.compress(b'{"success": true, "data": [{"id": 1}]}'),
        b"content-encoding: gzip\r\n",
    )
    assert [user.id for user in await Client(api_token="x", base_url=server.url).users.get_users()] == [1]
    assert "gzip" in server.last.headers["accept-encoding"]


async def test_requests_go_through_the_proxy_of_the_environment_unless_the_host_is_excepted(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "near.test,127.0.0.1")
    await Client(api_token="x", base_url="http://far.test").users.get_users()
    assert server.last.target == "http://far.test/v1/users"
    with pytest.raises(ConnectionFailed):
        await Client(api_token="x", base_url="http://near.test").users.get_users()
    await Client(api_token="x", base_url=server.url).users.get_users()
    assert server.last.target == "/v1/users"


async def test_hundred_calls_at_once_all_come_back(server: Recorder) -> None:
    client = Client(api_token="x", base_url=server.url)
    await client.users.get_users()
    await asyncio.gather(*(client.users.get_users() for _ in range(100)))
    assert len(server.got) == 101
    assert server.answer == EMPTY


def test_a_call_loads_no_command_line_of_others() -> None:
    code = (
        "import asyncio, sys\n"
        "from pipeflow.client import Client\n"
        "async def call():\n"
        "    await Client(api_token='x', base_url='http://127.0.0.1:9').users.get_user(1)\n"
        "try:\n"
        "    asyncio.run(call())\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
        "print(*sorted({'click', 'rich', 'pygments', 'httpx._main'} & set(sys.modules)), 'httpx' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ConnectionFailed", "True"]
