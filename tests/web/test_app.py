"""The routes behind the receiver, and the whole application over real HTTP."""

from __future__ import annotations

import socket

import httpx

from pipeflow.cli.listener import bind, serving
from pipeflow.settings import Settings
from pipeflow.web.app import create_app

from .conftest import COMPANY, DELIVERY, Sender, delivery


async def test_alive_and_ready_are_two_answers(sender: Sender) -> None:
    state: list[bool | str] = ["the recipes are being loaded"]
    sender.app = create_app(sender.store, Settings.load(), sender.vault, ready=lambda: state[0])
    assert (await sender.call("GET", "/healthz")).status == 200
    answer = await sender.call("GET", "/readyz")
    assert (answer.status, answer.body) == (503, b"the recipes are being loaded\n")
    state[0] = True
    assert (await sender.call("GET", "/readyz")).status == 200


async def test_a_closed_store_is_not_ready(sender: Sender) -> None:
    await sender.store.close()
    assert (await sender.call("GET", "/readyz")).status == 503
    assert (await sender.call("GET", "/healthz")).status == 200


async def test_metrics_tell_what_became_of_deliveries(sender: Sender) -> None:
    await sender.deliver(DELIVERY)
    await sender.deliver(DELIVERY)
    text = (await sender.call("GET", "/metrics")).body.decode()
    assert 'pipeflow_deliveries_total{result="stored"} 1.0' in text
    assert 'pipeflow_deliveries_total{result="known"} 1.0' in text
    assert "pipeflow_store_events 1.0" in text


async def test_anything_else_is_not_found(sender: Sender) -> None:
    for path in ("/nothing", "/webhooks", "/oauth"):
        assert (await sender.call("GET", path)).status == 404


async def test_deliveries_over_http_are_stored_whole_chunked_and_after_a_refusal(sender: Sender) -> None:
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    headers = {"authorization": sender.authorization(), "content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/webhooks/{COMPANY}"

    async def chunks():
        yield b'{"meta": {"action": "create", "entity": "deal", '
        yield b'"id": "chunked", "version": "2.0"}}'

    async with serving(sender.app, listening), httpx.AsyncClient(headers=headers) as client:
        statuses = [
            (await client.post(url, json=delivery(id="plain"))).status_code,
            (await client.post(url, content=b"x" * 5_000_000)).status_code,
            (await client.post(url, content=chunks())).status_code,
            (await client.post(url, json=DELIVERY, auth=("pipeflow", "wrong"))).status_code,
            (await client.post(url, json=delivery(id="last"))).status_code,
        ]
    assert statuses == [200, 413, 200, 401, 200]
    assert [event.delivery_id for event in await sender.events()] == ["last", "chunked", "plain"]


async def test_the_listener_refuses_connections_once_it_is_closed(sender: Sender) -> None:
    listening = bind("127.0.0.1", 0)
    address = listening.getsockname()
    async with serving(sender.app, listening):
        pass
    with socket.socket() as probe:
        assert probe.connect_ex(address) != 0
