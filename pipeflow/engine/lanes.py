"""The runs that may start, in memory: a bounded number of each handler, slots shared fairly. Imports store rows alone.

A lane shows only its first open run here, as the store gives a run out when the one before it has ended. What does not
fit in stays on disk and is fetched again when there is room.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping

from pipeflow.store.base import Run

ROOM = 500
"""Runs of one handler in memory."""

Entry = tuple[int, float, int, Run]


class Ready:
    """Runs that are due and not started, and the slots in which they start.

    `slots` attempts at once; `limits` says for each handler how many of them at most (None: no limit of its own).
    A handler that has a slot leaves one free for each handler that has none, up to half of them, so that a slow handler
    never delays another.
    """

    def __init__(self, slots: int, limits: Mapping[str, int | None]) -> None:
        self.slots = slots
        self.in_use = 0
        self.overflowed: set[str] = set()
        self._limits = limits
        self._waiting: dict[str, list[Entry]] = {}
        self._used: Counter[str] = Counter()
        self._known: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def room(self, handler: str) -> int:
        """Say how many more runs of this handler fit in."""
        return ROOM - len(self._waiting.get(handler, ()))

    def offer(self, run: Run) -> bool:
        """Take a due run in; False where it is here or under way already, or does not fit and stays on disk."""
        if run.id in self._known:
            return False
        if self.room(run.handler) <= 0:
            self.overflowed.add(run.handler)
            return False
        self._known.add(run.id)
        entry = (run.priority, run.due_at or 0.0, run.id, run)
        heapq.heappush(self._waiting.setdefault(run.handler, []), entry)
        return True

    def take(self) -> Run | None:
        """Give the run that starts next, by priority, then due time, then id, and hold a slot for it."""
        best: list[Entry] | None = None
        for handler, entries in self._waiting.items():
            if entries and (best is None or entries[0] < best[0]) and self._may_start(handler):
                best = entries
        if best is None:
            return None
        run = heapq.heappop(best)[3]
        self.in_use += 1
        self._used[run.handler] += 1
        return run

    def release(self, run: Run) -> None:
        """Give the slot of a run back: its handler has ended, though its end may not be stored yet."""
        self.in_use -= 1
        self._used[run.handler] -= 1
        if not self._used[run.handler]:
            del self._used[run.handler]

    def forget(self, run_id: int) -> None:
        """Let a run be offered again: its end is stored, or it was not there to start."""
        self._known.discard(run_id)

    def drop(self, company: int) -> None:
        """Leave the waiting runs of a company to the disk."""
        for handler, entries in self._waiting.items():
            kept = [entry for entry in entries if entry[3].company != company]
            if len(kept) == len(entries):
                continue
            self._known.difference_update(entry[2] for entry in entries if entry[3].company == company)
            heapq.heapify(kept)
            self._waiting[handler] = kept

    def _may_start(self, handler: str) -> bool:
        used = self._used.get(handler, 0)
        limit = self._limits.get(handler)
        if limit is not None and used >= limit:
            return False
        if not used:
            return self.in_use < self.slots
        idle = min(len(self._limits) - len(self._used), self.slots // 2)
        return self.in_use + idle < self.slots
