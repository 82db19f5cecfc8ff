"""What the engine tells those who watch it, and a watcher that says it in plain words. Imports store rows alone."""

from __future__ import annotations

import logging
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


class Narrator:
    """Says on a logger what arrives and what the handlers did, one line each."""

    def __init__(self, log: logging.Logger | None = None) -> None:
        self._log = log or logging.getLogger("pipeflow.engine")

    def event_dispatched(self, event: StoredEvent, handlers: Sequence[str]) -> None:
        """Say what happened and who will act; ticks are left to their runs."""
        if event.source == "tick":
            return
        also = ", ".join(name.partition(".")[2].replace("_", " ") for name in event.names[1:])
        what = f"{event.kind} {event.record_id} {event.action}" + (f" ({also})" if also else "")
        stale = ", stale" if event.stale else ""
        found = ", found by polling" if event.source == "poll" else ""
        who = ", ".join(handlers) or "no handler"
        self._log.info("%s%s%s -> %s", what, stale, found, who, extra={"event_id": event.id, "company": event.company})

    def run_closed(self, run: Run, closing: Closing, seconds: float) -> None:
        """Say how a run went: a warning where it will be tried again, an error where it is dead."""
        where = "" if run.kind == "job" else f" on {run.kind} {run.record_id}"
        about = {"run_id": run.id, "event_id": run.event_id, "handler": run.handler, "company": run.company}
        subject = f"{run.handler}{where}"
        if closing.status == "succeeded":
            self._log.info("%s succeeded in %.2f s", subject, seconds, extra=about)
        elif closing.status == "skipped":
            self._log.debug("%s skipped: %s", subject, closing.error, extra=about)
        elif closing.status == "dead":
            text = "%s is dead: %s (pipeflow runs %d shows it, pipeflow replay %d tries it again)"
            self._log.error(text, subject, closing.error, run.id, run.id, extra=about)
        elif closing.outcome in ("released", "paused"):
            self._log.info("%s waits: %s", subject, closing.error, extra=about)
        else:
            self._log.warning("%s failed and will be tried again: %s", subject, closing.error, extra=about)

    def notice(self, text: str) -> None:
        """Say it as a warning."""
        self._log.warning("%s", text)
