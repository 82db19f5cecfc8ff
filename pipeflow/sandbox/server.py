"""Serve a sandbox with uvicorn: inside a test's own loop, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn

from pipeflow.sandbox.app import create_app
from pipeflow.sandbox.sandbox import Sandbox
from pipeflow.sandbox.snapshot import Saver, restore

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@contextlib.asynccontextmanager
async def running(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a sandbox while the block runs; gives its URL.

    async with running(Sandbox()) as url:
        client = Client(api_token=sandbox.api_token, base_url=url)
    """
    sandbox.open_control = host in LOOPBACK
    listener = socket.create_server((host, port), reuse_port=False)
    config = uvicorn.Config(create_app(sandbox), log_level="error", access_log=False, timeout_graceful_shutdown=2)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="sandbox server")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  (uvicorn tells by a flag alone)
            await asyncio.sleep(0.005)
        if task.done():
            await task
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def serve(
    sandbox: Sandbox,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    rate: float = 0.0,
    state: Path | None = None,
    until: asyncio.Event | None = None,
) -> None:
    """Serve until `until` is set; prints one line of JSON with `url` and `api_token` when ready.

    `rate` is the sales team's changes a minute; `state` is a file to continue from and to save to.
    """
    if state is not None:
        await asyncio.to_thread(restore, sandbox, state)
    sandbox.team.rate = rate
    saver = Saver(sandbox, state) if state is not None else None
    async with running(sandbox, host, port) as url:
        sys.stdout.write(json.dumps({"url": url, "api_token": sandbox.api_token}) + "\n")
        sys.stdout.flush()
        watching = asyncio.create_task(saver.watch()) if saver else None
        await (until or asyncio.Event()).wait()
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    if saver is not None:
        saver.save()
