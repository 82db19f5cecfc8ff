"""Parameters written in PostgreSQL's binary format, for what is stored most often. Imports the rows.

Arrays of composites are the cheapest way in for many rows: the server reads each value once, without a parser, and
needs no names. Oid 0 stands for a type of ours, whose real one differs from database to database; PostgreSQL takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby, repeat
from struct import Struct
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from pipeflow.store.postgres_rows import clean

_COUNT = Struct(">i").pack
_FIELD = Struct(">Ii").pack
_SOME_DOUBLE = Struct(">Iid").pack
_ARRAY = Struct(">iiIii").pack
_OURS, _INTEGER, _BYTEA, _TEXT, _DOUBLE = 0, 23, 17, 25, 701
_NO_TEXT, _NO_DOUBLE = _FIELD(_TEXT, -1), _FIELD(_DOUBLE, -1)


class Binary(bytes):
    """A parameter that is in the binary format already."""


class _BinaryDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Binary) -> Binary:
        return obj


psycopg.adapters.register_dumper(Binary, _BinaryDumper)


def integers(values: Sequence[int]) -> Binary:
    """Write an integer[]."""
    return _array(_INTEGER, list(map(_COUNT, values)))


def blobs(values: Sequence[bytes]) -> Binary:
    """Write a bytea[]."""
    return _array(_BYTEA, values)


class Composite:
    """Writes arrays of a composite type with these attributes, each of a sort below; neighbours of fixed sorts at once.

    Fixed: `integer`, `bigint`, `boolean`, `uuid`, `time` (never NULL). Else: `double`, `text`, and `word`, a text of
    which there are few.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._head = _COUNT(len(attributes))
        self._parts: list[tuple[Callable[..., bytes], list[str | int]]] = []
        for is_fixed, group in groupby(attributes.items(), lambda attribute: attribute[1] in _FIXED):
            if is_fixed:
                self._parts.append(_together(list(group)))
            else:
                self._parts += [(_WRITERS[sort], [name]) for name, sort in group]

    def array(self, values: Mapping[str, Iterable[Any]]) -> Binary:
        """Write rows, given the values of each attribute."""
        written = [
            map(write, *(values[one] if isinstance(one, str) else repeat(one) for one in sources))
            for write, sources in self._parts
        ]
        return _array(_OURS, [b"".join(fields) for fields in zip(repeat(self._head), *written, strict=False)])


def _together(attributes: list[tuple[str, str]]) -> tuple[Callable[..., bytes], list[str | int]]:
    layout = ">"
    sources: list[str | int] = []
    for name, sort in attributes:
        oid, code = _FIXED[sort]
        layout += f"Ii{code}"
        sources += [oid, Struct(f">{code}").size, name]
    return Struct(layout).pack, sources


def _array(element: int, values: Sequence[bytes]) -> Binary:
    sizes = map(_COUNT, map(len, values))
    head = _ARRAY(1, 0, element, len(values), 1)
    return Binary(head + b"".join(chain.from_iterable(zip(sizes, values, strict=True))))


def _text(value: str | None) -> bytes:
    if value is None:
        return _NO_TEXT
    encoded = (value if "\0" not in value else clean(value)).encode()
    return _FIELD(_TEXT, len(encoded)) + encoded


def _double(value: float | None) -> bytes:
    return _NO_DOUBLE if value is None else _SOME_DOUBLE(_DOUBLE, 8, value)


_FIXED = {
    "integer": (_INTEGER, "i"),
    "bigint": (20, "q"),
    "boolean": (16, "?"),
    "uuid": (2950, "16s"),
    "time": (_DOUBLE, "d"),
}
_WRITERS: Mapping[str, Callable[[Any], bytes]] = {
    "text": _text,
    "word": lru_cache(1024)(_text),
    "double": _double,
}
