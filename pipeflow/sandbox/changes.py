"""A change of a record as plain data: who made it, when, and the record before and after. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pipeflow.sandbox.answers import Record

Source: TypeAlias = Literal["app", "api"]
Action: TypeAlias = Literal["create", "change", "delete"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and how: in the app or through the API, one record or many at once."""

    user_id: int
    source: Source = "app"
    bulk: bool = False
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a record; `meta` holds what a merge adds.

    `as_given`: nothing happened, it is only told, with both records as they are.
    """

    kind: str
    action: Action
    record_id: Any
    before: Record | None
    after: Record | None
    actor: Actor
    time: str
    event_id: str
    correlation_id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_given: bool = False
