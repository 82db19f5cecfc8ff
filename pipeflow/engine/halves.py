"""A merge comes in two halves, in either order: it is told once, and what we remember follows. Imports events, store.

The half that is dispatched first is called `deal.merged`; the other one is the plain deletion or change it also is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeflow.events import Merge, merge_of, normalise
from pipeflow.store.base import RecordState, Store, StoredEvent

REMEMBERED_SECONDS = 7 * 86400.0
"""How long the second half of a merge is known for one; it comes within minutes, or was lost."""
MERGED = ".merged"


class Halves:
    """Knows the second halves of merges, in whichever process the first one was dispatched."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def seconds_among(self, events: Sequence[StoredEvent]) -> set[int]:
        """Give the ids of events that are second halves; let what we remember follow the first ones."""
        found: set[int] = set()
        for event in events:
            merge = _merge(event)
            if merge is None:
                continue
            name = f"merge:{event.company}:{merge.kind}:{merge.from_id}:{merge.to_id}"
            # The event is its own holder, so that it keeps its claim when it is dispatched again after a crash.
            if await self._store.take_lease(name, f"event:{event.key}", self._clock(), REMEMBERED_SECONDS):
                await self._follow(event, merge)
            else:
                found.add(event.id)
        return found

    async def _follow(self, event: StoredEvent, merge: Merge) -> None:
        """Know the merged record as gone, and pause the one that is left where the other one was paused."""
        key = (event.company, merge.kind, merge.from_id)
        last = (await self._store.records([key])).get(key)
        if last is None or not last.deleted:
            gone = RecordState(
                *key, update_time=event.update_time, source=event.source, state=last.state if last else None
            )
            await self._store.save_records([replace(gone, deleted=True)])
        for pause in await self._store.pauses():
            if pause.what == "record" and (pause.company, pause.kind, pause.record_id) == key:
                await self._store.pause(replace(pause, record_id=merge.to_id))


def named(names: Sequence[str], *, is_second: bool) -> tuple[str, ...]:
    """Give an event's names, without that of the merge where it is the second half."""
    return tuple(name for name in names if not (is_second and name.endswith(MERGED)))


def _merge(event: StoredEvent) -> Merge | None:
    # Looking for the word is a thousand times cheaper than reading the body, and merges are rare.
    if b'"merged_' not in event.raw:
        return None
    try:
        return merge_of(normalise(event.raw))
    except ValueError:
        return None
