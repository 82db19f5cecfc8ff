"""What `run` tells while it runs: a line for each event and each run that ends, never a flood. Imports cli only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeflow.cli.narration import tell_event, tell_run
from pipeflow.store.base import Closing, Run, StoredEvent

if TYPE_CHECKING:
    from pipeflow.cli.compose import Service
    from pipeflow.engine.webhooks import WebhookChanges

LINES_A_SECOND = 40

log = logging.getLogger("pipeflow.run")


class Screen:
    """Watches the engine and says what it sees; past 40 lines in a second it only counts: talk must cost no speed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._events_left_out = 0
        self._runs_left_out = 0

    def event_dispatched(self, event: StoredEvent, handlers: Sequence[str]) -> None:
        """Say what happened and who acts on it; ticks are left to their runs."""
        if event.source == "tick":
            return
        if not self._may_speak():
            self._events_left_out += 1
            return
        about = {"event_id": event.id, "company": event.company}
        log.info("%s → %s", tell_event(event), ", ".join(handlers) or "no handler", extra=about)

    def run_closed(self, run: Run, closing: Closing, seconds: float) -> None:
        """Say how a run went: a warning where it will be tried again, an error where it is dead."""
        if closing.status == "skipped":
            return
        level = {"succeeded": logging.INFO, "dead": logging.ERROR}.get(closing.status, logging.WARNING)
        if not self._may_speak():
            self._runs_left_out += 1
            return
        about = {"run_id": run.id, "event_id": run.event_id, "handler": run.handler, "company": run.company}
        log.log(level, "%s", tell_run(run, closing, seconds), extra=about)

    def notice(self, text: str) -> None:
        """Say what the operator should read."""
        log.warning("%s", text)

    def _may_speak(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            if self._events_left_out or self._runs_left_out:
                log.info("… and %d more events, %d more runs", self._events_left_out, self._runs_left_out)
            self._second, self._lines, self._events_left_out, self._runs_left_out = second, 0, 0, 0
        self._lines += 1
        return self._lines <= LINES_A_SECOND


async def first_screen(service: Service, sandbox: bool, changes: WebhookChanges | None) -> None:
    """Say in plain words what is connected, what was registered, and where to look next."""
    for account in await service.accounts.connected():
        log.info("Connected to %s as %s", account.company_name or account.company, account.name or account.user_id)
    registry = service.registry
    log.info("%d handlers, %d jobs: %s", len(registry.handlers), len(registry.jobs), ", ".join(_names(service)))
    if changes is not None:
        counts = (len(changes.added), len(changes.kept), len(changes.removed))
        log.info("Webhooks at Pipedrive: %d added, %d kept, %d removed", *counts)
    if sandbox:
        log.info("A simulated sales team is at work in %s", service.settings.api_url)
    log.info("Look closer in another terminal: pipeflow events, pipeflow runs, pipeflow doctor. Ctrl-C ends it.")


def _names(service: Service) -> list[str]:
    return [*service.registry.handlers, *service.registry.jobs]
