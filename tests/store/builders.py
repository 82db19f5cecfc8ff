"""Short ways to say what the tests put into a store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from pipeflow.store.base import ALL, PARTITIONS, Closing, Dispatch, NewEvent, NewRun, RecordState, Run, Store

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what a single file can promise: one owner, whose work waits for nobody."""
postgres_only = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)

NOW = 1_764_052_633.123456
COMPANY = 4410021

_numbers = count(1)


def new_event(record: int | str = 1, **fields: Any) -> NewEvent:
    """Give an event that no other is equal to, but for what `fields` say."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "company": COMPANY,
        "key": f"2.0:{number:08x}",
        "name": "deal.updated",
        "kind": "deal",
        "record_id": str(record),
        "action": "updated",
        "source": "delivery",
        "raw": b'{"data": {"id": %d}}' % number,
        "received_at": NOW,
        "partition": hash(str(record)) % PARTITIONS,
        "delivery_id": f"d{number}",
        "occurred_at": NOW - 0.5,
        "update_time": float(number),
        "actor_id": "5521007",
    }
    return NewEvent(**(values | fields))


def new_tick(job: str, due_at: float) -> NewEvent:
    """Give a tick of a job."""
    return new_event(
        job, key=f"tick:{job}:{due_at}", name="tick", kind="job", action="tick", source="tick", update_time=None
    )


async def add(store: Store, event: NewEvent) -> int:
    """Store one event that nobody knows yet."""
    (event_id,) = await store.add_events([event])
    assert event_id is not None
    return event_id


async def dispatch(
    store: Store, *event_ids: int, handlers: Sequence[str] = ("a.one",), ordered: bool = True, now: float = NOW
) -> list[Run]:
    """Dispatch events to handlers, as the engine does."""
    waiting = {event.id: event for event in await store.undispatched(ALL, limit=1_000)}
    events = [waiting[event_id] for event_id in event_ids]
    return await store.dispatch(
        [
            Dispatch(
                event.id,
                (event.name,),
                "dispatched" if handlers else "unmatched",
                runs=tuple(NewRun(name, lane(name, event.record_id) if ordered else None) for name in handlers),
            )
            for event in events
        ],
        ALL,
        now,
    )


def lane(handler: str, record: int | str) -> str:
    """Name a lane."""
    return f"{handler}:{COMPANY}:deal:{record}"


async def make_run(
    store: Store, record: int | str = 1, *, ordered: bool = True, now: float = NOW, **fields: Any
) -> Run:
    """Store an event and make a run of it."""
    (run,) = await dispatch(store, await add(store, new_event(record, **fields)), ordered=ordered, now=now)
    return run


async def finish(store: Store, run: Run, *, now: float = NOW, status: str = "succeeded") -> Run | None:
    """Execute a run in one attempt; give the run that it made due."""
    assert await store.open_attempt(run.id, ALL, now) is not None
    return await store.close_attempt(closing(run, status=status), ALL, now)


def closing(run: Run, **fields: Any) -> Closing:
    """Close an attempt; a success, but for what `fields` say."""
    values: dict[str, Any] = {"outcome": "succeeded", "status": "succeeded"}
    return Closing(run.id, **(values | fields))


def failing(run: Run, due_at: float) -> Closing:
    """Close an attempt that failed and shall be tried again."""
    return Closing(run.id, "failed", "pending", due_at=due_at, error="ValueError: no")


def state(record: int | str, update_time: float | None, **fields: Any) -> RecordState:
    """Give the state of a deal."""
    values: dict[str, Any] = {"source": "delivery", "state": b"{}"}
    return RecordState(COMPANY, "deal", str(record), update_time, **(values | fields))
