"""What the crash suite runs: handlers that write down, in a file that outlives them, when they start and end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time

from pipeflow import Event, Run, on

_FILE = os.open(os.environ["CRASH_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def tell(what: str, event: Event, run: Run) -> None:  # type: ignore[type-arg]
    seq = json.loads(event.raw)["data"]["value"]
    os.write(_FILE, f"{what} {run.id} {run.handler} {event.record_id} {seq} {os.getpid()} {time.time()}\n".encode())


@on("deal.updated")
async def steady(event: Event, run: Run) -> None:  # type: ignore[type-arg]
    """Take a moment, as a call to Pipedrive does."""
    tell("start", event, run)
    await asyncio.sleep(random.random() * 0.01)
    tell("end", event, run)


@on("deal.updated")
async def stumbles(event: Event, run: Run) -> None:  # type: ignore[type-arg]
    """Fail at the first attempt of each fifth run, so that a lane waits for its retry."""
    tell("start", event, run)
    if run.id % 5 == 0 and run.attempts == 0:
        raise RuntimeError("the first attempt fails on purpose")
    tell("end", event, run)


@on("deal.updated")
def threaded(event: Event, run: Run) -> None:  # type: ignore[type-arg]
    """Do the same in a thread."""
    tell("start", event, run)
    tell("end", event, run)
