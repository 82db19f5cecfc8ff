"""Writes shapes as Python types and arguments, and lays lines out. Imports nothing of the package but the catalog."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Sequence
from typing import Any

from codegen.shapes import Listing, Mapped, Named, OneOf, Scalar, Shape
from codegen.wording import pascal, snake, words_of
from pipeflow.catalog import Parameter

WIDTH = 120
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "any": "Any", "none": "None"}
DATES = {"date": "date | str", "date-time": "datetime | str", "datetime": "datetime | str", "time": "time | str"}
SHADOWED = {"construct", "copy", "custom", "dict", "json", "schema", "validate"}


def answer_type(shape: Shape, name: Callable[[str], str]) -> str:
    """Give the type of an answer or of a record's field."""
    match shape:
        case Named(record):
            return name(record)
        case Listing(item):
            return f"list[{answer_type(item, name)}]"
        case Mapped(item):
            return f"dict[str, {answer_type(item, name)}]"
        case OneOf(options):
            return _either([answer_type(option, name) for option in options])
        case Scalar("object"):
            return "dict[str, Any]"
        case Scalar(type, enum, _):
            return _hinted(type, enum)


def argument_type(shape: Shape, name: Callable[[str], str]) -> str:
    """Give the type of an argument: records may be mappings, lists any sequence."""
    match shape:
        case Named(record):
            return f"{name(record)} | Mapping[str, Any]"
        case Listing(item):
            return f"Sequence[{argument_type(item, name)}]"
        case Mapped() | Scalar("object"):
            return "Mapping[str, Any]"
        case OneOf(options):
            return _either([argument_type(option, name) for option in options])
        case Scalar("file"):
            return "FileInput"
        case Scalar(type, enum, _):
            return _hinted(type, enum)


def parameter_type(parameter: Parameter, shape: Shape | None, name: Callable[[str], str]) -> str:
    """Give the type of one argument, with what leaving it out or `None` means."""
    if parameter.wire == "custom_fields" and parameter.place == "json":
        core = "CustomFields"
    elif parameter.format in DATES:
        core = DATES[parameter.format]
    elif parameter.style == "csv" and parameter.type == "string":
        hint = _hinted("string", tuple(parameter.schema.get("values") or parameter.schema.get("enum") or ()))
        core = f"{hint} | Sequence[{'str | int' if hint == 'str' else 'str'}]"
    else:
        core = argument_type(shape, name) if shape else PLAIN["any"]
    if parameter.required:
        return core
    return f"{core} | Unset" if core == "Any" else f"{core} | Unset | None"


def field_name(wire: str) -> str:
    """Give the Python name of a record's field: `from` → `from_`, `128` → `field_128`, `$field_key` → `field_key`."""
    name = wire.replace("$", "").replace("-", "_").replace(".", "_")
    if name[0].isdigit():
        return f"field_{name}"
    return f"{name}_" if keyword.iskeyword(name) or name in SHADOWED else name


def argument_name(wire: str) -> str:
    """Give the Python name of an argument."""
    name = snake(wire)
    return f"{name}_" if keyword.iskeyword(name) else name


def laid_out(head: str, parts: Sequence[str], tail: str, indent: int) -> str:
    """Lay out `head + parts + tail` on one line, else one part a line, as ruff would."""
    margin = " " * indent
    whole = f"{margin}{head}{', '.join(parts)}{tail}"
    if len(whole) <= WIDTH - (4 if head.endswith("(") else 0) or not parts:
        return whole
    lines = "".join(f"{margin}    {part},\n" for part in parts)
    return f"{margin}{head}\n{lines}{margin}{tail}"


class Hints:
    """The long lists of known values in one module, each under a name of its own."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}

    def short(self, wire: str, type: str) -> str:
        """Replace long lists of known values in a type by names, made from the field's."""
        found = re.search(r"Literal\[([^]]{48,})\]", type)
        if found is None:
            return type
        literal = found.group()
        name = base = pascal(words_of(wire))
        others = (f"{base}{letter}" for letter in "ABCDEFGH")
        while self.named.setdefault(name, literal) != literal:
            name = next(others)
        return type.replace(literal, name)

    def lines(self) -> str:
        """Write the names as assignments."""
        return "\n".join(
            laid_out(f"{name} = Literal[", literal.removeprefix("Literal[").removesuffix("]").split(", "), "]", 0)
            for name, literal in sorted(self.named.items())
        )

    def expanded(self, text: str) -> str:
        """Write the lists out again, for readers of the reference."""
        for name, literal in self.named.items():
            text = re.sub(rf"\b{name}\b", literal.replace("\\", r"\\"), text)
        return text


def quoted(value: Any) -> str:
    """Write a value as Python and ruff do: with double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _hinted(type: str, enum: Sequence[Any]) -> str:
    plain = PLAIN[type]
    if not enum or type == "boolean":
        return plain
    return f"Literal[{', '.join(quoted(value) for value in enum)}] | {plain}"


def _either(types: Sequence[str]) -> str:
    return " | ".join(dict.fromkeys(types))
