"""What every store decides alike, whatever database it keeps things in. Imports the rows; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeflow.store.base import NewRun, Run

CRASHES_ALLOWED = 3
DIED = "the process died during this attempt"
DIED_TOO_OFTEN = f"the process died {CRASHES_ALLOWED} times while only this run was executing"
ENDED = ("succeeded", "skipped", "dead")
SUPERSEDED = "superseded by a newer tick"


class Head(NamedTuple):
    """What runs take over from their event."""

    event_id: int
    company: int
    kind: str
    record_id: str
    partition: int
    bulk: int


class Seed(NamedTuple):
    """What a new run is made of."""

    event_id: int
    handler: str
    lane: str | None
    company: int
    kind: str
    record_id: str
    partition: int
    priority: int
    replay_of: int | None = None


def seeds_of(head: Head, runs: Iterable[NewRun]) -> list[Seed]:
    """Say what runs an event gets: one for each handler, work of a bulk edit after other work."""
    return [
        Seed(head.event_id, handler, new.lane, head.company, head.kind, head.record_id, head.partition, int(head.bulk))
        for handler, new in {new.handler: new for new in runs}.items()
    ]


def seeds_again(run_ids: Sequence[int], old: Iterable[Run]) -> list[Seed]:
    """Say what runs replay these: each once, those that are known."""
    known = {run.id: run for run in old}
    found = [known[run_id] for run_id in dict.fromkeys(run_ids) if run_id in known]
    return [
        Seed(run.event_id, run.handler, run.lane, run.company, run.kind, run.record_id, run.partition, 0, run.id)
        for run in found
    ]
