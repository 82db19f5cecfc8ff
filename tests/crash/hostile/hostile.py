"""Handlers that no house should trust: they leave, fork, block and leak. What each does is the title of its deal."""

from __future__ import annotations

import os
import time

from pipeflow import Event, on
from pipeflow.records import Deal

_FILE = os.open(os.environ["CRASH_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_leak: list[bytes] = []


@on("deal.updated")
async def trusted_with_everything(event: Event[Deal]) -> None:
    """Do what the title says."""
    deal = event.record
    os.write(_FILE, f"start {deal.id} {deal.title} {os.getpid()}\n".encode())
    match deal.title:
        case "exit":
            os._exit(3)
        case "fork":
            os.fork()
        case "block":
            time.sleep(2)
        case "leak":
            _leak.append(b"x" * 1_000_000)
    os.write(_FILE, f"end {deal.id} {deal.title} {os.getpid()}\n".encode())


@on("deal.updated")
def in_a_thread(event: Event[Deal]) -> None:
    """Fork in a thread."""
    if event.record.title == "fork in thread":
        os.fork()
    os.write(_FILE, f"thread {event.record.id} {event.record.title} {os.getpid()}\n".encode())
