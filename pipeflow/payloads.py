"""Deliveries of either version in one shape, and what the difference in them is called. No I/O.

Imports deliveries, naming and, for payload version 1.0, version1.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

from pipeflow.deliveries import (
    MERGED_1,
    id_text,
    is_version_1,
    key_1,
    our_action,
    parse,
    pipedrive_action,
    record_id_of,
)
from pipeflow.naming import derived_names


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
        return record_id_of(self.meta.get("entity_id"), self.data, self.previous)

    @property
    def state(self) -> dict[str, Any]:
        """The record as it stands, or as it last stood."""
        return self.data or self.previous or {}


def normalise(raw: bytes) -> Payload:
    """Give any delivery the shape of payload version 2.0; ValueError for what `read_delivery` calls unreadable."""
    body = parse(raw)
    if body is None:
        raise ValueError("not a delivery: no JSON object whose meta names an action and an entity")
    meta = body["meta"]
    if not is_version_1(body, meta):
        return Payload(meta, _state(body.get("data")), _state(body.get("previous")), "2.0")
    from pipeflow.version1 import convert

    told = meta["action"]
    action = "change" if told == MERGED_1 else pipedrive_action(told)
    key = key_1(body, meta, record_id_of(meta.get("id"), body.get("current"), body.get("previous")))
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
    if into := id_text(payload.meta.get("merged_to_id")):
        return Merge(payload.kind, payload.record_id, into)
    if source := id_text(payload.meta.get("merged_from_id")):
        return Merge(payload.kind, source, payload.record_id)
    return None
