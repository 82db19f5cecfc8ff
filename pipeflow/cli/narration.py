"""Events and runs in plain words: "deal 12 'Acme' moved to stage 3". Imports events and store rows. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeflow.cli.times import took
from pipeflow.events import Payload, normalise
from pipeflow.store.base import Closing, Run, StoredEvent

_TITLES = ("title", "name", "subject", "content")
_LONGEST_TITLE = 40
_QUIET_FIELDS = {"update_time", "custom_fields", "stage_change_time", "last_stage_change"}
_PHRASES = {
    "added": "was added",
    "deleted": "was deleted",
    "won": "was won",
    "lost": "was lost",
    "reopened": "was opened again",
    "archived": "was archived",
    "unarchived": "was taken out of the archive",
    "merged": "was merged",
    "completed": "was completed",
    "activated": "was activated",
    "deactivated": "was deactivated",
    "converted": "was converted",
    "connected": "was connected",
    "disconnected": "was disconnected",
    "needs_reconnect": "must be connected again",
    "stage_changed": "moved to stage {stage_id}",
    "pipeline_changed": "moved to pipeline {pipeline_id}",
    "phase_changed": "moved to phase {phase_id}",
    "owner_changed": "went to owner {owner_id}",
}


def tell_event(event: StoredEvent) -> str:
    """Say what happened, in a sentence without a full stop."""
    if event.status == "unreadable":
        return f"a delivery that cannot be read arrived ({len(event.raw)} bytes)"
    try:
        payload = normalise(event.raw)
    except ValueError:
        return f"{event.name} {event.record_id}"
    subject = " ".join(filter(None, (event.kind, event.record_id, _title(payload.state))))
    return subject + " " + _happened(event, payload) + (", stale" if event.stale else "")


def tell_run(run: Run, closing: Closing, seconds: float) -> str:
    """Say how an attempt of a run ended and what follows."""
    subject = run.handler if run.kind == "job" else f"{run.handler} on {run.kind} {run.record_id}"
    why = f": {_first_line(closing.error)}" if closing.error else ""
    if closing.status == "succeeded":
        return f"{subject} succeeded in {took(seconds)}"
    if closing.status == "skipped":
        return f"{subject} skipped{why}"
    if closing.status == "dead":
        return f"{subject} is dead{why} (`pipeflow runs {run.id}` shows it, `pipeflow replay {run.id}` tries it again)"
    if closing.counted:
        return f"{subject} failed and will be tried again{why}"
    return f"{subject} waits{why}"


def _title(state: Mapping[str, Any]) -> str:
    for key in _TITLES:
        value = state.get(key)
        if isinstance(value, str) and value:
            line = _first_line(value)
            return f"'{line[: _LONGEST_TITLE - 1]}…'" if len(line) > _LONGEST_TITLE else f"'{line}'"
    return ""


def _happened(event: StoredEvent, payload: Payload) -> str:
    state = payload.state
    verbs = [name.partition(".")[2] for name in event.names if name.startswith(f"{event.kind}.")] or [event.action]
    told = [_PHRASES[verb].format_map(_Values(state)) for verb in verbs if verb in _PHRASES]
    if told:
        return " and ".join(told)
    if event.action != "updated":
        return event.action
    changed = [key for key in (payload.previous or {}) if key not in _QUIET_FIELDS]
    custom = (payload.previous or {}).get("custom_fields")
    more = len(custom) if isinstance(custom, dict) else 0
    if more:
        changed.append(f"{more} custom field{'' if more == 1 else 's'}")
    return f"changed: {', '.join(changed[:4])}{', …' if len(changed) > 4 else ''}" if changed else "was updated"


class _Values(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def _first_line(text: str) -> str:
    return " ".join(text.split())[:200]
