"""What an operation of Pipedrive's does to which record, read off the catalog. Imports catalog and the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from pipeflow.catalog import Operation, operation
from pipeflow.client.wire import Outgoing, prepare
from pipeflow.customs import gathered

Effect = Literal["create", "update", "delete", "merge", "any", "touch"]
"""create: makes a record · update: changes the fields it names · delete · merge: two records become one ·
any: changes what Pipedrive decides (archive, convert) · touch: adds something beside a record (a follower, a file)."""

RecordKey = tuple[str, str]

KINDS: Mapping[str, str] = {
    "activities": "activity",
    "activityTypes": "activityType",
    "boards": "board",
    "deals": "deal",
    "leads": "lead",
    "notes": "note",
    "organizations": "organization",
    "persons": "person",
    "phases": "phase",
    "pipelines": "pipeline",
    "products": "product",
    "projects": "project",
    "stages": "stage",
    "tasks": "task",
    "users": "user",
}
"""The kind of record behind the first part of a path; other parts stand for themselves (`filters`, `dealFields`)."""

_NESTED = {("deals", "products"): "deal_product", ("deals", "installments"): "deal_installment"}
_VERBS: Mapping[str, Effect] = {"merge": "merge", "duplicate": "create", "convert": "any", "archive": "any"}
LINKS: Mapping[str, str] = {
    "deal_id": "deal",
    "person_id": "person",
    "org_id": "organization",
    "organization_id": "organization",
    "lead_id": "lead",
    "product_id": "product",
    "project_id": "project",
    "activity_id": "activity",
}
"""Fields that name another record, and of which kind it is."""
_SECRET = "password"  # noqa: S105 - part of a field's name


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of an operation before it has arguments: `record` names the path parameter that is the record."""

    kind: str
    effect: Effect
    record: str | None
    parent: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One write: what it does to which record. `links` are records that it hangs something on, or merges into."""

    kind: str
    effect: Effect
    record_id: str | None
    values: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[RecordKey, ...] = ()


@lru_cache(maxsize=1024)
def shape_of(operation_id: str) -> Shape:
    """Read the shape of an operation off its verb and path."""
    known = operation(operation_id)
    parts = known.path.strip("/").removeprefix("api/").split("/")[1:]
    kind = KINDS.get(parts[0], parts[0])
    if len(parts) < 2 or not parts[1].startswith("{"):
        # A deletion without an id in its path deletes several that the query names.
        return Shape(kind, "create" if known.method == "POST" else "touch", None)
    record = parts[1].strip("{}")
    if len(parts) == 2:
        return Shape(kind, _plain_effect(known.method), record)
    if (parts[0], parts[2]) in _NESTED:
        return _nested_shape(known, parts, (kind, record))
    return Shape(kind, _VERBS.get(parts[2], "touch"), record)


def _plain_effect(method: str) -> Effect:
    return "delete" if method == "DELETE" else "touch" if method == "POST" else "update"


def _nested_shape(known: Operation, parts: list[str], parent: tuple[str, str]) -> Shape:
    kind = _NESTED[parts[0], parts[2]]
    if known.method == "POST":
        return Shape(kind, "create", None, parent)
    if len(parts) > 3 and parts[3].startswith("{"):
        return Shape(kind, _plain_effect(known.method), parts[3].strip("{}"), parent)
    return Shape(kind, "touch", None, parent)


def target_of(sent: Operation, arguments: Mapping[str, Any]) -> Target:
    """Say what sending an operation with these arguments (by wire name) does. Its values are plain JSON."""
    shape = shape_of(sent.id)
    values = _values(prepare(sent, arguments))
    if shape.parent is not None:
        values = {f"{shape.parent[0]}_id": arguments.get(shape.parent[1]), **values}
    record_id = None if shape.record is None else str(arguments[shape.record])
    return target(sent.id, record_id, values)


def target(operation_id: str, record_id: str | None, values: Mapping[str, Any]) -> Target:
    """Say the same of a write as it is stored."""
    shape = shape_of(operation_id)
    links = [(kind, str(values[name])) for name, kind in LINKS.items() if values.get(name)]
    if shape.effect == "merge":
        links.append((shape.kind, str(values.get("merge_with_id"))))
    # Of a duplicate the path names the original; the record that is made is not known yet.
    return Target(shape.kind, shape.effect, None if shape.effect == "create" else record_id, values, tuple(links))


def _values(outgoing: Outgoing) -> dict[str, Any]:
    """Give what is sent, without the path: custom fields under `custom_fields` however they travel, files by name."""
    body = outgoing.json
    sent: dict[str, Any] = dict(outgoing.query) | dict(outgoing.form)
    if isinstance(body, dict):
        sent |= body
    elif isinstance(body, list):
        sent["items"] = body
    sent |= {name: str(file[0]) for name, file in outgoing.files.items()}
    # Version 1 writes an amount's currency, a range's end and their like beside the field, as `key_currency`.
    custom = {key: parts["value"] if parts.keys() == {"value"} else parts for key, parts in gathered(sent).items()}
    if custom:
        sent = {name: value for name, value in sent.items() if name[:40] not in custom}
        sent["custom_fields"] = {**custom, **(sent.get("custom_fields") or {})}
    return {name: "***" if _SECRET in name else value for name, value in sent.items()}
