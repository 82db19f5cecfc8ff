"""Companies that rest while their account is in trouble, and the run that tries it out after. Imports store rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeflow.naming import ACCOUNT
from pipeflow.store.base import Run


class Rests:
    """Says which companies' runs may start. Those that tell of the account itself never wait with the others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[int, float] = {}
        self._probes: dict[int, int] = {}

    def begin(self, company: int, seconds: float) -> bool:
        """Let a company rest for so long from now; False where it rests already."""
        first = company not in self._until
        self._until[company] = self._clock() + seconds
        return first

    def end(self, company: int) -> bool:
        """Let a company go on; False where it does not rest."""
        return self._until.pop(company, None) is not None

    def resting(self, now: float) -> set[int]:
        """Name the companies of which nothing need be fetched."""
        return {company for company, until in self._until.items() if until > now or company in self._probes}

    def ends(self) -> Iterable[float]:
        """Say when rests end."""
        return self._until.values()

    def may_start(self, run: Run) -> bool:
        """Say whether a run may start; after a rest one is let through, and the others wait for how it ends."""
        if run.company not in self._until or run.kind == ACCOUNT:
            return True
        if self._clock() < self._until[run.company] or run.company in self._probes:
            return False
        self._probes[run.company] = run.id
        return True

    def leave(self, run: Run) -> None:
        """Note that a run is not under way any more."""
        if self._probes.get(run.company) == run.id:
            del self._probes[run.company]
