"""What the engine tells those who watch it. Imports store rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeflow.store.base import Closing, Run, StoredEvent


class Observer(Protocol):
    """Somebody who watches an engine (`engine.observers.append(...)`). Called on the loop; must not block."""

    def event_dispatched(self, event: StoredEvent, handlers: Sequence[str]) -> None:
        """An event was dispatched: runs of these handlers were made (none where no handler wanted it)."""

    def run_closed(self, run: Run, closing: Closing, seconds: float) -> None:
        """An attempt of a run ended like this after so many seconds; `closing.status` is the run's from now on."""

    def notice(self, text: str) -> None:
        """Something the operator should read: an account paused, a lane parked, suspects after a crash."""


class Observers(list[Observer]):
    """Those who watch an engine, told all at once."""

    def dispatched(self, events: Sequence[StoredEvent], runs: Sequence[Run]) -> None:
        """Tell of events that were dispatched, and of the runs made for them."""
        handlers: dict[int, list[str]] = {}
        for run in runs:
            handlers.setdefault(run.event_id, []).append(run.handler)
        for event in events:
            for observer in self:
                observer.event_dispatched(event, handlers.get(event.id, ()))

    def closed(self, run: Run, closing: Closing, seconds: float) -> None:
        """Tell how an attempt ended."""
        for observer in self:
            observer.run_closed(run, closing, seconds)

    def notice(self, text: str) -> None:
        """Tell the operator something."""
        for observer in self:
            observer.notice(text)
