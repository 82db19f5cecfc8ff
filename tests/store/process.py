"""A process that works a store until it is killed, telling each thing that it was told is committed.

    python process.py DATABASE_URL

A line on its output is `event ID RECORD`, `opened RUN NUMBER` or `ended RUN`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeflow.store import open_store
from pipeflow.store.base import ALL, Dispatch, NewEvent, NewRun, Run, Store

RECORDS = 7
CALLERS = 8


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def feed(store: Store, caller: int) -> None:
    """Store events, one after the other."""
    for number in count():
        record = str((caller + number) % RECORDS)
        event = NewEvent(
            company=1,
            key=f"{os.getpid()}-{caller}-{number}",
            name="deal.updated",
            kind="deal",
            record_id=record,
            action="updated",
            source="delivery",
            raw=b"x" * 500,
            received_at=1.0,
            partition=caller,
        )
        (event_id,) = await store.add_events([event])
        tell("event", event_id, record)


async def work(store: Store) -> None:
    """Dispatch and execute, as an engine does; each third attempt fails."""
    for suspect in await store.recover(ALL, 1.0):
        await execute(store, suspect)
    while True:
        events = await store.undispatched(ALL, limit=50)
        decisions = [
            Dispatch(one.id, (one.name,), "dispatched", runs=(NewRun("a.one", f"a.one:{one.record_id}"),))
            for one in events
        ]
        await store.dispatch(decisions, ALL, 1.0)
        runs = await store.due_runs(ALL, 1.0, limit=20)
        await asyncio.gather(*(execute(store, run) for run in runs))


async def execute(store: Store, run: Run) -> None:
    from pipeflow.store.base import Closing

    attempt = await store.open_attempt(run.id, ALL, 1.0)
    if attempt is None:
        return
    tell("opened", run.id, attempt.number)
    if (run.id + attempt.number) % 3 == 0:
        await store.close_attempt(Closing(run.id, "failed", "pending", due_at=1.0), ALL, 1.0)
        return
    await store.close_attempt(Closing(run.id, "succeeded", "succeeded"), ALL, 1.0)
    tell("ended", run.id)


async def main() -> None:
    store = open_store(sys.argv[1])
    await store.open(owner=True)
    tell("ready")
    await asyncio.gather(work(store), *(feed(store, caller) for caller in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main())
