"""What was told before: late twins of what polling found, copies by a second webhook. Imports store rows and shapes.

Polling tells the changes of a record in one event: all that happened after what was known (`polled_from`) up to its
last update (`polled_to`). A delivery of one of them that comes later tells nothing new. Pipedrive's times are whole
seconds: a delivery of the very second of `polled_to` is a twin only where it tells the state that polling saw.

Where several webhooks of ours tell one event, as while one replaces another, its copies may have ids of their own: they
come by another webhook (`meta.webhook_id`) than the last delivery of the record, and tell the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeflow.engine.shapes import differences
from pipeflow.events import Payload
from pipeflow.store.base import RecordState, StoredEvent

MOST_REMEMBERED = 100_000


class Bearers:
    """Remembers by which webhook the last delivery of each record came."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str, str], object] = {}

    def by_another(self, event: StoredEvent, payload: Payload) -> bool:
        """Note the webhook of a delivery, and say whether the last one of its record came by another."""
        if len(self._last) > MOST_REMEMBERED:
            self._last.clear()
        webhook, key = payload.meta.get("webhook_id"), (event.company, event.kind, event.record_id)
        last = self._last.get(key)
        self._last[key] = webhook
        return webhook is not None and last is not None and last != webhook


def is_twin(event: StoredEvent, payload: Payload, before: RecordState | None, *, by_another: bool) -> bool:
    """Say whether a delivery tells what polling, or a delivery `by_another` webhook, told already."""
    if event.source != "delivery" or before is None:
        return False
    if before.source == "delivery" and event.update_time is not None and event.update_time == before.update_time:
        return by_another and _is_copy(event, payload, before)
    if before.polled_to is None:
        return False
    if event.action == "deleted":
        return before.deleted and before.source == "poll"
    if event.update_time is None:
        return event.action == "added" and not before.polled_from
    if not (before.polled_from or 0.0) < event.update_time <= before.polled_to:
        return False
    if event.update_time < before.polled_to or before.update_time != before.polled_to:
        return True
    return not differences(event.kind, payload.data or {}, _read(before.state))


def _is_copy(event: StoredEvent, payload: Payload, before: RecordState) -> bool:
    """Say whether the last event of the record was this one: a change cannot lead twice to the state it led to."""
    if event.action == "deleted" or before.deleted:
        return event.action == "deleted" and before.deleted
    if event.action == "updated" and not differences(event.kind, payload.data or {}, payload.previous or {}):
        return False
    return before.state == orjson.dumps(payload.state)


def is_stale(event: StoredEvent, before: RecordState | None) -> bool:
    """Say whether something newer of the record was known already."""
    if before is None or before.update_time is None or event.update_time is None:
        return False
    return event.update_time < before.update_time


def state_after(event: StoredEvent, payload: Payload, before: RecordState | None) -> RecordState:
    """Give the record as the event leaves it, with the window of changes that polling told."""
    polled_from = before.polled_from if before else None
    polled_to = before.polled_to if before else None
    if event.source == "poll":
        goes_on = before is not None and polled_to is not None and before.update_time == polled_to
        polled_from = polled_from if goes_on else _told_from(event, before)
        polled_to = event.update_time
    return RecordState(
        company=event.company,
        kind=event.kind,
        record_id=event.record_id,
        update_time=event.update_time,
        source=event.source,
        state=orjson.dumps(payload.state),
        deleted=event.action == "deleted",
        polled_from=polled_from,
        polled_to=polled_to,
    )


def _told_from(event: StoredEvent, before: RecordState | None) -> float:
    """Say after when the changes lie that polling told: of a record unknown before, it saw the last one alone."""
    if before is None and event.action == "updated":
        return (event.update_time or 1.0) - 1.0
    return (before.update_time if before else None) or 0.0


def _read(state: bytes | None) -> Mapping[str, Any]:
    found = orjson.loads(state) if state else None
    return found if isinstance(found, dict) else {}
