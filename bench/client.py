"""What the client costs: against the same done by hand and against Pipedrive's Node client, in memory, at import.

    python bench/client.py [--node FOLDER]

A server in a process of its own answers with pages of deals of 60 fields, made beforehand. `by hand` is httpx and
`model_validate_json` of the same model; CPU is the client's process alone, in turns with ours. FOLDER is where
`npm install pipedrive@33.7.0` was run; without it that line is left out. Memory is the highest resident size while
10,000 deals are iterated, above that before. Imports are CPU time too. Ratios are the figures to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEALS = 10_000
PAGES = 40
ROUNDS = 7
TURNS = 5
TOKEN = "bench"
IMPORTS = {
    "import pipeflow.client (at most 120)": "import pipeflow.client",
    "first use of a resource (at most 150)": "import pipeflow.client as p; p.Client(api_token='x').deals.get_deals()",
}

NODE = """
const { Configuration, DealsApi } = require('pipedrive/v2');
const configuration = new Configuration({ apiKey: 'bench' });
configuration.basePath = process.env.ROOT + '/api/v2';
const deals = new DealsApi(configuration);
const pages = Number(process.env.PAGES);
async function fetched(count) {
  const started = process.hrtime.bigint(), used = process.cpuUsage();
  for (let page = 0; page < count; page++) await deals.getDeals({ limit: 100 });
  const { user, system } = process.cpuUsage(used);
  return [count / (Number(process.hrtime.bigint() - started) / 1e9), (user + system) / count / 1e6];
}
(async () => {
  await fetched(pages);
  console.log(JSON.stringify(await fetched(pages * Number(process.env.ROUNDS))));
})();
"""


# -- the server --------------------------------------------------------------------------------------------------------


def deal(number: int) -> dict[str, Any]:
    """Write a deal of 60 fields: 50 of its own, 10 custom ones."""
    custom = ["text", 12.5, {"value": 500, "currency": "USD"}, 17, [13, 14], 12, "2026-01-01", "a longer text", None]
    return {
        "id": number,
        "title": f"Deal {number}: Café Ünïcode",
        **dict.fromkeys(("owner_id", "person_id", "org_id", "pipeline_id", "stage_id", "visible_to"), number + 7),
        **{"value": 1200.5, "currency": "EUR", "status": "open", "probability": None, "lost_reason": None},
        **dict.fromkeys(("add_time", "update_time", "stage_change_time"), "2026-11-24T13:18:55Z"),
        **dict.fromkeys(("is_deleted", "is_archived"), False),
        **dict.fromkeys(("close_time", "won_time", "lost_time", "archive_time", "first_won_time"), None),
        **dict.fromkeys(("local_won_date", "local_lost_date", "local_close_date"), None),
        **{"expected_close_date": "2026-12-31", "label_ids": [24, 25], "origin": "ManuallyCreated", "origin_id": None},
        **{"channel": None, "channel_id": None, "source_lead_id": None, "arr": 0, "mrr": 0, "acv": None},
        **{"next_activity_id": 7, "last_activity_id": 6, "smart_bcc_email": "acme@pipedrivemail.com"},
        **{f"{what}_count": 3 for what in ("products", "files", "notes", "followers", "email_messages")},
        **{f"{what}_count": 4 for what in ("activities", "done_activities", "undone_activities", "participants")},
        **{"last_incoming_mail_time": None, "last_outgoing_mail_time": "2026-11-24T13:18:55Z"},
        "custom_fields": {f"{place:040x}": value for place, value in enumerate([*custom, None])},
    }


def written(data: list[dict[str, Any]], next_cursor: str | None = None) -> bytes:
    """Write an answer as HTTP."""
    answer = {"success": True, "data": data, "additional_data": {"next_cursor": next_cursor}}
    body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Server(asyncio.Protocol):
    """Answers GETs with the page at `cursor` of `limit` deals."""

    pages: dict[tuple[str, str], bytes] = {}  # noqa: RUF012  # one for all connections, made on demand

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            head, _, self.seen = self.seen.partition(b"\r\n\r\n")
            path, _, query = head.split(b" ")[1].decode().partition("?")
            asked = dict(part.split("=") for part in query.split("&") if part)
            page = self.fields() if path.endswith("Fields") else self.page(**asked)
            self.transport.write(page)

    @classmethod
    def page(cls, limit: str = "100", cursor: str = "0", **_: str) -> bytes:
        """Write a page of deals as HTTP."""
        if (limit, cursor) not in cls.pages:
            start, last = int(cursor), min(int(cursor) + int(limit), DEALS)
            more = str(last) if last < DEALS else None
            cls.pages[limit, cursor] = written([deal(number) for number in range(start, last)], more)
        return cls.pages[limit, cursor]

    @staticmethod
    def fields() -> bytes:
        """Write the definitions of the deals' custom fields as HTTP: our client asks once for their names."""
        keys = deal(1)["custom_fields"]
        names = enumerate(keys)
        return written([{"field_code": key, "field_name": f"Field {n}", "is_custom_field": True} for n, key in names])


async def serve() -> None:
    """Print the port and answer until killed."""
    for start in range(0, DEALS, 500):
        Server.page("500", str(start))
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def served() -> Iterator[str]:
    """Run the server beside; gives its root."""
    child = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.kill()
        child.wait()


# -- measuring ---------------------------------------------------------------------------------------------------------


async def pages_by_hand(root: str) -> Callable[[], Awaitable[None]]:
    """Fetch a page with httpx and type it with the same model, as one would without a client."""
    import httpx
    from pydantic import BaseModel

    from pipeflow.client.v2.models import Deal

    class Answer(BaseModel):
        success: bool
        data: list[Deal]
        additional_data: dict[str, Any] | None = None

    http = httpx.AsyncClient()

    async def fetch() -> None:
        answer = await http.get(f"{root}/api/v2/deals", params={"limit": 100}, headers={"x-api-token": TOKEN})
        answer.raise_for_status()
        assert len(Answer.model_validate_json(answer.content).data) == 100

    return fetch


async def pages_by_client(root: str) -> Callable[[], Awaitable[None]]:
    """Fetch a page with our client."""
    from pipeflow.client import Client

    client = Client(api_token=TOKEN, base_url=root)

    async def fetch() -> None:
        assert len((await client.deals.get_deals(limit=100)).data) == 100

    return fetch


async def compare(root: str) -> None:
    """Print the CPU of a page, ours and by hand in turns."""
    fetches = {"by hand": await pages_by_hand(root), "pipeflow": await pages_by_client(root)}
    used: dict[str, list[float]] = {name: [] for name in fetches}
    for turn in range(ROUNDS + 1):
        for name, fetch in fetches.items():
            before = time.process_time()
            for _ in range(PAGES):
                await fetch()
            if turn:
                used[name].append((time.process_time() - before) / PAGES)
    ratio = statistics.median(ours / hand for ours, hand in zip(used["pipeflow"], used["by hand"], strict=True))
    for name, found in used.items():
        tell(f"CPU of a page of 100 deals, {name}", f"{statistics.median(found) * 1000:.2f} ms")
    tell("  ratio (at most 1.25)", f"{ratio:.2f}")


async def speed(root: str) -> None:
    """Print our pages a second, one after another, once warm, and the CPU seconds of one."""
    fetch = await pages_by_client(root)
    for _ in range(PAGES):
        await fetch()
    count = PAGES * ROUNDS
    started, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        await fetch()
    print(json.dumps([count / (time.perf_counter() - started), (time.process_time() - used) / count]))


async def iterate(root: str) -> None:
    """Print by how many MB 10,000 deals raise the highest resident size (Linux)."""
    from pipeflow.client import Client

    async with Client(api_token=TOKEN, base_url=root) as client:
        await client.deals.get_deals(limit=1)
        forget_highest()
        before = memory("VmRSS")
        count = 0
        async for _ in client.deals.get_deals():
            count += 1
        assert count == DEALS
        tell("10,000 deals iterated, memory above start (at most 40)", f"{memory('VmHWM') - before:.1f} MB")


def memory(name: str) -> float:
    """Give a figure of `/proc/self/status` in MB: `VmRSS` now, `VmHWM` at its highest since `forget_highest`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def forget_highest() -> None:
    """Let the highest resident size begin anew: importing may have been higher than anything after."""
    Path("/proc/self/clear_refs").write_text("5")


def child(*arguments: str) -> str:
    """Measure in a fresh process, which prints."""
    return subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True).stdout


def against_node(root: str, folder: Path) -> None:
    """Print pages a second, ours and the official Node client's: the best of several processes each, in turns.

    Their CPU too: it tells more where other work keeps the machine busy.
    """
    environment = {**os.environ, "ROOT": root, "PAGES": str(PAGES), "ROUNDS": str(ROUNDS)}
    found: dict[str, list[list[float]]] = {"pipeflow": [], "official Node client": []}
    for _ in range(TURNS):
        found["pipeflow"].append(json.loads(child("speed", root)))
        node = subprocess.run(["node", "-e", NODE], cwd=folder, env=environment, check=True, capture_output=True)
        found["official Node client"].append(json.loads(node.stdout))
    rates = {name: max(rate for rate, _ in turns) for name, turns in found.items()}
    used = {name: min(cpu for _, cpu in turns) for name, turns in found.items()}
    for name in found:
        tell(f"pages of 100 deals a second, {name}", f"{rates[name]:.0f}")
    tell("  ratio (at least 1.0)", f"{rates['pipeflow'] / rates['official Node client']:.2f}")
    for name in found:
        tell(f"CPU of one of them, {name}", f"{used[name] * 1000:.2f} ms")


def imports() -> None:
    """Print the CPU that an import and a first use add to a bare interpreter."""

    def cost_of(code: str) -> float:
        found = []
        for _ in range(ROUNDS):
            before = used_by_children()
            subprocess.run([sys.executable, "-c", code], check=True)
            found.append(used_by_children() - before)
        return statistics.median(found)

    bare = cost_of("pass")
    for what, code in IMPORTS.items():
        tell(f"{what}, above bare Python", f"{(cost_of(code) - bare) * 1000:.0f} ms")


def used_by_children() -> float:
    """Give the CPU seconds of all processes that were run and have ended."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def compiled() -> Iterator[None]:
    """Let the processes of the block find compiled files, as they do of what pip installed."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run([sys.executable, "-c", "; ".join(IMPORTS.values())], check=True)
        yield


def tell(what: str, found: str) -> None:
    """Print one figure."""
    print(f"{what:<64} {found:>9}", flush=True)


def main() -> None:
    """Print what the client costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--node", type=Path, metavar="FOLDER", help="where npm installed the official client")
    folder: Path | None = parser.parse_args().node
    with compiled(), served() as root:
        print(child("compare", root), end="")
        if folder is not None:
            against_node(root, folder)
        print(child("iterate", root), end="")
        imports()


if __name__ == "__main__":
    modes: dict[str, Callable[..., Any]] = {"compare": compare, "speed": speed, "iterate": iterate, "serve": serve}
    if sys.argv[1:] and sys.argv[1] in modes:
        asyncio.run(modes[sys.argv[1]](*sys.argv[2:]))
    else:
        main()
