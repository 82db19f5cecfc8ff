"""The runs that may start, in memory: a bounded number each, slots shared fairly. Imports store rows alone.

A lane shows only its first open run here, as the store gives a run out when the one before it has ended. What does not
fit in stays on disk and is fetched again when there is room.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping

from pipeflow.store.base import Run

ROOM = 2_000
"""Runs of one handler for one company, interactive ones and others apart, in memory."""
MOST = 10_000
"""Runs in memory; beyond it, only the first of each handler and company gets in."""

Key = tuple[int, str, int]
Entry = tuple[int, float, int, Run]


class Ready:
    """Runs that are due and not started, and the slots in which they start.

    `slots` attempts at once; `limits` says for each handler how many of them at most (None: no limit of its own).
    Slots go first to the company that has the fewest, so that no company waits for another's import. A handler that has
    a slot leaves one free for each handler that has none, up to half of them, so that a slow handler never delays
    another; and a company that has one leaves up to a quarter of them to companies that have none.
    """

    def __init__(self, slots: int, limits: Mapping[str, int | None]) -> None:
        self.slots = slots
        self.in_use = 0
        self.overflowed: set[Key] = set()
        self._limits = limits
        self._waiting: dict[Key, list[Entry]] = {}
        self._number = 0
        self._used: Counter[str] = Counter()
        self._used_by: Counter[int] = Counter()
        self._companies: set[int] = set()
        self._known: set[int] = set()

    def __len__(self) -> int:
        return self._number

    def offer(self, run: Run) -> bool:
        """Take a due run in; False where it is here or under way already, or does not fit and stays on disk."""
        if run.id in self._known:
            return False
        key = (run.company, run.handler, run.priority)
        entries = self._waiting.get(key)
        if entries is not None and (len(entries) >= ROOM or self._number >= MOST):
            self.overflowed.add(key)
            return False
        self._companies.add(run.company)
        self._known.add(run.id)
        self._number += 1
        heapq.heappush(self._waiting.setdefault(key, []), (run.priority, run.due_at or 0.0, run.id, run))
        return True

    def take(self) -> Run | None:
        """Give the run that starts next, and hold a slot for it.

        The company with the fewest slots in use comes first; then priority, due time and id decide.
        """
        best: Key | None = None
        least: tuple[int, Entry] | None = None
        for key, entries in self._waiting.items():
            rank = (self._used_by[key[0]], entries[0])
            if (least is None or rank < least) and self._may_start(key[0], key[1]):
                best, least = key, rank
        if best is None:
            return None
        run = self._pop(best)
        self.in_use += 1
        self._used[run.handler] += 1
        self._used_by[run.company] += 1
        return run

    def release(self, run: Run) -> None:
        """Give the slot of a run back: its handler has ended, though its end may not be stored yet."""
        self.in_use -= 1
        self._used[run.handler] -= 1
        if not self._used[run.handler]:
            del self._used[run.handler]
        self._used_by[run.company] -= 1
        if not self._used_by[run.company]:
            del self._used_by[run.company]

    def forget(self, run_id: int) -> None:
        """Let a run be offered again: its end is stored, or it was not there to start."""
        self._known.discard(run_id)

    def drop(self, company: int) -> None:
        """Leave the waiting runs of a company to the disk."""
        for key in [key for key in self._waiting if key[0] == company]:
            entries = self._waiting.pop(key)
            self._number -= len(entries)
            self._known.difference_update(entry[2] for entry in entries)

    def hungry(self) -> bool:
        """Say whether to fetch from the disk: nothing waits here, or there is much room for what did not fit."""
        if not self._number:
            return True
        return self._number <= MOST // 2 and any(len(self._waiting.get(key, ())) < ROOM // 4 for key in self.overflowed)

    def crowded(self) -> set[int]:
        """Name the companies of which no more fits in, so that others' runs can be fetched past theirs."""
        return {company for company, _, _ in self.overflowed}

    def _pop(self, key: Key) -> Run:
        entries = self._waiting[key]
        run = heapq.heappop(entries)[3]
        self._number -= 1
        if not entries:
            del self._waiting[key]
        return run

    def _may_start(self, company: int, handler: str) -> bool:
        if self.in_use >= self.slots:
            return False
        used = self._used.get(handler, 0)
        limit = self._limits.get(handler)
        if limit is not None and used >= limit:
            return False
        left_free = 0
        if used:
            left_free = min(len(self._limits) - len(self._used), self.slots // 2)
        if company in self._used_by:
            left_free = max(left_free, min(len(self._companies) - len(self._used_by), self.slots // 4))
        return self.in_use + left_free < self.slots
