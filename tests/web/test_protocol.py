"""The short way of a delivery over real connections: the second of a sender, as the first proves who it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from pipeflow.cli.listener import bind, serving
from pipeflow.errors import StoreUnavailable

from .conftest import COMPANY, OTHER_COMPANY, Sender, delivery


@dataclass
class Wire:
    """A connection on which the sender is known already."""

    sender: Sender
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def request(self, body: bytes, *more: str) -> bytes:
        head = (
            f"POST /webhooks/{COMPANY} HTTP/1.1",
            "host: x",
            f"authorization: {self.sender.authorization()}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *more,
        )
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def deliver(self, id: str, *more: str) -> None:
        self.writer.write(self.request(json.dumps(delivery(id=id)).encode(), *more))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            status = int((await self.reader.readline()).split()[1])
            lines = iter((await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines())
            headers = dict(line.split(": ", 1) for line in lines if line)
            return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def stored(self) -> list[str | None]:
        return sorted((event.delivery_id for event in await self.sender.events()), key=str)


@pytest.fixture
async def port(sender: Sender) -> AsyncIterator[int]:
    listening = bind("127.0.0.1", 0)
    number: int = listening.getsockname()[1]
    async with serving(sender.app, listening):
        yield number


@pytest.fixture
async def wire(sender: Sender, port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = Wire(sender, reader, writer)
    wire.deliver("a first")
    assert (await wire.answer())[0] == 200
    yield wire
    writer.close()


def failing(error: Exception) -> Callable[[object], asyncio.Future[list[int | None]]]:
    """Give an `add_events` that fails with this."""

    def fail(_: object) -> asyncio.Future[list[int | None]]:
        stored: asyncio.Future[list[int | None]] = asyncio.get_running_loop().create_future()
        stored.set_exception(error)
        return stored

    return fail


async def test_deliveries_on_one_connection_are_answered_one_after_the_other(wire: Wire) -> None:
    for number in range(5):
        wire.deliver(f"b {number}")
        assert (await wire.answer())[0] == 200
    assert await wire.stored() == ["a first", *(f"b {number}" for number in range(5))]


async def test_a_delivery_that_comes_in_pieces_is_put_together(wire: Wire) -> None:
    request = wire.request(json.dumps(delivery(id="b in pieces")).encode())
    for start in range(0, len(request), 200):
        wire.writer.write(request[start : start + 200])
        await asyncio.sleep(0.001)
    assert (await wire.answer())[0] == 200
    assert await wire.stored() == ["a first", "b in pieces"]


async def test_deliveries_sent_without_waiting_are_answered_in_their_order(wire: Wire) -> None:
    wire.deliver("b one")
    wire.writer.write(wire.request(json.dumps(delivery(id="x", company_id=str(OTHER_COMPANY))).encode()))
    wire.deliver("b two")
    wire.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    answers = [await wire.answer() for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 403, 200, 200]
    assert answers[-1][2] == b"alive\n"
    assert await wire.stored() == ["a first", "b one", "b two"]


async def test_a_delivery_of_another_company_is_refused_with_its_reason(wire: Wire) -> None:
    wire.writer.write(wire.request(json.dumps(delivery(id="x", company_id=str(OTHER_COMPANY))).encode()))
    status, headers, body = await wire.answer()
    assert (status, headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert str(OTHER_COMPANY) in body.decode()
    wire.deliver("b after it")
    assert (await wire.answer())[0] == 200


async def test_while_the_store_cannot_commit_it_is_told_to_come_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wire.sender.store, "add_events", failing(StoreUnavailable("the disk is full")))
        wire.deliver("b refused")
        status, headers, _ = await wire.answer()
    assert (status, headers["retry-after"]) == (503, "5")
    await wire.sender.store.close()
    wire.deliver("c refused at once")
    assert (await wire.answer())[0] == 503


async def test_an_error_of_our_own_is_answered_500_and_the_connection_goes_on(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wire.sender.store, "add_events", failing(ZeroDivisionError()))
        wire.deliver("b")
        assert (await wire.answer())[0] == 500
    wire.deliver("b")
    assert (await wire.answer())[0] == 200


async def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing(wire: Wire) -> None:
    request = wire.request(json.dumps(delivery(id="b half")).encode())
    wire.writer.write(request[:-20])
    await wire.writer.drain()
    await asyncio.sleep(0.05)
    wire.writer.close()
    counters = wire.sender.app.receiver.counters
    async with asyncio.timeout(5):
        while not counters["gone"]:
            await asyncio.sleep(0.01)
    assert await wire.stored() == ["a first"]


async def test_unusual_requests_are_answered_all_the_same(wire: Wire) -> None:
    wire.deliver("b expects", "expect: 100-continue")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await wire.answer())[0] == 200
    wire.deliver("d closes", "connection: close")
    assert (await wire.answer())[0] == 200
    assert await wire.reader.read() == b""
    assert await wire.stored() == ["a first", "b expects", "d closes"]


async def test_closing_waits_for_the_answer_of_what_is_being_stored_and_no_longer(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    add = sender.store.add_events

    async def slowly(events: object) -> list[int | None]:
        begun.set()
        await go_on.wait()
        return await add(events)  # type: ignore[arg-type]

    listening = bind("127.0.0.1", 0)
    async with serving(sender.app, listening):
        wire = Wire(sender, *await asyncio.open_connection(*listening.getsockname()))
        wire.deliver("a first")
        assert (await wire.answer())[0] == 200
        monkeypatch.setattr(sender.store, "add_events", lambda events: asyncio.ensure_future(slowly(events)))
        wire.deliver("b under way")
        await begun.wait()
        asyncio.get_running_loop().call_later(0.3, go_on.set)
    assert (await wire.answer())[0] == 200
    assert await wire.reader.read() == b""
    assert await wire.stored() == ["a first", "b under way"]
    assert "timeout graceful shutdown exceeded" not in caplog.text
