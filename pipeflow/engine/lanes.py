"""The runs that may start, in memory: a bounded number each, slots shared fairly. Imports store rows alone.

A lane shows only its first open run here, as the store gives a run out when the one before it has ended. What does not
fit in stays on disk and is fetched again when there is room.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

from pipeflow.store.base import Run

ROOM = 500
"""Runs of one handler for one company, interactive ones and others apart, in memory."""
PLENTY = 64
"""Of so many no more are fetched; once fewer wait here, they are."""
MOST = 10_000
"""Runs in memory; beyond it, only the first of each handler and company gets in."""
AHEAD = 400
"""Runs of a company in memory from which on its events need not be dispatched as fast as can be."""

Key = tuple[int, str, int]
Entry = tuple[int, float, int, Run]
COMPARED = 16
_NOTHING: dict[Key, list[Entry]] = {}


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
        self._waiting: dict[int, dict[Key, list[Entry]]] = {}
        self._fresh: dict[int, None] = {}  # companies that wait and have no slot, the one that has waited longest first
        self._number = 0
        self._used: Counter[str] = Counter()
        self._used_by: Counter[int] = Counter()
        self._companies: set[int] = set()
        self._known: set[int] = set()

    def __len__(self) -> int:
        return self._number

    @property
    def is_shared(self) -> bool:
        """Whether more than one company is known."""
        return len(self._companies) > 1

    def know(self, companies: Iterable[int]) -> None:
        """Leave slots to these companies before their first run comes."""
        self._companies.update(companies)

    def offer(self, run: Run) -> bool:
        """Take a due run in; False where it is here or under way already, or does not fit and stays on disk."""
        if run.id in self._known:
            return False
        key = (run.company, run.handler, run.priority)
        entries = self._waiting.get(run.company, _NOTHING).get(key)
        if entries is not None and (len(entries) >= ROOM or self._number >= MOST):
            self.overflowed.add(key)
            return False
        self._companies.add(run.company)
        self._known.add(run.id)
        self._number += 1
        if run.company not in self._used_by:
            self._fresh.setdefault(run.company)
        entries = self._waiting.setdefault(run.company, {}).setdefault(key, [])
        heapq.heappush(entries, (run.priority, run.due_at or 0.0, run.id, run))
        return True

    def take(self) -> Run | None:
        """Give the run that starts next, and hold a slot for it.

        The company with the fewest slots in use comes first; then priority, due time and id decide. Of many companies
        without any slot only those are compared that have waited longest, so that a thousand cost no more than a few.
        """
        if self.in_use >= self.slots:
            return None
        for companies in (islice(self._fresh, COMPARED), self._fresh, self._used_by):
            best = self._best(companies)
            if best is not None:
                return self._start(best)
        return None

    def _best(self, companies: Iterable[int]) -> Key | None:
        best: Key | None = None
        least: tuple[int, Entry] | None = None
        for company in companies:
            for key, entries in self._waiting.get(company, _NOTHING).items():
                rank = (self._used_by[company], entries[0])
                if (least is None or rank < least) and self._may_start(company, key[1]):
                    best, least = key, rank
        return best

    def _start(self, key: Key) -> Run:
        mine = self._waiting[key[0]]
        run = heapq.heappop(mine[key])[3]
        if not mine[key]:
            del mine[key]
        if not mine:
            del self._waiting[run.company]
        self._fresh.pop(run.company, None)
        self._number -= 1
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
            if run.company in self._waiting:
                self._fresh[run.company] = None

    def forget(self, run_id: int) -> None:
        """Let a run be offered again: its end is stored, or it was not there to start."""
        self._known.discard(run_id)

    def drop(self, company: int) -> None:
        """Leave the waiting runs of a company to the disk."""
        for entries in self._waiting.pop(company, _NOTHING).values():
            self._number -= len(entries)
            self._known.difference_update(entry[2] for entry in entries)
        self._fresh.pop(company, None)

    def hungry(self) -> bool:
        """Say whether to fetch from the disk: nothing waits here, or there is much room for what did not fit."""
        if not self._number:
            return True
        return self._number <= MOST // 2 and any(
            len(self._waiting.get(key[0], _NOTHING).get(key, ())) < PLENTY for key in self.overflowed
        )

    def busy(self) -> set[int]:
        """Name the companies of which so many runs wait here that more of them need not be made at once."""
        if self._number < AHEAD:
            return set()
        return {company for company, mine in self._waiting.items() if sum(map(len, mine.values())) >= AHEAD}

    def plenty(self) -> dict[Key, int]:
        """Count that of which enough waits here: only other runs need be fetched, and these once fewer are left."""
        found = {key: len(runs) for mine in self._waiting.values() for key, runs in mine.items() if len(runs) >= PLENTY}
        self.overflowed.update(found)
        return found

    def _may_start(self, company: int, handler: str) -> bool:
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
