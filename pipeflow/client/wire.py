"""Turns an operation and its arguments into what goes over the wire. Plain data; imports the catalog and model."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from pipeflow.catalog import Operation, Parameter
from pipeflow.catalog.values import number
from pipeflow.client.model import UNSET, Progress
from pipeflow.client.streams import Upload

File = tuple[str, Any, str]


@dataclass(slots=True)
class Outgoing:
    """A request ready to be sent: `json` UNSET means no JSON body."""

    operation: Operation
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    json: Any = UNSET
    form: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    to: Path | None = None
    progress: Progress | None = None


def prepare(operation: Operation, arguments: Mapping[str, Any]) -> Outgoing:
    """Build the request of an operation.

    Raises ValueError for a path value that is empty, `.`, `..` or None, and for a datetime without a time zone.
    """
    given = {wire: value for wire, value in arguments.items() if value is not UNSET}
    outgoing = Outgoing(operation, _path(operation, given))
    if (to := given.pop("to", None)) is not None and operation.result == "bytes":
        outgoing.to = Path(to)
    outgoing.progress = given.pop("progress", None)
    body: dict[str, Any] = {}
    for parameter in operation.parameters:
        if parameter.wire not in given or parameter.place == "path":
            continue
        value = _fitting(given[parameter.wire], parameter)
        if parameter.place == "json":
            body[parameter.wire] = _json(value, parameter, operation)
        elif value is None:
            continue
        elif parameter.place == "query":
            outgoing.query.extend(_query(value, parameter))
        elif parameter.place == "form":
            outgoing.form[parameter.wire] = _text(value, parameter)
        else:
            outgoing.files[parameter.wire] = _file(value, outgoing.progress)
    if operation.body == "json":
        outgoing.json = body.get("items", []) if operation.array_body else _with_custom_fields(operation, body, given)
    return outgoing


def _with_custom_fields(operation: Operation, body: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    custom = given.get("custom_fields", UNSET)
    if operation.custom_fields is None or custom is UNSET:
        return body
    from pipeflow.client.customwire import flat, nested

    body.pop("custom_fields", None)
    spaced = operation.custom_fields == "flat"
    values = {
        key: moment(value, spaced=spaced) if isinstance(value, datetime) else value
        for key, value in (custom or {}).items()
    }
    if not spaced:
        return {**body, "custom_fields": nested(values) if custom is not None else None}
    for key, value in values.items():
        body |= flat(key, value)
    return body


def _path(operation: Operation, given: Mapping[str, Any]) -> str:
    path = operation.path
    for parameter in operation.parameters:
        if parameter.place != "path":
            continue
        value = given.get(parameter.wire)
        text = "" if value is None else str(value)
        if text in ("", ".", ".."):
            raise ValueError(f"{operation.attribute}: {parameter.name}={value!r} cannot stand in a path; give an id.")
        path = path.replace("{" + parameter.wire + "}", quote(text, safe=""))
    return path


def _fitting(value: Any, parameter: Parameter) -> Any:
    """Give a value the type of its place where it means the same: version 2 refuses `1` for true and `"42"` for 42."""
    if parameter.type in ("integer", "number"):
        if isinstance(value, bool):
            return int(value)
        return int(value) if isinstance(value, str) and value.isdecimal() else value
    if parameter.type == "boolean" and type(value) is int and value in (0, 1):
        return bool(value)
    return value


def _query(value: Any, parameter: Parameter) -> Iterable[tuple[str, str]]:
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [_text(item, parameter) for item in value]
        if parameter.style == "multi":
            return [(parameter.wire, text) for text in texts]
        return [(parameter.wire, ",".join(texts))]
    return [(parameter.wire, _text(value, parameter))]


def _text(value: Any, parameter: Parameter) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _when(value, parameter)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time | timedelta):
        return _clock(value)
    return str(value)


def _json(value: Any, parameter: Parameter, operation: Operation) -> Any:
    return _when(value, parameter) if isinstance(value, datetime) else _plain(value, operation)


def _when(value: datetime, parameter: Parameter) -> str:
    """Write a datetime in the form of its place; where a day is wanted, the day in its own zone."""
    written = moment(value, spaced=parameter.format == "datetime")
    return value.date().isoformat() if parameter.format == "date" else written


def _plain(value: Any, operation: Operation) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(by_alias=True, exclude_unset=True), operation)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, operation) for key, item in value.items() if item is not UNSET}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, operation) for item in value]
    if isinstance(value, datetime):
        return moment(value, spaced=operation.id.startswith("v1."))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time | timedelta):
        return _clock(value)
    return number(value) if isinstance(value, Decimal) else value


def _clock(value: time | timedelta) -> str:
    if isinstance(value, time):
        return value.strftime("%H:%M")
    return "{:02}:{:02}".format(*divmod(int(value.total_seconds()) // 60, 60))


def moment(value: datetime, *, spaced: bool) -> str:
    """Write an aware datetime in whole seconds UTC: `2026-01-01 00:00:00` spaced, else `2026-01-01T00:00:00Z`."""
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: give an aware datetime, such as datetime.now(UTC).")
    utc = value.astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S" if spaced else "%Y-%m-%dT%H:%M:%SZ")


def _file(value: Any, progress: Progress | None) -> File:
    if isinstance(value, str | Path):
        return _named(Path(value).name, Upload(Path(value), progress))
    if isinstance(value, tuple):
        name, content, *kind = value
        content = content if progress is None else Upload(content, progress)
        return (name, content, kind[0]) if kind else _named(name, content)
    name = "file" if isinstance(value, bytes) else Path(getattr(value, "name", "file")).name
    return _named(name, value if progress is None else Upload(value, progress))


def _named(name: str, content: Any) -> File:
    return name, content, mimetypes.guess_type(name)[0] or "application/octet-stream"
