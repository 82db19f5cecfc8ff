"""The events of the runs in memory, so that an attempt need not read its event. Imports errors and store rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeflow.errors import StoreError
from pipeflow.store.base import EventFilter, Store, StoredEvent

MOST_EVENTS = 10_000
MOST_BYTES = 48 * 1024 * 1024


class RecentEvents:
    """A bounded number of stored events, kept until their runs have ended; any other is read when it is asked for.

    What is asked for in one turn of the loop is read in one question.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[int, StoredEvent] = {}
        self._uses: Counter[int] = Counter()
        self._bytes = 0
        self._asked: dict[int, asyncio.Future[StoredEvent]] = {}
        self._readers: set[asyncio.Task[None]] = set()

    def keep(self, event: StoredEvent) -> None:
        """Keep an event for one more run, if there is room."""
        if event.id not in self._events:
            if len(self._events) >= MOST_EVENTS or self._bytes + len(event.raw) > MOST_BYTES:
                return
            self._events[event.id] = event
            self._bytes += len(event.raw)
        self._uses[event.id] += 1

    def let_go(self, event_id: int) -> None:
        """Forget an event where no other run needs it: the attempt has ended."""
        self._uses[event_id] -= 1
        if self._uses[event_id] > 0:
            return
        del self._uses[event_id]
        event = self._events.pop(event_id, None)
        if event is not None:
            self._bytes -= len(event.raw)

    async def fetch(self, event_ids: Sequence[int]) -> None:
        """Read and keep events, each for one run."""
        missing = {event_id for event_id in event_ids if event_id not in self._events}
        found = {event_id: self._events[event_id] for event_id in event_ids if event_id in self._events}
        if missing:
            found |= await self._read(missing)
        for event_id in event_ids:
            if event_id in found:
                self.keep(found[event_id])

    async def get(self, event_id: int) -> StoredEvent:
        """Give an event; raises StoreError where it is gone."""
        known = self._events.get(event_id)
        if known is not None:
            return known
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._begin_reading)
        if event_id not in self._asked:
            self._asked[event_id] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._asked[event_id])

    def _begin_reading(self) -> None:
        asked, self._asked = self._asked, {}
        reader = asyncio.create_task(self._answer(asked))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _answer(self, asked: Mapping[int, asyncio.Future[StoredEvent]]) -> None:
        found: Mapping[int, StoredEvent] = {}
        trouble: Exception | None = None
        try:
            found = await self._read(asked)
        except StoreError as error:
            trouble = error
        for event_id, future in asked.items():
            if event_id in found:
                future.set_result(found[event_id])
            else:
                gone = StoreError(f"Event {event_id} is gone from the store, though a run of it is open.")
                future.set_exception(trouble or gone)
                future.exception()  # whoever asked may be gone too

    async def _read(self, event_ids: set[int] | Mapping[int, object]) -> dict[int, StoredEvent]:
        events = await self._store.events(EventFilter(limit=len(event_ids), ids=tuple(event_ids)))
        return {event.id: event for event in events}
