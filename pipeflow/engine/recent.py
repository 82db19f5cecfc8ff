"""The events of the runs in memory, so that an attempt need not read its event. Imports store rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeflow.store.base import EventFilter, Store, StoredEvent

MOST_EVENTS = 10_000
MOST_BYTES = 48 * 1024 * 1024


class RecentEvents:
    """A bounded number of stored events, kept until their runs have ended; any other is read when it is asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[int, StoredEvent] = {}
        self._uses: Counter[int] = Counter()
        self._bytes = 0

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
        found = await self.among(event_ids)
        for event_id in event_ids:
            if event_id in found:
                self.keep(found[event_id])

    async def among(self, event_ids: Sequence[int]) -> dict[int, StoredEvent]:
        """Give events, those that are not kept read in one question; one that is gone is left out."""
        found = {event_id: self._events[event_id] for event_id in event_ids if event_id in self._events}
        if missing := {event_id for event_id in event_ids if event_id not in found}:
            events = await self._store.events(EventFilter(limit=len(missing), ids=tuple(missing)))
            found |= {event.id: event for event in events}
        return found
