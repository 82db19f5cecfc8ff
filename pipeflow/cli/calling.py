"""What `pipeflow api` understands: which operation is meant, and what its arguments are. Imports the catalog alone.

Every refusal is a ConfigError that says what may stand there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pipeflow.catalog import Operation, Parameter, operations
from pipeflow.errors import ConfigError

_NAMED = re.compile(r"([A-Za-z_$][\w.$-]*)(:?=)(.*)", re.DOTALL)
_SCALARS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}


@dataclass
class Call:
    """One call: path values in their order, and everything else by Python name."""

    operation: Operation
    path: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)


@cache
def known() -> dict[str, Operation]:
    """Give every operation by the names it may be called by: `v2.deals.get_deals`, and `deals.get_deals` if current."""
    found = {each.attribute: each for each in operations()}
    living = [each for each in operations() if each.alias_of is None and each.retired is None]
    for generation in ("v1.", "v2."):
        found |= {each.attribute.removeprefix(generation): each for each in living if each.id.startswith(generation)}
    return found


def listed() -> dict[str, Operation]:
    """List every operation once, under the shortest name that means it."""
    names: dict[str, str] = {}
    for name, operation in sorted(known().items()):
        if operation.alias_of is None and len(name) < len(names.get(operation.id, name + " ")):
            names[operation.id] = name
    return {name: known()[name] for name in sorted(names.values())}


def find(name: str) -> Operation:
    """Look an operation up; raises ConfigError, naming the nearest."""
    found = known().get(name)
    if found is None:
        raise ConfigError(f"Pipedrive has no operation {name!r}.{_nearest(name)} `pipeflow api --list` lists them all.")
    return found


def _nearest(name: str) -> str:
    resource, _, method = name.rpartition(".")
    mine = [each for each in known() if each.rpartition(".")[0] == resource]
    if method and mine:
        near = [f"{resource}.{each}" for each in get_close_matches(method, [m.rpartition(".")[2] for m in mine], n=3)]
    else:
        near = get_close_matches(name, known(), n=3, cutoff=0.5)
    retired = [each for each in known() if each == f"v1.{name}"]
    near = near or retired or sorted(mine)[:8]
    return f" Did you mean {_either(near)}?" if near else ""


def read_call(name: str, words: Sequence[str]) -> Call:
    """Read what stands behind `pipeflow api`: path values, `name=value`, `name:=JSON`, and a body (`@file`, `-`)."""
    call = Call(find(name))
    places = [each for each in _parameters(call.operation) if each.place == "path"]
    values: dict[str, Any] = {}
    for word in words:
        if word == "-" or word.startswith("@"):
            values |= _body(call.operation, _content(word))
        elif (named := _NAMED.fullmatch(word)) is not None:
            parameter = _named(call.operation, named.group(1))
            values[parameter.name] = _value(parameter, named.group(3), as_json=named.group(2) == ":=")
        else:
            free = next((each for each in places if each.name not in values), None)
            if free is None:
                raise ConfigError(f"{name}: {word!r} is one word too many. {_takes(call.operation)}")
            values[free.name] = _value(free, word)
    missing = [each for each in _parameters(call.operation) if each.required and each.name not in values]
    if missing:
        raise ConfigError(
            f"{name} lacks {' and '.join(f'{each.name} ({kind_of(each)})' for each in missing)}. "
            f"{_takes(call.operation)}"
        )
    call.path = [values.pop(each.name) for each in places]
    call.named = values
    return call


def describe(operation: Operation) -> list[tuple[str, str, str]]:
    """List the arguments of an operation: name, what may stand there, and whether it must."""
    return [(each.name, kind_of(each), "required" if each.required else "") for each in _parameters(operation)]


def kind_of(parameter: Parameter) -> str:
    """Say what may stand for a parameter."""
    choices = parameter.schema.get("enum") or parameter.schema.get("values")
    if parameter.place == "file":
        return "a path"
    if parameter.format in ("date", "time", "datetime", "date-time"):
        shapes = {"date": "2026-03-05", "time": "08:09", "datetime": "2026-03-05 08:09:10"}
        return shapes.get(parameter.format, "2026-03-05T08:09:10Z")
    if choices and parameter.type != "boolean":
        shown = ", ".join(map(str, choices[:8])) + (", …" if len(choices) > 8 else "")
        return f"some of {shown}" if parameter.style else f"one of {shown}"
    simple = parameter.type == "array" and (parameter.schema.get("items") or {}).get("type") in _SCALARS
    if parameter.style is not None or simple:
        return "values separated by commas"
    return _SCALARS.get(parameter.type, "a JSON list" if parameter.type == "array" else "a JSON object")


def _parameters(operation: Operation) -> list[Parameter]:
    """List the parameters, those of the path first, with `custom_fields` and `to` where the method takes them."""
    found = sorted(operation.parameters, key=lambda each: (each.place != "path", not each.required))
    if operation.custom_fields == "flat":
        found.append(Parameter("custom_fields", "custom_fields", "json", False, "map", schema={"type": "map"}))
    if operation.result == "bytes":
        found.append(Parameter("to", "to", "file", False, "file", schema={"type": "file"}))
    return found


def _named(operation: Operation, name: str) -> Parameter:
    for each in _parameters(operation):
        if name in (each.name, each.wire):
            return each
    short = operation.attribute
    near = get_close_matches(name, [each.name for each in _parameters(operation)], n=2)
    guess = f" Did you mean {_either(near)}?" if near else ""
    raise ConfigError(f"{short} takes no {name}.{guess} {_takes(operation)}")


def _takes(operation: Operation) -> str:
    must = [each.name for each in _parameters(operation) if each.required]
    may = [each.name for each in _parameters(operation) if not each.required]
    said = [f"{word} {', '.join(names)}" for word, names in (("needs", must), ("may have", may)) if names]
    return f"It {'; it '.join(said)}." if said else "It takes nothing."


# -- values ------------------------------------------------------------------------------------------------------------


def _value(parameter: Parameter, text: str, *, as_json: bool = False) -> Any:
    if as_json:
        return _json(text, f"{parameter.name}:=")
    if parameter.place == "file":
        return Path(text.removeprefix("@"))
    if text.startswith("@") and parameter.place in ("json", "form"):
        text = _content(text)
    try:
        return _plain(parameter, text)
    except (ValueError, KeyError):
        raise ConfigError(f"{parameter.name}={text} cannot be: {kind_of(parameter)} must stand there.") from None


def _plain(parameter: Parameter, text: str) -> Any:
    if parameter.place == "json" and text == "null":
        return None
    match parameter.type:
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "boolean":
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        case "array":
            return _array(parameter, text)
        case "object" | "map" | "any":
            return _json(text, f"{parameter.name}=")
    return text


def _array(parameter: Parameter, text: str) -> list[Any]:
    if text.startswith("["):
        return list(_json(text, f"{parameter.name}="))
    item = (parameter.schema.get("items") or {}).get("type", "string")
    if item not in _SCALARS:
        return [_json(text, f"{parameter.name}=")]
    single = Parameter(parameter.wire, parameter.name, parameter.place, False, item)
    return [_plain(single, part.strip()) for part in text.split(",") if part.strip()]


def _body(operation: Operation, text: str) -> dict[str, Any]:
    """Read a whole body: an object of its fields, or the bare list where that is the body."""
    found = _json(text, "the body")
    if operation.array_body:
        if not isinstance(found, list):
            raise ConfigError(f"The body of {operation.attribute} is a list: [ … ].")
        return {"items": found}
    if not isinstance(found, dict):
        raise ConfigError(f"The body of {operation.attribute} is an object of its fields: {{ … }}.")
    values: dict[str, Any] = {}
    for wire, value in found.items():
        if operation.custom_fields == "flat" and re.match(r"[0-9a-f]{40}", wire):
            values.setdefault("custom_fields", {})[wire] = value
        else:
            values[_named(operation, wire).name] = value
    return values


def _content(word: str) -> str:
    """Read what `@file` or `-` stands for."""
    if word in ("-", "@-"):
        return sys.stdin.read()
    path = Path(word.removeprefix("@"))
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(
            f"{path} cannot be read: {reason}. (A text that begins with @ is given as name:='\"@…\"'.)"
        ) from None


def _json(text: str, what: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{what} is no JSON: {error}.") from None


def _either(names: Iterable[str]) -> str:
    *front, last = names
    return f"{', '.join(front)} or {last}" if front else last
