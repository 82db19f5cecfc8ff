"""Types answers: from the bytes to records in one pass, and where something odd stands in them, value by value.

Never fails for an odd value: what does not fit is kept as it came. Imports answers and model.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model

from pipeflow.client.answers import Response
from pipeflow.client.model import Model


def read(response: Response, returns: Any) -> Any:
    """Give an answer's data as `returns`; None where there is none, but an empty list where a list is promised."""
    if returns is None:
        return None
    result = response.operation.result
    if not response.content.strip():
        return [] if result == "list" else None
    try:
        if result == "bare":
            return _adapter(returns).validate_json(response.content)
        data = _envelope(returns, "one").validate_json(response.content).data
    except ValidationError:
        return typed(returns, response.items if result == "list" else response.data)
    return [] if data is None and result == "list" else data


def read_page(response: Response, item: Any) -> tuple[list[Any], dict[str, Any]]:
    """Give the records of a page, and what Pipedrive says beside them (`additional_data`)."""
    if not response.content.strip():
        return [], {}
    try:
        found = _envelope(item, response.operation.result).validate_json(response.content)
    except ValidationError:
        return [typed(item, each) for each in response.items], response.part("additional_data")
    records = found.data.items if response.operation.result == "items" and found.data else found.data
    beside = found.additional_data
    return records or [], beside if isinstance(beside, dict) else {}


def typed(returns: Any, value: Any) -> Any:
    """Give `value` as `returns`; what does not fit is kept as it came."""
    if value is None or returns is None:
        return None
    try:
        return _adapter(returns).validate_python(value)
    except ValidationError:
        return _tolerant(returns, value)


def _tolerant(returns: Any, value: Any) -> Any:
    if get_origin(returns) is list and isinstance(value, list):
        return [typed(get_args(returns)[0], item) for item in value]
    if not (isinstance(returns, type) and issubclass(returns, Model) and isinstance(value, dict)):
        return value
    fields = {info.alias or name: (name, info.annotation) for name, info in returns.model_fields.items()}
    known = {fields[k][0]: typed(fields[k][1], v) for k, v in value.items() if k in fields}
    return returns.model_construct(**known, **{k: v for k, v in value.items() if k not in fields})


@lru_cache(maxsize=1024)
def _adapter(returns: Any) -> TypeAdapter[Any]:
    return TypeAdapter(returns)


@lru_cache(maxsize=1024)
def _envelope(returns: Any, result: str) -> Any:
    """Make the model of a whole answer whose data is `returns`, or a `list` of it, or has the `items` in it."""
    data = returns if result == "one" else list[returns]
    if result == "items":
        data = create_model("Found", items=(list[returns], ...))
    made: type[BaseModel] = create_model("Answer", data=(data | None, None), additional_data=(Any, None))
    return made.__pydantic_validator__
