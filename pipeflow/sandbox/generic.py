"""Answer any other operation of the catalog with something that its answer's schema allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pipeflow import catalog
from pipeflow.sandbox.answers import Answer, unknown_method
from pipeflow.sandbox.routing import Call
from pipeflow.sandbox.shelf import laid_over, shelve

DEEP: Final = 5
TEXTS: Final = {
    "date": "2026-03-05",
    "datetime": "2026-03-05 08:09:10",
    "date-time": "2026-03-05T08:09:10Z",
    "time": "08:09",
    "uuid": "3e9a1b70-9c55-11f0-a1d2-5b7c8e0f4a61",
}


def anything(call: Call) -> Answer:
    """Answer by the schema alone; what was written is kept, and shown where the answer has room for it."""
    operation = call.operation
    if operation is None:
        return unknown_method()
    if operation.result == "bytes":
        return Answer(b"", 204)
    generation: Literal["v1", "v2"] = "v2" if call.generation == "v2" else "v1"
    body = sample(catalog.response(operation.id), generation)
    if isinstance(body, dict):
        _fill(call, operation, body)
    return Answer(body, 201 if operation.method == "POST" else 200)


def _fill(call: Call, operation: catalog.Operation, body: dict[str, Any]) -> None:
    if "success" in body:
        body["success"] = True
    additional = body.get("additional_data")
    if isinstance(additional, dict):
        _last_page(call, additional)
    told = {**call.fields, **({"id": call.id(len(call.path) - 1)} if call.path else {})}
    data = shelve(call, operation, laid_over(body.get("data"), told))
    if "data" in body:
        body["data"] = data


def _last_page(call: Call, additional: dict[str, Any]) -> None:
    """Say that there is no further page."""
    place = additional.get("pagination") if isinstance(additional.get("pagination"), dict) else additional
    if "next_cursor" in additional:
        additional["next_cursor"] = None
    if isinstance(place, dict) and "more_items_in_collection" in place:
        place |= {"start": call.number("start", 0), "limit": call.number("limit", 100)}
        place["more_items_in_collection"] = False
        place.pop("next_start", None)


def sample(schema: Mapping[str, Any], generation: Literal["v1", "v2"], depth: int = 0) -> Any:
    """Make a value that a schema allows; lists have one item, what lies too deep is empty."""
    if "ref" in schema:
        return sample(catalog.models(generation)[schema["ref"]], generation, depth + 1)
    if "enum" in schema:
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], generation, depth)
    kind = schema.get("type", schema.get("kind"))
    if kind in ("object", "map"):
        if depth > DEEP * 2:
            return {}
        return {name: sample(field, generation, depth) for name, field in schema.get("fields", {}).items()}
    if kind == "array":
        return [] if depth > DEEP else [sample(schema.get("items", {}), generation, depth + 1)]
    plain: dict[str | None, Any] = {"integer": 1, "number": 1.5, "boolean": False, "file": ""}
    if kind == "string":
        return TEXTS.get(schema.get("format", ""), "text")
    return plain.get(kind)
