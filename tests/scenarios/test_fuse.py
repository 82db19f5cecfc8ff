"""A loop through another integration, which answers whatever a recipe writes: it is stopped, told, and let go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.scenarios.product import FakePipedrive, Product, eventually

RECIPE = """
from pipeflow import Client, Event, changed, on
from pipeflow.records import Deal

@on("deal.updated", when=changed("title"))
async def count_up(event: Event[Deal], client: Client) -> None:
    deal = await client.deals.get_deal(event.record.id)
    await client.deals.update_deal(event.record.id, value=(deal.value or 0) + 1)
"""


@pytest.fixture
def other_integration(pipedrive: FakePipedrive) -> Iterator[None]:
    """A tool that gives a deal a new title whenever its value changes."""

    class Tool(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"null")
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            if body and "value" in (body.get("previous") or {}):
                deal = body["data"]
                title = {"title": f"Worth {deal['value']}"}
                threading.Thread(target=pipedrive.call, args=("PATCH", f"/api/v2/deals/{deal['id']}", title)).start()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tool)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = {"subscription_url": f"http://127.0.0.1:{server.server_port}/hook", "event_action": "change"}
    pipedrive.call("POST", "/v1/webhooks", hook | {"event_object": "deal", "name": "tool", "version": "2.0"})
    yield
    server.shutdown()


@pytest.mark.usefixtures("other_integration")
def test_loop_through_another_integration_is_parked_told_and_released(tmp_path: Path, pipedrive: FakePipedrive) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "loop.py").write_text(RECIPE)
    product = Product(tmp_path, pipedrive, recipes=folder)
    product.start()
    eventually(lambda: len(pipedrive.call("GET", "/v1/webhooks")) == 2, "the webhooks of both")
    deal = pipedrive.call("POST", "/api/v2/deals", {"title": "Espresso", "value": 0})
    pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"title": "Begin"})
    (parked,) = eventually(lambda: product.listed("runs", "--parked"), "the parked lane")
    assert f"pipeflow runs release {parked['id']}" in product.printed
    assert pipedrive.call("GET", f"/api/v2/deals/{deal['id']}")["value"] == 21
    assert product.command("runs", "release", str(parked["id"])).returncode == 0
    eventually(lambda: pipedrive.call("GET", f"/api/v2/deals/{deal['id']}")["value"] > 21, "the loop going on")
    product.kill()
