"""What happened, as a handler learns of it. No I/O; pydantic is imported when a record is first looked at.

`build_event` makes the `Event` a handler gets. What bodies tell is read by `deliveries` (what storing needs, never
raising) and `payloads` (one shape for both payload versions, names from the difference); their names are at home here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, cast

import orjson

from pipeflow.catalog.values import to_id
from pipeflow.customs import NamesNotKnown
from pipeflow.deliveries import (
    UNREADABLE,
    Head,
    id_text,
    our_action,
    partition_of,
    pipedrive_action,
    read_delivery,
)
from pipeflow.errors import ClientError
from pipeflow.naming import FieldNames
from pipeflow.payloads import Merge, Payload, merge_of, names_of, normalise

__all__ = [
    "TICK",
    "UNREADABLE",
    "Change",
    "Changes",
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

TICK = "tick"
_API_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Change:
    """The two values of one field, both as Python values."""

    old: Any
    new: Any


class Changes(Mapping[str, Change]):
    """What changed, by field; custom fields by key, and where the company's fields are known by name.

        event.changes["Contract value"].old

    KeyError for what did not change, ConfigError for a name that two custom fields have. Iterating gives keys.
    """

    def __init__(self, kind: str, told: Mapping[str, Change], fields: FieldNames | None) -> None:
        self._kind = kind
        self._told = told
        self._fields = fields

    def __getitem__(self, name: str) -> Change:
        found = self._told.get(name)
        return self._told[self._key(name)] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)

    def __repr__(self) -> str:
        return repr(dict(self._told))

    def _key(self, name: str) -> str:
        """Find the key of a custom field; Pipedrive's own fields, known to us or not, are called as they are."""
        from pipeflow.records import RECORDS, Record

        if self._fields is None or name in RECORDS.get(self._kind, Record).model_fields:
            return name
        try:
            return self._fields.key(self._kind, name)
        except (NamesNotKnown, ClientError):
            if _API_NAME.fullmatch(name) is None:
                raise
            return name


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
    `replay`, or `account` where it tells of an account of ours. `stale` says that a newer event of the record was known
    already. `raw` is the body as it came.
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
        """What really changed, by field, custom ones by name or key; empty unless the record was updated.

        The time of the update itself is no change. A field that has no value any more is None.
        """
        if self._payload is None or self.action != "updated":
            return {}
        from pipeflow.records import changes

        data, previous = self._payload.data or {}, self._payload.previous or {}
        told = changes(self.kind, data, previous, self._fields)
        return Changes(self.kind, {key: Change(old, new) for key, (old, new) in told.items()}, self._fields)

    @property
    def merge(self) -> Merge | None:
        """The merge that the event tells (`event.merge.from_id`, `.to_id`), whichever half of it came; None for others.

        Either half may be the one that is called `deal.merged`: its record is the one that is gone, or the one left.
        """
        return None if self._payload is None else merge_of(self._payload)

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
    actor = id_text(payload.meta.get("user_id"))
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
