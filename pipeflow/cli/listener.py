"""The listening socket and the server behind it: uvicorn, started and stopped by us. Imports errors and web."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn

from pipeflow.errors import ConfigError
from pipeflow.web.app import App
from pipeflow.web.protocol import delivery_protocol

CLOSING_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with a moment at which it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Take the address to listen on; port 0 takes a free one. Raises ConfigError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. "
            "Choose another with --port or PIPEFLOW_PORT, --host or PIPEFLOW_HOST."
        ) from None
    listening.setblocking(False)
    return listening


@asynccontextmanager
async def serving(app: App, listening: socket.socket) -> AsyncIterator[None]:
    """Serve `app` inside the block; on leaving it, finish the requests under way and close."""
    server = _Server(uvicorn_config(app))
    task = asyncio.create_task(server.serve(sockets=[listening]), name="listener")
    up = asyncio.create_task(server.up.wait())
    await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield
    finally:
        server.should_exit = True
        up.cancel()
        with suppress(asyncio.CancelledError):
            await task


def uvicorn_config(app: App) -> uvicorn.Config:
    """Give the settings of the server: nothing in it that a delivery would have to pay for."""
    return uvicorn.Config(
        app,
        http=delivery_protocol(app.receiver),
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )


def tune_interpreter() -> None:
    """Fit the interpreter to a process that serves: what is loaded by now is nobody's garbage, and threads take turns.

    The store's writer hands over what it committed as soon as the loop lets it: that is up to a turn later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    sys.setswitchinterval(0.0005)


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop: uvloop's where it exists."""
    loop: asyncio.AbstractEventLoop = (uvicorn.Config("").get_loop_factory() or asyncio.new_event_loop)()
    return loop
