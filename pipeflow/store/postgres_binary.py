"""Parameters written in PostgreSQL's binary format, for what is stored most often. Imports the rows.

Arrays of composites are the cheapest way in for many rows: the server reads each value once, without a parser, and
needs no names. Oid 0 stands for a type of ours, whose real one differs from database to database; PostgreSQL takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from pipeflow.store.postgres_rows import clean

_COUNT = Struct(">i").pack
_PAIR = Struct(">Ii").pack
_ARRAY = Struct(">iiIii").pack
_OURS, _INTEGER, _BYTEA, _TEXT, _DOUBLE = 0, 23, 17, 25, 701


class Binary(bytes):
    """A parameter that is in the binary format already."""


class _BinaryDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Binary) -> Binary:
        return obj


psycopg.adapters.register_dumper(Binary, _BinaryDumper)


def integers(values: Sequence[int]) -> Binary:
    """Write an integer[]."""
    return _array(_INTEGER, map(_COUNT, values), len(values))


def blobs(values: Sequence[bytes]) -> Binary:
    """Write a bytea[]."""
    return _array(_BYTEA, values, len(values))


def composites(columns: Mapping[str, str], values: Mapping[str, Sequence[Any]], number: int) -> Binary:
    """Write an array of so many rows of a composite type, given the types of its columns and the values of each."""
    written = [map(_WRITERS[kind], values[name]) for name, kind in columns.items()]
    head = _COUNT(len(columns))
    return _array(_OURS, (head + b"".join(fields) for fields in zip(*written, strict=True)), number)


def _array(element: int, values: Iterable[bytes], number: int) -> Binary:
    parts = [_ARRAY(1, 0, element, number, 1)]
    for value in values:
        parts.append(_COUNT(len(value)))
        parts.append(value)
    return Binary(b"".join(parts))


def _text(value: str | None) -> bytes:
    if value is None:
        return _NO_TEXT
    encoded = (value if "\0" not in value else clean(value)).encode()
    return _PAIR(_TEXT, len(encoded)) + encoded


def _double(value: float | None) -> bytes:
    return _NO_DOUBLE if value is None else _SOME_DOUBLE(value)


def _fixed(oid: int, layout: str) -> Callable[[Any], bytes]:
    struct = Struct(f">Ii{layout}")
    return partial(struct.pack, oid, struct.size - 8)


_NO_TEXT, _NO_DOUBLE = _PAIR(_TEXT, -1), _PAIR(_DOUBLE, -1)
_SOME_DOUBLE = _fixed(_DOUBLE, "d")
_WRITERS: Mapping[str, Callable[[Any], bytes]] = {
    "text": _text,
    "integer": _fixed(_INTEGER, "i"),
    "bigint": _fixed(20, "q"),
    "boolean": _fixed(16, "?"),
    "double precision": _double,
    "uuid": _fixed(2950, "16s"),
}
