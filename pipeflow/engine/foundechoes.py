"""Whether an event that polling found tells nothing but writes of ours: several at once, perhaps. Imports echoes.

Polling tells in one event what happened to a record since the last look: our own writes come together, of several
handlers even, and with other people's changes. Where a part of it is not ours, it is not an echo.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeflow.engine.echoes import Part, Told, Trace, first_told


def parts_told(event: Told, traces: Sequence[Trace]) -> list[Part]:
    """Give the writes that an event tells of, and what of each; an empty list where a part of it is not ours."""
    if event.stored.source == "poll":
        if event.stored.action == "updated" and event.real:
            return _updates(event, traces)
        if event.stored.action == "added":
            return _addition(event, traces)
    found = first_told(event, traces)
    return [] if found is None else [found]


def _updates(event: Told, traces: Sequence[Trace]) -> list[Part]:
    """Explain each field that changed by the last of our writes to it; the last change of all must be one of them."""
    usable = [trace for trace in _written(event, traces) if event.may_tell(trace)]
    if not any(event.is_moment(trace.write) for trace in usable):
        return []
    left, excused = set(event.real), set[str]()
    parts: list[Part] = []
    for trace in reversed(usable):
        told, more = event.explain(trace)
        excused |= more
        mine = tuple(key for key in told if key in left and not event.told_before(trace, key))
        if mine:
            parts.append((trace, mine))
            left -= set(mine)
    return [] if left - excused else parts


def _addition(event: Told, traces: Sequence[Trace]) -> list[Part]:
    """Find who added a record; our later writes to it excuse that it is not as it was made."""
    for trace in traces:
        told = event.tells(trace)
        if told is None or trace.target.effect != "create" or not trace.made:
            continue
        later = [one for one in _written(event, traces) if event.is_moment(one.write)]
        if event.is_untouched(trace) or later:
            return [(trace, told), *((one, ()) for one in later)]
    return []


def _written(event: Told, traces: Sequence[Trace]) -> list[Trace]:
    here = event.stored.kind, event.stored.record_id
    return [
        trace
        for trace in traces
        if trace.target.effect == "update" and (trace.target.kind, trace.target.record_id) == here
    ]
