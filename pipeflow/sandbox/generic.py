"""Any operation the sandbox keeps no state for: an answer that is true to the catalog's schema, and empty of data."""

from __future__ import annotations

from typing import Any

from pipeflow.sandbox.answers import Answer, ok, unknown_method
from pipeflow.sandbox.routing import Call

_NOTHING: dict[str, Any] = {
    "cursor": {"next_cursor": None},
    "offset": {"pagination": {"more_items_in_collection": False}},
}


def anything(call: Call) -> Answer:
    """Answer by what the catalog says the result is."""
    operation = call.operation
    if operation is None:
        return unknown_method()
    if operation.result == "bytes":
        return Answer(b"", 200)
    if operation.result == "bare":
        return Answer({})
    data: Any = {"list": [], "items": {"items": []}, "none": None}.get(operation.result, {})
    return ok(data, _NOTHING.get(operation.paging))
