"""How strict each generation is, by the catalog's schemas. Reads `pipeflow.catalog` alone.

Generation 2 refuses unknown keys and wrong types; generation 1 only what lacks something it needs.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from datetime import date
from typing import Any, Final

from pipeflow import catalog
from pipeflow.sandbox.answers import RefusedError, invalid
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.kinds import DEFAULTS

_WHOLE_SECONDS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def check_given(operation: catalog.Operation, **given: Container[str]) -> None:
    """Refuse a request of generation 1 that lacks a required parameter; `given` are the names there are, by place."""
    for parameter in operation.parameters:
        if parameter.required and parameter.place in given and parameter.wire not in given[parameter.place]:
            raise RefusedError(f"{parameter.wire} must be given", 400)


def check_query(operation: catalog.Operation, query: Iterable[tuple[str, str]]) -> None:
    """Refuse query parameters that the operation does not know or that have the wrong form."""
    known = {one.wire: one for one in operation.parameters if one.place == "query"}
    given = dict(query)
    for name, value in given.items():
        if name not in known:
            raise invalid(f"{name}: unknown query parameter")
        _check_text(known[name], value)
    for name, parameter in known.items():
        if parameter.required and not given.get(name):
            raise invalid(f"{name}: is required")


def check_body(operation: catalog.Operation, body: Any) -> None:
    """Refuse a JSON body with unknown top-level keys, missing required ones or wrong types."""
    known = {one.wire: one for one in operation.parameters if one.place == "json"}
    if operation.array_body:
        check_value("items", next(iter(known.values())).schema, body)
        return
    if not isinstance(body, Mapping):
        raise invalid("the body must be a JSON object")
    for name, value in body.items():
        if name not in known:
            raise invalid(f"{name}: unknown field")
        if value is None and not known[name].required:
            continue
        check_value(name, known[name].schema, value)
    for name, parameter in known.items():
        if parameter.required and body.get(name) in (None, ""):
            raise invalid(f"{name}: is required")


def settle_nulls(kind: str, values: dict[str, Any]) -> None:
    """Refuse nulls in what a record must have; a list becomes empty, a value nothing."""
    defaults = DEFAULTS[kind]
    for name, value in values.items():
        if value is not None or defaults.get(name) is None:
            continue
        if isinstance(defaults[name], list):
            values[name] = []
        elif name == "value":
            values[name] = 0
        elif name != "custom_fields":
            raise invalid(f"{name}: must not be null")


def check_value(name: str, schema: Mapping[str, Any], value: Any) -> None:
    """Refuse a value that is not of its schema's type."""
    if "ref" in schema:
        schema = catalog.models("v2")[schema["ref"]]
    if value is None and schema.get("nullable"):
        return
    if "anyOf" in schema:
        _check_any(name, schema["anyOf"], value)
        return
    kind = schema.get("type", schema.get("kind", "any"))
    if not _is(kind, value):
        raise invalid(f"{name}: must be {'an' if kind[0] in 'aio' else 'a'} {kind}")
    if kind == "array":
        for number, item in enumerate(value):
            check_value(f"{name}[{number}]", schema.get("items", {}), item)
    if kind == "object":
        for key, field in schema.get("fields", {}).items():
            if value.get(key) is not None:
                check_value(f"{name}.{key}", field, value[key])
            elif field.get("required"):
                raise invalid(f"{name}.{key}: is required")
    if "enum" in schema and value not in schema["enum"]:
        raise invalid(f"{name}: must be one of {', '.join(map(str, schema['enum']))}")
    _check_form(name, schema, value)


def is_date(text: str) -> bool:
    """Tell whether a text is a day that there is."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return _DATE.fullmatch(text) is not None


def _check_any(name: str, choices: list[Mapping[str, Any]], value: Any) -> None:
    if not any(_is(choice.get("type", "any"), value) for choice in choices):
        raise invalid(f"{name}: has a wrong type")


def _is(kind: str, value: Any) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    types: dict[str, Any] = {"string": str, "boolean": bool, "array": list, "object": Mapping, "map": Mapping}
    return isinstance(value, types[kind]) if kind in types else True


def _check_form(name: str, schema: Mapping[str, Any], value: Any) -> None:
    if not isinstance(value, str):
        return
    if len(value) > schema.get("maxLength", len(value)):
        raise invalid(f"{name}: must not be longer than {schema['maxLength']} characters")
    if schema.get("format") == "date" and not is_date(value):
        raise invalid(f"{name}: must be a date such as 2026-03-05")
    if schema.get("format") in ("date-time", "datetime"):
        try:
            parse(value)
        except ValueError:
            raise invalid(f"{name}: must be an RFC 3339 time") from None


def _check_text(parameter: catalog.Parameter, value: str) -> None:
    """Check a query parameter, which is always text."""
    name, schema = parameter.wire, parameter.schema
    if parameter.style == "csv":
        pieces = value.split(",")
        if len(pieces) > schema.get("maxItems", len(pieces)):
            raise invalid(f"{name}: takes at most {schema['maxItems']} values")
        for piece in pieces:
            _check_enum(name, schema, piece)
        return
    if parameter.type == "integer":
        if not re.fullmatch(r"-?\d+", value):
            raise invalid(f"{name}: must be an integer")
        if not schema.get("minimum", 0 if name != "limit" else 1) <= int(value) <= schema.get("maximum", 2**63):
            raise invalid(f"{name}: is out of range")
    if parameter.type == "boolean" and value not in ("true", "false", "1", "0"):
        raise invalid(f"{name}: must be a boolean")
    if parameter.format == "date-time" and not _WHOLE_SECONDS.fullmatch(value):
        raise invalid(f"{name}: must be an RFC 3339 time in whole seconds")
    _check_enum(name, schema, value)


def _check_enum(name: str, schema: Mapping[str, Any], value: str) -> None:
    if "enum" in schema and value not in map(str, schema["enum"]):
        raise invalid(f"{name}: must be one of {', '.join(map(str, schema['enum']))}")
