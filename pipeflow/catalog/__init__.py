"""Every operation and type of the Pipedrive API as data. Imports nothing of ours.

The client, the sandbox, the CLI and the docs are built on what stands here; nothing else in the package knows a
path or a verb of Pipedrive's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Place = Literal["path", "query", "json", "form", "file"]
Result = Literal["one", "list", "items", "none", "bytes", "bare"]
Paging = Literal["cursor", "offset", "none"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an operation: `wire` is Pipedrive's name for it, `name` Python's."""

    wire: str
    name: str
    place: Place
    required: bool
    type: str
    style: Literal["multi", "csv"] | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint: what to send, what comes back, what it costs.

    `id` is `v1.DealsApi.getDeals`, `attribute` `v1.deals.get_deals`; `path` is the whole path with its generation
    (`/api/v2/deals/{id}`, `/v1/deals/{id}`). `body` is how body fields travel (None: no body). `custom_fields` says
    how a record's custom fields travel: `nested` under one key, `flat` beside the other fields, None where the
    record has none. `cost` is in API tokens. `scopes` are OAuth scopes, any of which suffices. `retired` is None for
    a living operation, else the id of its replacement, or "" where there is none. `alias_of` is the id of the
    operation that this one doubles, or None.
    """

    id: str
    attribute: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    array_body: bool
    body: Literal["json", "form", "multipart"] | None
    custom_fields: Literal["nested", "flat"] | None
    result: Result
    paging: Paging
    cost: int
    scopes: tuple[str, ...]
    retired: str | None
    alias_of: str | None
    summary: str


def operations() -> tuple[Operation, ...]:
    """List every operation of both generations, aliases included, in catalog order."""
    raise NotImplementedError


def operation(operation_id: str) -> Operation:
    """Look one operation up by its id; a KeyError names the nearest ids."""
    raise NotImplementedError


def models(generation: Literal["v1", "v2"]) -> dict[str, Any]:
    """Give the generation's types by name, as schemas (`object`, `enum`, `union`, `alias`)."""
    raise NotImplementedError


def response(operation_id: str) -> dict[str, Any]:
    """Give the schema of the operation's answer."""
    raise NotImplementedError
