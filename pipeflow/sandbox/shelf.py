"""Keep what is written through operations that have no handler of their own: by collection, as it was sent.

A collection that nobody wrote to answers with samples; one that somebody wrote to holds just that.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from pipeflow import catalog
from pipeflow.sandbox.answers import Record, missing
from pipeflow.sandbox.routing import Call, find

Kept: TypeAlias = dict[str, Record]


def shelve(call: Call, operation: catalog.Operation, data: Any) -> Any:
    """Do to the shelf what the operation asks for; gives the answer's data, made of the sample `data`."""
    collection, item = _place(call, operation)
    if operation.method == "POST" and item is None and isinstance(data, dict) and "id" in data:
        return _put(call, collection, data)
    kept = call.company.extras.get(collection)
    if kept is None or not find(f"{collection}/1"):
        return data
    if item is None:
        return _listed(kept, data) if operation.method == "GET" else data
    if item not in kept:
        raise missing("Record")
    if operation.method == "DELETE":
        del kept[item]
    if operation.method in ("PUT", "PATCH"):
        kept[item] |= call.fields
    return laid_over(data, kept.get(item, {}))


def _place(call: Call, operation: catalog.Operation) -> tuple[str, str | None]:
    """Give the collection's path and the item's id, if the path ends with one."""
    values = iter(call.path)
    parts = [next(values) if part.startswith("{") else part for part in operation.path.split("/")]
    if operation.path.endswith("}"):
        return "/".join(parts[:-1]), parts[-1]
    return "/".join(parts), None


def _put(call: Call, collection: str, data: Record) -> Record:
    kept: Kept = call.company.extras.setdefault(collection, {})
    number = call.company.next_number(collection)
    made = {**data, "id": number if isinstance(data["id"], int) else call.company.new_uuid(f"{collection}/{number}")}
    kept[str(made["id"])] = {**call.fields, **made}
    return made


def _listed(kept: Kept, data: Any) -> Any:
    if not isinstance(data, list):
        return data
    first = data[0] if data else {}
    return [laid_over(first, one) for one in kept.values()]


def laid_over(data: Any, values: Record) -> Any:
    """Replace what a sample says by what is known, where it is of the same kind."""
    if not isinstance(data, dict):
        return data
    return data | {name: value for name, value in values.items() if name in data and _alike(value, data[name])}


def _alike(value: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(value, bool) or isinstance(other, bool):
        return type(value) is type(other)
    if isinstance(other, float):
        return isinstance(value, numbers)
    return type(value) is type(other)
