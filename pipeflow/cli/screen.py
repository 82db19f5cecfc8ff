"""What `run` tells while it runs: a line for each event and each run that ends, never a flood. Imports cli only."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeflow.cli.narration import tell_event, tell_run
from pipeflow.store.base import Closing, Run, StoredEvent

if TYPE_CHECKING:
    from pipeflow.cli.compose import Service
    from pipeflow.engine.webhooks import WebhookChanges

LINES_A_SECOND = 40
NAMED = 8
"""Accounts that the first screen names."""

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
        nobody = f"nobody, as {event.chain[-1]} wrote it" if event.status == "echo" else "no handler"
        log.info("%s → %s", tell_event(event), ", ".join(handlers) or nobody, extra=about)

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


async def first_screen(service: Service, changes: WebhookChanges | None, *, sandbox: bool, as_json: bool) -> None:
    """Say in plain words what is connected, what was registered, and where to look next."""
    facts = await _facts(service, changes, sandbox)
    if as_json:
        log.info("ready", extra={name.lower().replace(" ", "_"): " ".join(lines) for name, lines in facts.items()})
        return
    width = max(map(len, facts))
    text = [""]
    for name, lines in facts.items():
        text += [f"  {name if first else '':<{width}}   {line}" for first, line in _marked(lines)]
    flag = " --sandbox" if sandbox else ""
    text += ["", "  Look closer in another terminal:"]
    text += [
        f"    pipeflow runs{flag:<16} what the handlers did",
        f"    pipeflow events{flag:<14} what arrived",
        f"    pipeflow doctor{flag:<14} every setting, and whether all is well",
        "",
        "  Ctrl-C ends it.",
        "",
    ]
    sys.stdout.write("\n".join(text) + "\n")
    sys.stdout.flush()


async def _facts(service: Service, changes: WebhookChanges | None, sandbox: bool) -> dict[str, list[str]]:
    from pipeflow.cli.compose import shown_database
    from pipeflow.engine.conversions import NAME as CONVERSIONS

    settings, registry = service.settings, service.registry
    connected = await service.accounts.connected()
    accounts = [f"{one.company_name or one.company}, as {one.name or one.user_id}" for one in connected[:NAMED]]
    accounts = accounts or ["no account yet"]
    if len(connected) > NAMED:
        accounts.append(f"and {len(connected) - NAMED} more accounts: `pipeflow accounts` lists them")
    if settings.client_id is not None:
        accounts.append(f"to connect a company, open {settings.public_url}/oauth/install")
    handlers = [handler for handler in registry.handlers.values() if handler.name != CONVERSIONS]
    named = [f"{handler.name} on {', '.join(handler.patterns)}" for handler in handlers]
    named += [f"{job.name} {describe_times(job.every, job.cron, job.timezone)}" for job in registry.jobs.values()]
    files = {handler.file for handler in handlers} | {job.file for job in registry.jobs.values()}
    counted = [
        _count(len(files), "recipe"),
        _count(len(handlers), "handler"),
        _count(len(registry.jobs), "job"),
    ]
    counts = await service.store.counts()
    kept = ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "new"
    return {
        "Connected": accounts,
        "Webhooks": _webhooks(changes, bool(registry.needs()))
        if service.poll is None
        else _polling(service, service.poll),
        "Recipes": [", ".join(counted), *(f"  {line}" for line in named)],
        "Store": [f"{shown_database(settings.database_url)} ({kept})"],
        "Listening": [f"{settings.public_url} from outside, port {settings.port} here"]
        if settings.public_url
        else [f"port {settings.port} here"],
        **({"Sandbox": [f"{settings.api_url}, where a simulated sales team is at work"]} if sandbox else {}),
    }


def _webhooks(changes: WebhookChanges | None, needed: bool) -> list[str]:
    if changes is None:
        return ["not registered, see above; tried again within the hour"]
    told = [
        f"{len(hooks)} {what}: {', '.join(f'{hook.action} {hook.object}' for hook in hooks)}"
        for what, hooks in (("added", changes.added), ("kept", changes.kept), ("removed", changes.removed))
        if hooks
    ]
    if not told and needed:
        return ["none yet: they are made as soon as a company is connected"]
    return told or ["none needed: no handler asks for an event"]


def _polling(service: Service, seconds: float) -> list[str]:
    tokens = f"{service.upkeep.daily_tokens:,.0f}"
    return [f"none: asks every {seconds:g} s instead, for about {tokens} API tokens a day and company"]


def describe_times(every: float | None, cron: str | None, timezone: str | None) -> str:
    """Say when a job is due."""
    if every is not None:
        return f"every {every:g} s"
    zone = "the account's time zone" if timezone == "account" else timezone or "UTC"
    return f"at {cron} ({zone})"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _marked(lines: list[str]) -> list[tuple[bool, str]]:
    return [(place == 0, line) for place, line in enumerate(lines)]
