"""Which deliveries tell nothing new after polling: what it told, and not what it could not know."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeflow.engine.twins import is_twin, state_after
from pipeflow.events import normalise
from pipeflow.store.base import RecordState, StoredEvent

COMPANY = 4410021


def told(source: Any, action: str, update_time: float, **deal: Any) -> StoredEvent:
    """Make a stored event that tells of deal 7 as it was after an update."""
    words = {"added": "create", "updated": "change"}
    meta = {"action": words[action], "entity": "deal", "entity_id": "7", "company_id": str(COMPANY), "version": "2.0"}
    raw = orjson.dumps({"meta": meta, "data": {"id": 7, **deal}, "previous": {}})
    return StoredEvent(
        id=1,
        company=COMPANY,
        key=f"{source}:{update_time}",
        name=f"deal.{action}",
        names=(),
        kind="deal",
        record_id="7",
        action=action,
        source=source,
        raw=raw,
        received_at=update_time,
        partition=0,
        delivery_id=None,
        occurred_at=update_time,
        update_time=update_time,
        actor_id=None,
        bulk=False,
        stale=False,
        status="stored",
        dispatched_at=None,
    )


def after(event: StoredEvent, before: RecordState | None = None) -> RecordState:
    return state_after(event, normalise(event.raw), before)


def twin(event: StoredEvent, before: RecordState | None) -> bool:
    return is_twin(event, normalise(event.raw), before, by_another=False)


@pytest.mark.parametrize(("update_time", "is_one"), [(90.0, False), (150.0, True), (200.0, True), (210.0, False)])
def test_a_delivery_of_what_polling_compared_is_a_twin(update_time: float, is_one: bool) -> None:
    known = after(told("delivery", "updated", 100.0, title="old"))
    polled = after(told("poll", "updated", 200.0, title="new"), known)
    assert twin(told("delivery", "updated", update_time, title="new"), polled) is is_one


def test_a_record_that_polling_did_not_know_had_changes_that_it_could_not_tell() -> None:
    polled = after(told("poll", "updated", 200.0, title="new"))
    assert not twin(told("delivery", "updated", 150.0, title="old", stage_id=2), polled)
    assert twin(told("delivery", "updated", 200.0, title="new"), polled)


def test_all_that_came_before_a_found_addition_was_told_by_it() -> None:
    polled = after(told("poll", "added", 200.0, title="new"))
    assert twin(told("delivery", "added", 150.0, title="old"), polled)
    assert twin(told("delivery", "updated", 200.0, title="new"), polled)
