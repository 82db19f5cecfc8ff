"""The fuse: stops a loop that runs through somebody else, who answers what a handler writes. Imports store rows alone.

What a handler hears of itself is kept from it (writes.py); what another integration does in answer is not. Where a
record comes back to the same handler again and again, each time after the handler's own write, nobody but a loop does
that, and the lane is parked until a person has looked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeflow.store.base import Run

LIMIT = 20
"""Runs of one handler on one record, each on an event that came after the last one's write, within `SECONDS`."""
SECONDS = 60.0
MOST = 10_000

Lane = tuple[str, int, str, str]


@dataclass(slots=True)
class _Answers:
    """When a lane last wrote, and when its runs began that came after a write of its own."""

    wrote_at: float
    at: deque[float] = field(default_factory=deque)


class Fuse:
    """Counts, for each handler and record, the runs that answer answers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lanes: dict[Lane, _Answers] = {}

    def wrote(self, run: Run, received_at: float, wrote_at: float) -> None:
        """Note that a run wrote: `received_at` is when its event came, `wrote_at` when it wrote last."""
        if run.kind == "job":
            return
        lane = self._lanes.pop(_lane(run), None)
        if lane is None:
            lane = _Answers(wrote_at)
        elif received_at >= lane.wrote_at:
            lane.at.append(self._clock())
        lane.wrote_at = wrote_at
        self._lanes[_lane(run)] = lane
        if len(self._lanes) > MOST:
            del self._lanes[next(iter(self._lanes))]

    def is_blown(self, run: Run) -> bool:
        """Say whether this run must wait for a person; costs nothing for lanes that write nothing."""
        lane = self._lanes.get(_lane(run)) if self._lanes else None
        if lane is None:
            return False
        since = self._clock() - SECONDS
        while lane.at and lane.at[0] < since:
            lane.at.popleft()
        return len(lane.at) >= LIMIT

    def mend(self, run: Run) -> None:
        """Count a lane from nothing again: it is parked, and goes on once a person says so."""
        self._lanes.pop(_lane(run), None)


def _lane(run: Run) -> Lane:
    return run.handler, run.company, run.kind, run.record_id
