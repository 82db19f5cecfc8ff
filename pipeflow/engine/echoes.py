"""Whether an event tells what a write of ours did. Pure: imports events, customs, store rows and targets; no I/O.

A write tells at most once what it changed, so that another integration which puts the same value back later is heard.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from pipeflow.catalog.values import Address, Money, Options, TimeOfDay, TimeRange, to_datetime
from pipeflow.customs import custom_value
from pipeflow.engine.targets import LINKS, Target, target
from pipeflow.events import Change, Event, Payload, build_event
from pipeflow.store.base import StoredEvent, Write

WINDOW = 300.0
"""Seconds after a write in which a delivery may still tell of it: Pipedrive's last try comes after three minutes."""
UNSURE_WINDOW = 60.0
"""Seconds after its intent in which a write may have happened of which nobody knows; clocks that differ included."""

_BOOKKEEPING = frozenset(
    {"update_time", "stage_change_time", "first_won_time", "update_user_id", "last_update_user_id"}
    | {"first_char", "url_title"}
)
_BOOKKEEPING_BEGINS = ("next_activity", "last_activity", "last_incoming", "last_outgoing")
"""What nobody writes: Pipedrive keeps it up to date by itself."""
_FOLLOWS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "deal": {
        "stage_id": frozenset({"pipeline_id", "probability"}),
        "pipeline_id": frozenset({"stage_id", "probability"}),
        "status": frozenset({"lost_reason", "won_time", "lost_time", "close_time", "probability"}),
        "is_archived": frozenset({"archive_time"}),
        "person_id": frozenset({"org_id"}),
    },
    "person": {
        "name": frozenset({"first_name", "last_name"}),
        "first_name": frozenset({"name"}),
        "last_name": frozenset({"name"}),
        "label_ids": frozenset({"label"}),
    },
    "organization": {"address": frozenset({"country_code"}), "label_ids": frozenset({"label"})},
    "activity": {
        "done": frozenset({"marked_as_done_time"}),
        "deal_id": frozenset({"person_id", "org_id"}),
        "lead_id": frozenset({"person_id", "org_id"}),
        "person_id": frozenset({"org_id"}),
        "participants": frozenset({"person_id", "org_id"}),
    },
}
"""By kind and field: other fields that Pipedrive moves along with it."""
_GONE = frozenset({"active_flag", "is_deleted"})
_NO_CHANGE = "~"


@dataclass(slots=True)
class Trace:
    """A write and which events have told of it: by field (or `~` for none), the print of the event that did.

    `user` is who made it at Pipedrive. `again` is the write of another attempt that did the same, where this one may
    have happened or not.
    """

    write: Write
    target: Target
    user: str
    made: frozenset[str] = frozenset()
    told: dict[str, int] = field(default_factory=dict)
    again: Write | None = None

    @classmethod
    def of(cls, write: Write, user: str) -> Trace:
        """Trace a write as it is stored."""
        made = made_ids(write.answer) if write.outcome == "done" else frozenset()
        return cls(write, target(write.operation, write.record_id, write.values), user, made)

    @property
    def may_show(self) -> bool:
        """Say whether Pipedrive may have carried it out."""
        return self.write.outcome in (None, "done", "unknown")


def made_ids(answer: Mapping[str, Any] | None) -> frozenset[str]:
    """Give the ids that an answer names as its own: one record, or a list of them."""
    if not answer:
        return frozenset()
    items = answer.get("items")
    found = [answer, *(items if isinstance(items, list) else ())]
    return frozenset(str(one["id"]) for one in found if isinstance(one, Mapping) and one.get("id") is not None)


class Told:
    """What one event tells, read once for all the writes it is compared with.

    `slack` is by how many seconds the clocks of those may differ who stored it and who wrote.
    """

    def __init__(self, stored: StoredEvent, payload: Payload, slack: float) -> None:
        self.stored = stored
        self._slack = slack
        self.payload = payload
        self.changes: Mapping[str, Change] = _event(payload, stored).changes if stored.action == "updated" else {}
        self.real = {key: change for key, change in self.changes.items() if not _is_bookkeeping(key)}

    def tells(self, trace: Trace) -> tuple[str, ...] | None:
        """Give what of the write this event tells (see `Trace.told`); None where it does not tell of it."""
        if not self.may_tell(trace):
            return None
        told = self._of(trace)
        if told is None or any(self.told_before(trace, name) for name in told):
            return None
        return told

    def may_tell(self, trace: Trace) -> bool:
        """Say whether the write may have been carried out, and in time for this event."""
        return trace.may_show and self._in_time(trace.write) and not self._belongs_to_next(trace)

    def _in_time(self, write: Write) -> bool:
        if self.stored.source == "poll":
            # It was found some time after the look began that tells it; the times of update decide.
            return True
        since = self.stored.received_at - write.intended_at
        if write.outcome != "done" and (self.stored.occurred_at or 0.0) > write.intended_at + UNSURE_WINDOW:
            return False
        return -self._slack <= since <= WINDOW

    def _belongs_to_next(self, trace: Trace) -> bool:
        """Say whether this came after another attempt had done the same, and tells a later change than its answer."""
        if trace.again is None or self.stored.received_at <= trace.again.intended_at:
            return False
        return not self.is_moment(trace.again)

    @cached_property
    def print(self) -> int:
        """A number that another webhook's copy of the same event shares: moment, state and difference."""
        told = (self.stored.occurred_at, self.payload.data, self.payload.previous)
        return zlib.crc32(orjson.dumps(told))

    def told_before(self, trace: Trace, name: str) -> bool:
        """Say whether another event has told this part of the write."""
        return name in trace.told and trace.told[name] != self.print

    def _of(self, trace: Trace) -> tuple[str, ...] | None:
        stored, wanted = self.stored, trace.target
        if (stored.kind, stored.record_id) != (wanted.kind, trace.write.record_id or wanted.record_id):
            if wanted.effect == "create" and stored.kind == wanted.kind:
                return self._of_creation(trace)
            return self._beside(trace)
        if wanted.effect == "create":
            return self._of_creation(trace)
        if wanted.effect in ("any", "merge"):
            return (stored.action,) if self._is_one_change() else None
        if wanted.effect == "delete" or _deletes(wanted.values):
            return self._of_deletion()
        if stored.action != "updated":
            return None
        if wanted.effect == "touch":
            return None if self.real else (_NO_CHANGE,)
        return self._of_update(trace)

    def _of_creation(self, trace: Trace) -> tuple[str, ...] | None:
        stored = self.stored
        if stored.action == "updated":
            # Right after a creation Pipedrive may tell of its own bookkeeping.
            known = stored.record_id in trace.made
            return (_NO_CHANGE,) if known and not self.real else None
        if stored.action != "added":
            return None
        if trace.made:
            return (f"added {stored.record_id}",) if stored.record_id in trace.made else None
        state = self.payload.state
        written = {name: value for name, value in trace.target.values.items() if name in state}
        return ("added",) if written and _agree(written, state, self.payload, stored) else None

    def _of_deletion(self) -> tuple[str, ...] | None:
        if self.stored.action == "updated" and self.real.keys() - _GONE:
            return None
        return (self.stored.action,)

    def _beside(self, trace: Trace) -> tuple[str, ...] | None:
        """Compare with a write to another record: a merge, a conversion, something that was hung onto this one."""
        stored, wanted = self.stored, trace.target
        here = (stored.kind, stored.record_id)
        if wanted.effect == "merge":
            return (f"{stored.action} {stored.kind} {stored.record_id}",) if self._is_merged(trace) else None
        if wanted.effect == "any":
            source = self.payload.state.get(f"source_{wanted.kind}_id")
            came = source is not None and str(source) == wanted.record_id and stored.action == "added"
            return (f"added {stored.kind}",) if came else None
        beside = here in wanted.links and stored.action == "updated" and not self.real
        return (f"{_NO_CHANGE} {stored.kind}",) if beside else None

    def _is_one_change(self) -> bool:
        """Say whether the event tells one change: what polling finds may hold others' changes as well."""
        return self.stored.source != "poll" or not self.real

    def is_untouched(self, trace: Trace) -> bool:
        """Say whether a record that polling found is as it was made: nobody has changed it since."""
        answer, state = trace.write.answer or {}, self.payload.state
        made = moment(answer.get("update_time")) or moment(answer.get("add_time"))
        found = moment(state.get("update_time")) or moment(state.get("add_time"))
        return made is not None and found is not None and abs(found - made) <= 1.0

    def _is_merged(self, trace: Trace) -> bool:
        """Say whether this is the record that survives, or one that went over to it."""
        wanted = trace.target
        if (self.stored.kind, self.stored.record_id) in wanted.links:
            return True
        # A note of payload version 1.0 carries the record it hangs on with it.
        moved = {key: change for key, change in self.real.items() if key != wanted.kind}
        survivors = {record_id for _, record_id in wanted.links}
        return bool(moved) and all(LINKS.get(k) == wanted.kind and str(c.new) in survivors for k, c in moved.items())

    def _of_update(self, trace: Trace) -> tuple[str, ...] | None:
        if not self.is_moment(trace.write):
            return None
        told, excused = self.explain(trace)
        if self.real.keys() - set(told) - excused:
            return None
        if told:
            return tuple(told)
        return (_NO_CHANGE,) if self.real.keys() <= _followers(trace.target) else None

    def explain(self, trace: Trace) -> tuple[list[str], set[str]]:
        """Give the changed fields that a write wrote just so, and those that Pipedrive may have moved along."""
        written = trace.target.values
        custom = written.get("custom_fields")
        custom = custom if isinstance(custom, Mapping) else {}
        answer = trace.write.answer or {}
        told, excused, is_one = [], set(_followers(trace.target)), self._is_one_change()
        for key, change in self.real.items():
            answered = self._is_answered(key, change, answer)
            if key in written or key in custom:
                excused.discard(key)
                if answered or self._is_written(key, change, custom.get(key, written.get(key))):
                    told.append(key)
            elif answered and _has_names(custom, key):
                told.append(key)
            elif answered and is_one:
                excused.add(key)
        return told, excused

    def is_moment(self, write: Write) -> bool:
        """Compare the update times of answer and event, where both are known: they are those of the same change."""
        answered = moment((write.answer or {}).get("update_time"))
        at = self.stored.update_time
        if answered is None or at is None:
            return self.stored.source != "poll"
        return abs(int(at) - int(answered)) <= 1

    def _is_answered(self, key: str, change: Change, answer: Mapping[str, Any]) -> bool:
        custom = answer.get("custom_fields")
        if isinstance(custom, Mapping) and key in custom:
            return self._is_written(key, change, custom[key])
        return key in answer and self._is_written(key, change, answer[key])

    def _is_written(self, key: str, change: Change, value: Any) -> bool:
        return _same(change.new, _read(key, value, self.payload, self.stored))


def _followers(target: Target) -> frozenset[str]:
    """Give the fields that Pipedrive moves along with those that are written."""
    known = _FOLLOWS.get(target.kind, {})
    return frozenset(follower for name in target.values for follower in known.get(name, ()))


def moment(value: Any) -> float | None:
    """Read a time as Pipedrive writes it; None where it is none."""
    try:
        found = to_datetime(value)
    except (ValueError, OverflowError, TypeError):
        return None
    return None if found is None else found.timestamp()


def _event(payload: Payload, stored: StoredEvent) -> Event[Any]:
    return build_event(
        payload,
        id=stored.id,
        source=stored.source,
        company=stored.company,
        occurred_at=stored.occurred_at,
        raw=stored.raw,
        names=stored.names or (stored.name,),
    )


def _read(key: str, value: Any, payload: Payload, stored: StoredEvent) -> Any:
    """Read one value that was written, or answered, as the event's own values are read."""
    told = _custom_of(payload.data, key) or _custom_of(payload.previous, key)
    if told is not None or _is_custom(key):
        return custom_value(value, type=told.get("type") if isinstance(told, Mapping) else None)
    if value is None and key not in (payload.data or {}):
        return None
    like = Payload({"entity": payload.kind, "action": "change"}, {key: value}, None, payload.version)
    return getattr(_event(like, stored).record, key, value)


def _custom_of(state: Mapping[str, Any] | None, key: str) -> Any:
    custom = (state or {}).get("custom_fields")
    return custom.get(key) if isinstance(custom, Mapping) else None


def _is_custom(key: str) -> bool:
    return len(key) == 40 and all(letter in "0123456789abcdef" for letter in key)


def _has_names(custom: Mapping[str, Any], key: str) -> bool:
    """Say whether `key` may be one of the custom fields that were written by name."""
    return _is_custom(key) and any(not _is_custom(name) for name in custom)


def _agree(written: Mapping[str, Any], state: Mapping[str, Any], payload: Payload, stored: StoredEvent) -> bool:
    """Say whether a new record holds all that was written into it."""
    record = _event(payload, stored).record
    for name, value in written.items():
        if name == "custom_fields":
            custom = state.get(name) or {}
            for key, wanted in (value or {}).items():
                if _is_custom(key) and not _same(custom_value(custom.get(key)), _read(key, wanted, payload, stored)):
                    return False
        elif not _same(getattr(record, name, state[name]), _read(name, value, payload, stored)):
            return False
    return True


def _same(told: Any, written: Any) -> bool:
    """Compare a value that an event tells with one that was written; what was left out may have been filled in."""
    if told == written:
        return True
    if told is None or written is None:
        return not told and not written
    if isinstance(told, Money):
        amount = written.amount if isinstance(written, Money) else written
        known = written.currency if isinstance(written, Money) else None
        return str(told.amount) == str(amount) and known in (None, told.currency)
    if isinstance(told, Address):
        return bool(told.value == getattr(written, "value", written))
    if isinstance(told, TimeOfDay) and isinstance(written, TimeOfDay):
        return told.time == written.time
    if isinstance(told, TimeRange) and isinstance(written, TimeRange):
        return (told.start, told.end) == (written.start, written.end)
    if isinstance(told, str) and isinstance(written, Options):
        return set(told.split(",")) == {str(option) for option in written.ids}
    if isinstance(told, tuple | list) and isinstance(written, tuple | list) and len(told) == len(written):
        return all(_same(*pair) for pair in zip(told, written, strict=True))
    if isinstance(told, bool) or isinstance(written, bool):
        return False
    return str(told).strip() == str(written).strip()


def _deletes(values: Mapping[str, Any]) -> bool:
    return values.get("is_deleted") in (True, 1) or values.get("active_flag") in (False, 0)


def _is_bookkeeping(key: str) -> bool:
    return key in _BOOKKEEPING or key.endswith("_count") or key.startswith(_BOOKKEEPING_BEGINS)


Part = tuple[Trace, tuple[str, ...]]
"""A write, and what of it an event tells."""


def first_told(event: Told, traces: Iterable[Trace]) -> Part | None:
    """Give the oldest write that the event tells of, and what of it; None where it tells of none."""
    for trace in traces:
        told = event.tells(trace)
        if told is not None:
            return trace, told
    return None
