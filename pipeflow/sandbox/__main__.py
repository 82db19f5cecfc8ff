"""`python -m pipeflow.sandbox`: serve a sandbox until SIGTERM, Ctrl-C, or the end of a piped standard input."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from pipeflow.sandbox import API_TOKEN, Sandbox, serve


def _rate(text: str) -> float:
    """Read `20` or `20/m` as changes a minute, `2/s` as changes a second."""
    number, _, unit = text.partition("/")
    if unit not in ("", "s", "m"):
        raise argparse.ArgumentTypeError("write a number, or one with /s or /m behind it, such as 2/s")
    return float(number) * (60 if unit == "s" else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeflow.sandbox", description="Serve a fake Pipedrive.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--companies", type=int, default=1)
    parser.add_argument("--deals", type=int, default=30, help="how many deals each company begins with")
    parser.add_argument("--fields", type=int, default=0, help="how many further custom fields deals have")
    parser.add_argument("--rate", type=_rate, default=0.0, help="the sales team's changes a minute, or 2/s")
    parser.add_argument("--scale", type=float, default=1.0, help="how fast its clock runs")
    parser.add_argument("--state", type=Path, help="continue from this file and save to it")
    parser.add_argument("--token", default=API_TOKEN, help="the first user's API token")
    parser.add_argument("--redirect-uri", default="http://127.0.0.1:8000/oauth/callback", help="its app's callback URL")
    parser.add_argument("--keep", type=int, default=10_000, help="how many requests and deliveries are kept")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process dies")
    return parser.parse_args()


async def _main(given: argparse.Namespace) -> None:
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    _end_with_pipe(until)
    orphan = asyncio.create_task(_end_with_parent(until)) if given.with_parent else None
    sandbox = Sandbox(
        seed=given.seed,
        companies=given.companies,
        deals=given.deals,
        extra_fields=given.fields,
        scale=given.scale,
        api_token=given.token,
        redirect_uri=given.redirect_uri,
        keep=given.keep,
    )
    await serve(sandbox, host=given.host, port=given.port, rate=given.rate, state=given.state, until=until)
    if orphan is not None:
        orphan.cancel()


def _end_with_pipe(until: asyncio.Event) -> None:
    """End when a pipe that is our standard input closes: whoever held its other end is gone."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = sys.stdin.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return

        def read() -> None:
            if not os.read(descriptor, 4096):
                loop.remove_reader(descriptor)
                until.set()

        loop.add_reader(descriptor, read)


async def _end_with_parent(until: asyncio.Event) -> None:
    """End when the process that started us is gone."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  (nothing tells us of it)
        await asyncio.sleep(0.5)
    until.set()


def main() -> None:
    """Run the command, on the fastest loop there is."""
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(_main(_arguments()))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
