"""Who is woken when there is something to do: here at once, elsewhere by NOTIFY. Imports errors and connections.

A NOTIFY is sent after the commit, in a transaction of its own: within it, PostgreSQL would let all that notify commit
only one after the other. Where a pooler stands between, nobody can listen, so each process looks every moment.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress

import psycopg

from pipeflow.errors import PipeflowError
from pipeflow.store.postgres_link import FIRST_PAUSE, LONGEST_PAUSE, Database, connect, run

CHANNELS = ("pipeflow_work", "procrastinate_any_queue_v1")
LOOK_EVERY = 0.2
CALM = 0.01
PROOF_OF_LIFE = 10.0
# Nothing in it needs to last, so it waits for no disk, nor has the next commit wait.
_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify('pipeflow_work', %s)"

log = logging.getLogger("pipeflow.store")


class Wakes:
    """Calls back after commits, here or elsewhere, that gave a worker something to do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name = uuid.uuid4().hex
        self._callbacks: list[Callable[[], None]] = []
        self._listening: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._untold = False
        self._running = False

    def start(self) -> None:
        """Listen, where somebody wants to be called."""
        self._running = True
        if self._callbacks and self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen(), name="store listener")

    async def stop(self) -> None:
        """End."""
        self._running = False
        if self._telling is not None:
            await asyncio.wait([self._telling])
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` from now on."""
        self._callbacks.append(callback)
        if self._running:
            self.start()

    def committed(self) -> None:
        """Say that something was committed here."""
        self._call_back()
        if self._database.pooled:
            return
        self._untold = True
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="store notifier")

    def _call_back(self) -> None:
        for callback in self._callbacks:
            callback()

    async def _tell(self) -> None:
        """Tell the others, and again while more is committed, though not more often than they can make use of."""
        try:
            while self._untold:
                self._untold = False
                with suppress(PipeflowError):  # whoever missed it looks by himself
                    async with self._database.connection() as db:
                        await run(db, _NOTIFY, (self._name,))
                await asyncio.sleep(CALM)
        finally:
            self._telling = None

    async def _listen(self) -> None:
        pause, clock = FIRST_PAUSE, asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                if self._database.pooled:
                    await asyncio.sleep(LOOK_EVERY)
                    self._call_back()
                    continue
                await self._hear()
            except (psycopg.Error, OSError) as error:
                log.debug("Not listening for a moment: %s", error)
            pause = FIRST_PAUSE if clock() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _hear(self) -> None:
        """Call back for each notification until the connection breaks."""
        db = await connect(self._database.url)
        try:
            for channel in CHANNELS:
                await db.execute(f"LISTEN {channel}".encode())
            self._call_back()
            while True:
                async for told in db.notifies(timeout=PROOF_OF_LIFE):
                    if told.payload != self._name:
                        self._call_back()
                await db.execute(b"SELECT 1")
        finally:
            await db.close()
