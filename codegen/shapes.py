"""The types of one name space: records by name, with the fields of all answers that share a name united.

Imports nothing of the package. A shape is a `Scalar`, a `Listing`, a `Mapped`, a `OneOf` or a `Named` record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from codegen.wording import pascal, singular, words_of

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Scalar:
    """string, integer, number, boolean, any, object (of unknown fields) or file, perhaps with known values."""

    type: str
    enum: tuple[Any, ...] = ()
    format: str | None = None


@dataclass(frozen=True)
class Listing:
    """A list."""

    item: Shape


@dataclass(frozen=True)
class Mapped:
    """An object whose keys are data."""

    item: Shape


@dataclass(frozen=True)
class OneOf:
    """Any of several."""

    options: tuple[Shape, ...]


@dataclass(frozen=True)
class Named:
    """A record, by name."""

    name: str


Shape: TypeAlias = Scalar | Listing | Mapped | OneOf | Named


class Book:
    """The records of one name space."""

    def __init__(self, models: Mapping[str, Schema], renamed: Mapping[str, str]) -> None:
        self.records: dict[str, dict[str, Shape]] = {}
        self.origins: dict[str, list[tuple[str, str]]] = {}
        self._models = models
        self._renamed = renamed

    def shape(self, schema: Schema, name: str, origin: tuple[str, str] | None = None) -> Shape:
        """Give the shape of a schema; a record in it is called `name`, the ones below it after their fields.

        `origin` says in which field of which record (or argument of which operation) it stands.
        """
        if "anyOf" in schema:
            return one_of(*(self.shape(option, name, origin) for option in schema["anyOf"]))
        if "ref" in schema:
            return self._record(self._models[schema["ref"]], self._better(name), origin)
        kind = schema.get("type", "any")
        if kind == "array":
            return Listing(self.shape(schema["items"], name, origin))
        if kind == "map":
            return Mapped(self.shape(schema["items"], name, origin))
        return Scalar(kind, tuple(schema.get("enum", ())), schema.get("format") if kind == "string" else None)

    def _better(self, name: str) -> str:
        return next((better for pattern, better in self._renamed.items() if re.fullmatch(pattern, name)), name)

    def _record(self, model: Schema, name: str, origin: tuple[str, str] | None) -> Named:
        known = self.records.setdefault(name, {})
        origins = self.origins.setdefault(name, [])
        if origin and origin not in origins:
            origins.append(origin)
        for wire, schema in model["fields"].items():
            shape = self.shape(schema, name + below(wire, schema), (name, wire))
            known[wire] = united(known[wire], shape) if wire in known else shape
        return Named(name)

    def key(self, shape: Shape, seen: tuple[str, ...] = ()) -> str:
        """Give a text that is equal for equal structures, whatever their names."""
        match shape:
            case Scalar(type, enum, _):
                return f"{type}{sorted(map(str, enum)) if enum else ''}"
            case Listing(item):
                return f"[{self.key(item, seen)}]"
            case Mapped(item):
                return f"<{self.key(item, seen)}>"
            case OneOf(options):
                return "|".join(sorted(self.key(option, seen) for option in options))
            case Named(name):
                fields = self.records[name]
                return "{" + ",".join(f"{wire}:{self.key(fields[wire], seen)}" for wire in sorted(fields)) + "}"


def below(wire: str, schema: Schema) -> str:
    """Name what stands in a field: `emails` → `Email`, `org_id` → `Org`."""
    words = words_of(wire.replace("$", ""))
    if len(words) > 1 and words[-1] == "id":
        words = words[:-1]
    if schema.get("type") in ("array", "map"):
        words = [*words[:-1], singular(words[-1])]
    return pascal(words)


def one_of(*shapes: Shape) -> Shape:
    """Unite shapes that differ, without repeating one."""
    options: list[Shape] = []
    for shape in shapes:
        for option in shape.options if isinstance(shape, OneOf) else (shape,):
            if option not in options:
                options.append(option)
    return options[0] if len(options) == 1 else OneOf(tuple(options))


def united(first: Shape, second: Shape) -> Shape:
    """Give the shape that admits both; a vaguer one yields to a more precise one."""
    if first == second:
        return first
    if isinstance(first, Listing) and isinstance(second, Listing):
        return Listing(united(first.item, second.item))
    if isinstance(first, Mapped) and isinstance(second, Mapped):
        return Mapped(united(first.item, second.item))
    if isinstance(first, Scalar) and isinstance(second, Scalar) and first.type == second.type:
        both = first.enum and second.enum
        enum = tuple(dict.fromkeys(first.enum + second.enum)) if both else ()
        return Scalar(first.type, enum, first.format or second.format)
    for vague, precise in ((first, second), (second, first)):
        if isinstance(vague, Scalar) and _yields(vague, precise):
            return precise
    return one_of(first, second)


def _yields(vague: Scalar, precise: Shape) -> bool:
    if vague.type == "any":
        return True
    return vague.type == "object" and isinstance(precise, Named | Mapped)


def walk(shape: Shape, visit: Callable[[str], None]) -> None:
    """Call `visit` with the name of every record that a shape mentions directly."""
    match shape:
        case Named(name):
            visit(name)
        case Listing(item) | Mapped(item):
            walk(item, visit)
        case OneOf(options):
            for option in options:
                walk(option, visit)
        case Scalar():
            pass
