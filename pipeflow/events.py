"""What happened, and what a handler learns of it. No I/O; pydantic is imported when a record is first looked at.

The door: `read_delivery` takes from a body just what storing needs and never raises; `normalise` gives any body the
shape of payload version 2.0; `names_of` says what the event is called; `build_event` makes the `Event` a handler gets.
Pipedrive's `create/change/delete` become `added/updated/deleted` here and nowhere else.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

import orjson

from pipeflow.catalog.values import to_datetime, to_id
from pipeflow.naming import FieldNames, derived_names

__all__ = [
    "Change",
    "Event",
    "FieldNames",
    "Head",
    "Merge",
    "Payload",
    "build_event",
    "merge_of",
    "names_of",
    "normalise",
    "our_action",
    "partition_of",
    "pipedrive_action",
    "read_delivery",
]

R_co = TypeVar("R_co", covariant=True)

PARTITIONS = 64
TICK = "tick"
UNREADABLE = "unreadable"

_OURS = {"create": "added", "change": "updated", "delete": "deleted"}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}
_MERGED_1 = "merged"
_LONGEST_WORD = 80
_LONGEST_ID = 120


def our_action(action: str) -> str:
    """Translate Pipedrive's word for what happened into ours; unknown words and `*` stay."""
    return _OURS.get(action, action)


def pipedrive_action(action: str) -> str:
    """Translate our word for what happened into Pipedrive's (payload version 2.0); unknown words and `*` stay."""
    return _THEIRS.get(action, action)


# Reading a delivery -------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """What storing a delivery needs to know of it; a tuple, as one is made for each delivery before it is answered.

    `key` makes it the same event within its company. `claimed_company` is what the body says, to be compared with
    the webhook it came through. Times are seconds since 1970.
    """

    company: int
    key: str
    name: str
    kind: str
    record_id: str
    action: str
    delivery_id: str | None
    occurred_at: float
    update_time: float | None
    actor_id: str | None
    bulk: bool
    claimed_company: int | None
    status: Literal["stored", "unreadable"]
    partition: int


def partition_of(company: int, kind: str, record_id: str) -> int:
    """Give the partition, 0 to 63, to which all events of one record belong; the same in every release."""
    return zlib.crc32(f"{company}:{kind}:{record_id}".encode()) % PARTITIONS


def read_delivery(raw: bytes, company: int, received_at: float) -> Head:
    """Read from a delivery's body what storing it needs. Never raises: what cannot be read is `unreadable`."""
    body = _parse(raw)
    if body is None:
        return _unreadable(raw, company, received_at)
    meta = body["meta"]
    if _is_version_1(body, meta):
        return _head_1(body, meta, company, received_at)
    data = body.get("data")
    kind, action = meta["entity"], _OURS.get(meta["action"], meta["action"])
    record_id = _record_id(meta.get("entity_id"), data, body.get("previous"))
    delivery_id = _id(meta.get("id"))
    unique = delivery_id and not (kind == "user" and delivery_id.isdigit())
    return Head(
        company=company,
        key=f"2.0:{delivery_id}" if unique else _composed_key(body, meta, kind, record_id, action),
        name=f"{kind}.{action}",
        kind=kind,
        record_id=record_id,
        action=action,
        delivery_id=delivery_id or None,
        occurred_at=(occurred_at := _seconds(meta.get("timestamp"), received_at)),
        update_time=_update_time(data, action, occurred_at),
        actor_id=_id(meta.get("user_id")) or None,
        bulk=meta.get("is_bulk_edit") is True,
        claimed_company=_number(meta.get("company_id")),
        status="stored",
        partition=partition_of(company, kind, record_id),
    )


def _head_1(body: Mapping[str, Any], meta: Mapping[str, Any], company: int, received_at: float) -> Head:
    kind, told = meta["object"], meta["action"]
    action = "updated" if told == _MERGED_1 else told
    current = body.get("current")
    record_id = _record_id(meta.get("id"), current, body.get("previous"))
    return Head(
        company=company,
        key=_key_1(body, meta, record_id),
        name=f"{kind}.{action}",
        kind=kind,
        record_id=record_id,
        action=action,
        delivery_id=None,
        occurred_at=(occurred_at := _seconds(_moment_1(meta), received_at)),
        update_time=_update_time(current, action, occurred_at),
        actor_id=_id(meta.get("user_id")) or None,
        bulk=meta.get("is_bulk_update") is True,
        claimed_company=_number(meta.get("company_id")),
        status="stored",
        partition=partition_of(company, kind, record_id),
    )


def _unreadable(raw: bytes, company: int, received_at: float) -> Head:
    digest = hashlib.sha256(raw).hexdigest()
    return Head(
        company=company,
        key=f"unreadable:{digest}",
        name=UNREADABLE,
        kind=UNREADABLE,
        record_id="",
        action=UNREADABLE,
        delivery_id=None,
        occurred_at=received_at,
        update_time=None,
        actor_id=None,
        bulk=False,
        claimed_company=None,
        status="unreadable",
        partition=partition_of(company, UNREADABLE, ""),
    )


def _parse(raw: bytes) -> dict[str, Any] | None:
    """Give the body if it is a JSON object whose `meta` names what happened to what, else None."""
    try:
        body = orjson.loads(raw)
    except ValueError:
        return None
    meta = body.get("meta") if isinstance(body, dict) else None
    if not isinstance(meta, dict) or not _is_word(meta.get("action")):
        return None
    if not _is_word(meta.get("object" if _is_version_1(body, meta) else "entity")):
        return None
    return cast("dict[str, Any]", body)


def _is_version_1(body: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
    if "version" in meta:
        return bool(meta["version"] == "1.0")
    return "entity" not in meta or body.get("v") == 1 or meta.get("v") == 1


def _is_word(value: Any) -> bool:
    # Databases cannot index endless text, and PostgreSQL has no NUL: such a body is kept, but names nothing.
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_WORD and "\0" not in value


def _id(value: Any) -> str:
    """Give an id as text; "" for what can be none."""
    if type(value) is str:
        return value if len(value) <= _LONGEST_ID and "\0" not in value else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def _record_id(told: Any, *states: Any) -> str:
    if record_id := _id(told):
        return record_id
    for state in states:
        if isinstance(state, dict) and (record_id := _id(state.get("id"))):
            return record_id
    return ""


def _number(value: Any) -> int | None:
    text = _id(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _seconds(value: Any, otherwise: float) -> float:
    try:
        if type(value) is str and value[-1:] == "Z":  # as nearly every moment comes; seven times as fast
            return datetime.fromisoformat(value).timestamp()
        moment = to_datetime(value)
        return moment.timestamp() if moment is not None else otherwise
    except (ValueError, OverflowError):
        return otherwise


def _update_time(state: Any, action: str, occurred_at: float) -> float | None:
    """Give when the record became as it is: the time of its deletion, else what it says of itself."""
    if action == "deleted":
        return occurred_at
    if not isinstance(state, dict):
        return None
    told = state.get("update_time")
    if told is None:
        told = state.get("modified")
    if told is None and action == "added":
        told = state.get("add_time")
    seconds = _seconds(told, -1.0)
    return seconds if seconds > 0 else None


def _composed_key(body: Mapping[str, Any], meta: Mapping[str, Any], kind: str, record_id: str, action: str) -> str:
    moment = str(meta.get("timestamp"))[:40]
    return f"2.0:{kind}:{record_id}:{action}:{moment}:{_digest(body.get('data'), body.get('previous'))}"


def _key_1(body: Mapping[str, Any], meta: Mapping[str, Any], record_id: str) -> str:
    subject = f"1.0:{meta['object']}:{record_id}:{meta['action']}"
    micro = meta.get("timestamp_micro")
    if isinstance(micro, int):
        return f"{subject}:{micro}"
    moment = str(_moment_1(meta))[:40]
    return f"{subject}:{moment}:{_digest(body.get('current'), body.get('previous'))}"


def _digest(*states: Any) -> str:
    return hashlib.sha256(orjson.dumps(states, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _moment_1(meta: Mapping[str, Any]) -> Any:
    from pipeflow.version1 import moment

    return moment(meta)


# One shape for all --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payload:
    """A delivery in the shape of payload version 2.0; `version` says which one came.

    `data` is the record after (None once deleted); `previous` holds the old values of what changed, or for a
    deletion the whole last state.
    """

    meta: dict[str, Any]
    data: dict[str, Any] | None
    previous: dict[str, Any] | None
    version: str

    @property
    def kind(self) -> str:
        """The noun: `deal`."""
        return cast("str", self.meta["entity"])

    @property
    def action(self) -> str:
        """What happened, in our words: `updated`."""
        return our_action(self.meta["action"])

    @property
    def record_id(self) -> str:
        """The record's id as text, "" where none was told."""
        return _record_id(self.meta.get("entity_id"), self.data, self.previous)

    @property
    def state(self) -> dict[str, Any]:
        """The record as it stands, or as it last stood."""
        return self.data or self.previous or {}


def normalise(raw: bytes) -> Payload:
    """Give any delivery the shape of payload version 2.0; ValueError for what `read_delivery` calls unreadable."""
    body = _parse(raw)
    if body is None:
        raise ValueError("not a delivery: no JSON object whose meta names an action and an entity")
    meta = body["meta"]
    if not _is_version_1(body, meta):
        return Payload(meta, _state(body.get("data")), _state(body.get("previous")), "2.0")
    from pipeflow.version1 import convert

    told = meta["action"]
    action = "change" if told == _MERGED_1 else pipedrive_action(told)
    key = _key_1(body, meta, _record_id(meta.get("id"), body.get("current"), body.get("previous")))
    event_id = hashlib.sha256(key.encode()).hexdigest()[:32]
    shaped = convert(body, action=action, kind=meta["object"], event_id=event_id)
    return Payload(shaped["meta"], shaped["data"], shaped["previous"], "1.0")


def _state(value: Any) -> dict[str, Any] | None:
    # Some events carry a list of records; the first is the one that they are about.
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    return value if isinstance(value, dict) else None


def names_of(payload: Payload) -> tuple[str, ...]:
    """Say what an event is called: `("deal.updated", "deal.stage_changed", "deal.won")`, the plain name first."""
    kind, action = payload.kind, payload.action
    derived = derived_names(kind, action, payload.meta, payload.data, payload.previous)
    return tuple(dict.fromkeys((f"{kind}.{action}", *derived)))


@dataclass(frozen=True, slots=True)
class Merge:
    """Two records that became one; both halves of a merge tell the same, so that it can be handled once."""

    kind: str
    from_id: str
    to_id: str


def merge_of(payload: Payload) -> Merge | None:
    """Say which merge an event is a half of: the deletion of the one record, or the change of the other."""
    if into := _id(payload.meta.get("merged_to_id")):
        return Merge(payload.kind, payload.record_id, into)
    if source := _id(payload.meta.get("merged_from_id")):
        return Merge(payload.kind, source, payload.record_id)
    return None


# What a handler gets ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """The two values of one field, both as Python values."""

    old: Any
    new: Any


class AccountInfo(Protocol):
    """What an event tells of the account it came through."""

    @property
    def company(self) -> int: ...
    @property
    def user_id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def company_name(self) -> str: ...
    @property
    def company_domain(self) -> str: ...
    @property
    def timezone(self) -> str: ...


@dataclass(frozen=True)
class Event(Generic[R_co]):
    """Something that happened in a company's Pipedrive, as a handler gets it.

        @on("deal.stage_changed")
        async def greet(event: Event[Deal]) -> None:
            print(event.record.title, event.changes["stage_id"].old, event.changes["stage_id"].new)

    `name` is the plain name, `names` all of them. `source` says how we learned of it: `delivery`, `poll`, `tick`,
    `replay`. `stale` says that a newer event of the record was known already. `raw` is the body as it came.
    """

    id: int
    name: str
    names: tuple[str, ...]
    kind: str
    record_id: str
    action: str
    company: int
    source: str
    occurred_at: datetime
    actor_id: int | str | None
    stale: bool
    raw: bytes = field(repr=False)
    account: AccountInfo | None = field(default=None, repr=False)
    _payload: Payload | None = field(default=None, repr=False, compare=False)
    _fields: FieldNames | None = field(default=None, repr=False, compare=False)
    _record_type: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def record(self) -> R_co:
        """The record after the event; for a deletion its last state; None for ticks."""
        if self._payload is None:
            return cast("R_co", None)
        return cast("R_co", self._read(self._payload.state))

    @cached_property
    def before(self) -> R_co | None:
        """The record before the event, rebuilt from what changed; None where it was added, and for ticks."""
        if self._payload is None or self.action == "added":
            return None
        return cast("R_co", self._read(_state_before(self._payload)))

    @cached_property
    def changes(self) -> Mapping[str, Change]:
        """What really changed, by field name or custom field key; empty unless the record was updated.

        The time of the update itself is no change. A field that has no value any more is None.
        """
        if self._payload is None or self.action != "updated":
            return {}
        from pipeflow.records import changes

        data, previous = self._payload.data or {}, self._payload.previous or {}
        told = changes(self.kind, data, previous, self._fields)
        return {key: Change(old, new) for key, (old, new) in told.items()}

    def _read(self, state: Mapping[str, Any]) -> Any:
        from pipeflow.records import read_record

        return read_record(self.kind, state, self._fields, self._record_type)


def _state_before(payload: Payload) -> dict[str, Any]:
    data, previous = payload.data or {}, payload.previous or {}
    state = {**data, **previous}
    custom, old_custom = data.get("custom_fields"), previous.get("custom_fields")
    if isinstance(custom, dict):
        state["custom_fields"] = {**custom, **old_custom} if isinstance(old_custom, dict) else custom
    return state


def build_event(
    payload: Payload | None,
    *,
    id: int,
    source: str,
    company: int,
    occurred_at: float | None,
    raw: bytes,
    names: tuple[str, ...] | None = None,
    stale: bool = False,
    account: AccountInfo | None = None,
    fields: FieldNames | None = None,
    record_type: Any = None,
) -> Event[Any]:
    """Make the event a handler gets from what is stored of it; without a payload, a tick.

    `fields` gives custom fields their names and types; `record_type` overrides the model of the kind.
    """
    moment = datetime.fromtimestamp(occurred_at or 0.0, UTC)
    if payload is None:
        return Event(id, TICK, (TICK,), "job", _job_of(raw), TICK, company, source, moment, None, stale, raw, account)
    actor = _id(payload.meta.get("user_id"))
    return Event(
        id=id,
        name=f"{payload.kind}.{payload.action}",
        names=names or names_of(payload),
        kind=payload.kind,
        record_id=payload.record_id,
        action=payload.action,
        company=company,
        source=source,
        occurred_at=moment,
        actor_id=to_id(actor) if actor else None,
        stale=stale,
        raw=raw,
        account=account,
        _payload=payload,
        _fields=fields,
        _record_type=record_type,
    )


def _job_of(raw: bytes) -> str:

    return str(orjson.loads(raw)["job"])
