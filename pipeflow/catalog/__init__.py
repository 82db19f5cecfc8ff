"""Every operation and type of the Pipedrive API as data. Imports nothing of ours.

The client, the sandbox, the CLI and the docs are built on what stands here; nothing else in the package knows a
path or a verb of Pipedrive's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

Place = Literal["path", "query", "json", "form", "file"]
Result = Literal["one", "list", "items", "none", "bytes", "bare"]
Paging = Literal["cursor", "offset", "none"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an operation: `wire` is Pipedrive's name for it, `name` Python's.

    `type` is string, integer, number, boolean, array, object, map, file or any. `style` says how a list travels:
    `multi` repeats the name, `csv` joins with commas (also where the type is string). `format` is the form of a date:
    `date` 2026-03-05, `date-time` RFC 3339 in whole seconds, `datetime` 2026-03-05 08:09:10 (UTC), `time` 08:09.
    `schema` is the whole schema: `enum`, `items`, `ref` (a name in `models()`), limits, `default`, `values` (an open
    list).
    """

    wire: str
    name: str
    place: Place
    required: bool
    type: str
    style: Literal["multi", "csv"] | None = None
    format: str | None = None
    schema: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint: what to send, what comes back, what it costs.

    `id` is `v1.DealsApi.getDeals`, `attribute` `v1.deals.get_deals`; `path` is the whole path with its generation
    (`/api/v2/deals/{id}`, `/v1/deals/{id}`). `body` is how body fields travel (None: no body); where `array_body`
    is true the body is the bare list given as `items`. `custom_fields` says how the custom fields of a written
    record travel: `nested` under one key, `flat` beside the other fields, None where nothing is written or the
    record has none. `result` is what the answer holds: the data as `one` value or a `list`, the `items` inside the
    data, `none`, `bytes`, or a `bare` body without an envelope. `cost` is in API tokens. `scopes` are OAuth scopes,
    any of which suffices. `retired` is None for a living operation, else the id of its replacement, or "" where
    there is none. `alias_of` is the id of the operation that this one doubles, or None. `deprecated` ones still
    stand in Pipedrive's description, marked so.
    """

    id: str
    attribute: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    array_body: bool
    body: Literal["json", "form", "multipart"] | None
    custom_fields: Literal["nested", "flat"] | None
    result: Result
    paging: Paging
    cost: int
    scopes: tuple[str, ...]
    retired: str | None
    alias_of: str | None
    summary: str
    deprecated: bool = False


@cache
def operations() -> tuple[Operation, ...]:
    """List every operation of both generations, aliases included, in catalog order."""
    return tuple(_built(operation_id) for operation_id in _lines("operations.v1") | _lines("operations.v2"))


def operation(operation_id: str) -> Operation:
    """Look one operation up by its id; a KeyError names the nearest ids."""
    return _built(operation_id)


@cache
def models(generation: Literal["v1", "v2"]) -> dict[str, Any]:
    """Give the generation's types by name, as schemas of kind `object`.

    Enums and unions are written out where they are used. A schema has a `type`, a `ref` to a name in here, or `anyOf`.
    The old types of retired operations begin with `retired.`.
    """
    return {name: _parsed(line) for name, line in _lines(f"models.{generation}").items()}


def response(operation_id: str) -> dict[str, Any]:
    """Give the schema of the operation's answer, envelope included; a `ref` names one of `models()`."""
    found: dict[str, Any] = _parsed(_line(operation_id))["response"]
    return found


@cache
def _built(operation_id: str) -> Operation:
    raw = _parsed(_line(operation_id))
    del raw["response"]
    raw["parameters"] = tuple(_parameter(**parameter) for parameter in raw["parameters"])
    raw["scopes"] = tuple(raw["scopes"])
    return Operation(**raw)


def _parameter(type: str, required: bool = False, schema: dict[str, Any] | None = None, **rest: Any) -> Parameter:
    return Parameter(type=type, required=required, schema=schema or {"type": type}, **rest)


def _line(operation_id: str) -> str:
    lines = _lines(f"operations.{operation_id.partition('.')[0]}") if operation_id.startswith(("v1.", "v2.")) else {}
    if operation_id in lines:
        return lines[operation_id]
    from difflib import get_close_matches

    known = [*_lines("operations.v1"), *_lines("operations.v2")]
    nearest = " or ".join(get_close_matches(operation_id, known, n=3, cutoff=0.5))
    raise KeyError(f"no operation {operation_id}" + (f"; did you mean {nearest}?" if nearest else ""))


@cache
def _lines(name: str) -> dict[str, str]:
    """Index a data file by the first value of each line, without parsing the lines."""
    text = (Path(__file__).parent / f"{name}.jsonl").read_text(encoding="utf-8")
    return {line.split('"', 4)[3]: line for line in text.splitlines()}


def _parsed(line: str) -> Any:
    import orjson

    return orjson.loads(line)
