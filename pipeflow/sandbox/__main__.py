"""`python -m pipeflow.sandbox`: the sandbox as a process of its own; says where it listens in one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import uvicorn

from pipeflow.sandbox import v1_records, v1_webhooks, v2_records
from pipeflow.sandbox.app import create_app
from pipeflow.sandbox.keeping import restore, save
from pipeflow.sandbox.sandbox import API_TOKEN, Sandbox
from pipeflow.sandbox.team import Team

HANDLERS = (v1_records, v1_webhooks, v2_records)
"""Imported for what they register."""
SAVE_SECONDS = 2.0


class _Server(uvicorn.Server):
    """uvicorn that says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, ready: dict[str, str]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(json.dumps(self._ready) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Serve until SIGTERM, Ctrl-C, or the end of a standard input that was a pipe."""
    options = _options()
    asyncio.run(_serve(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pipeflow sandbox", description="A simulated Pipedrive with sample data.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1, help="repeats sample data and sales team")
    parser.add_argument("--rate", type=float, default=0.0, help="changes a minute that the sales team makes")
    parser.add_argument("--state", type=Path, help="keep the company in this file")
    parser.add_argument("--token", default=API_TOKEN, help="the API token to accept")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    sandbox = Sandbox(seed=options.seed, api_token=options.token)
    if options.state:
        restore(sandbox, options.state)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((options.host, options.port))
    sandbox.base_url = f"http://{options.host}:{listening.getsockname()[1]}"
    config = uvicorn.Config(create_app(sandbox), log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    server = _Server(config, {"url": sandbox.base_url, "api_token": sandbox.api_token})
    _end_with_parent(server)
    beside = [asyncio.create_task(Team(sandbox, options.rate, options.seed).work())]
    if options.state:
        beside.append(asyncio.create_task(_keep(sandbox, options.state)))
    await server.serve(sockets=[listening])
    for task in beside:
        task.cancel()
    if options.state:
        save(sandbox, options.state)


async def _keep(sandbox: Sandbox, path: Path) -> None:
    while True:
        await asyncio.sleep(SAVE_SECONDS)
        save(sandbox, path)


def _end_with_parent(server: _Server) -> None:
    """A parent that holds our standard input open as a pipe takes us with it when it dies."""
    if sys.stdin is None or sys.stdin.isatty():
        return
    with suppress(OSError, ValueError):
        if not _is_pipe(sys.stdin.fileno()):
            return

        def watch() -> None:
            os.read(0, 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()


def _is_pipe(descriptor: int) -> bool:
    import stat

    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


if __name__ == "__main__":
    main()
