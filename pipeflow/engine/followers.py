"""Who began or ceased to follow a record: found by polling alone. Imports store rows and what it found.

Lists tell how many follow a record; where the number differs from the last one, the record's log tells who came and
who went. A follower's id is that of the record and the user: `deal:42:7`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import orjson

from pipeflow.engine.asking import Asking
from pipeflow.engine.found import found_event
from pipeflow.engine.shapes import seconds_of
from pipeflow.engine.sources import Source
from pipeflow.store.base import NewEvent, RecordState, Store

COUNTED = "followers_of"
"""The kind under which the number of followers of a record is kept."""
LOGS: Mapping[str, str] = {
    "deal": "v2.DealsApi.getDealFollowersChangelog",
    "person": "v2.PersonsApi.getPersonFollowersChangelog",
    "organization": "v2.OrganizationsApi.getOrganizationFollowersChangelog",
}
_ACTIONS = {"added": "added", "removed": "deleted", "deleted": "deleted"}


class Asker(Protocol):
    """The look that asks on our behalf, and stores what we found."""

    store: Store
    asking: Asking
    company: int
    now: float

    async def keep(self, events: Sequence[NewEvent]) -> None: ...


async def compare_followers(look: Asker, source: Source, since: float) -> None:
    """Tell the followers that came and went after `since`; of a record seen first, only remember how many there are."""
    noun = source.name.partition(":")[2]
    async for page in look.asking.pages(source.operation, source.arguments):
        counts = {one["id"]: one.get("followers_count") or 0 for one in page.data if one.get("id") is not None}
        keys = {record_id: (look.company, COUNTED, f"{noun}:{record_id}") for record_id in counts}
        known = await look.store.records(list(keys.values()))
        differing = [record_id for record_id, key in keys.items() if _count(known.get(key)) != counts[record_id]]
        for record_id in differing:
            if keys[record_id] in known:
                await look.keep(await _events(look, noun, record_id, since))
        await look.store.save_records(
            [
                RecordState(*keys[record_id], update_time=look.now, source="poll", state=_state(counts[record_id]))
                for record_id in differing
            ]
        )


async def _events(look: Asker, noun: str, record_id: int, since: float) -> list[NewEvent]:
    events = []
    async for page in look.asking.pages(LOGS[noun], {"id": record_id}):
        for entry in page.data:
            moment, action = seconds_of(entry.get("time")), _ACTIONS.get(str(entry.get("action")))
            if moment is None or action is None or moment < since:
                continue
            user_id = entry.get("follower_user_id")
            follower = {
                "id": f"{noun}:{record_id}:{user_id}",
                "noun": noun,
                f"{'org' if noun == 'organization' else noun}_id": record_id,
                "user_id": user_id,
                "actor_user_id": entry.get("actor_user_id"),
                "update_time": entry.get("time"),
            }
            is_there = action == "added"
            events.append(
                found_event(
                    look.company,
                    "follower",
                    action,
                    data=follower if is_there else None,
                    previous=None if is_there else follower,
                    moment=moment,
                    happened=moment,
                    now=look.now,
                )
            )
    return sorted(events, key=lambda event: event.update_time or 0.0)


def _count(state: RecordState | None) -> int:
    found = orjson.loads(state.state) if state is not None and state.state else {}
    return int(found.get("count", -1))


def _state(count: int) -> bytes:
    return orjson.dumps({"count": count})
