"""Custom fields as Python values, whatever shape they came in, by key or name. Imports catalog.values and naming.

The three shapes: typed objects (deliveries), a mapping of plain values (REST version 2), flat keys with suffixed
neighbours (version 1). A value that does not fit its type is given as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from pipeflow.catalog.values import (
    ADDRESS_PARTS,
    Address,
    DateRange,
    Money,
    Option,
    Options,
    Ref,
    RefKind,
    TimeOfDay,
    TimeRange,
    to_date,
    to_decimal,
    to_id,
    to_number,
    to_time,
)
from pipeflow.errors import ClientError, ConfigError
from pipeflow.naming import FieldNames

T = TypeVar("T")
Labels = Mapping[int, str]
_Reader = Callable[[Mapping[str, Any], Labels], Any]

_KEY = re.compile(r"[0-9a-f]{40}")
_FLAT_KEY = re.compile(r"([0-9a-f]{40})(?:_(.+))?")


def is_custom_key(text: str) -> bool:
    """Say whether this is the key of a custom field: 40 hexadecimal digits."""
    return len(text) == 40 and _KEY.fullmatch(text) is not None


class Field(str, Generic[T]):
    """A custom field's key that knows what it leads to; `pipeflow fields pull` writes one for each field.

        deal.custom[DealFields.contract_value]      # mypy knows: float | None

    It is text, and stands wherever a key may. `options` are the labels of its choices by id.
    """

    name: str
    type: str
    options: Mapping[int, str]

    def __new__(cls, key: str, name: str, type: str, options: Mapping[int, str] | None = None) -> Field[T]:
        """Make the field of a key."""
        field = super().__new__(cls, key)
        field.name, field.type, field.options = name, type, options or {}
        return field

    def __repr__(self) -> str:
        return f"Field({str(self)!r}, {self.name!r}, {self.type!r})"


class NamesNotKnown(ConfigError):
    """A custom field was asked for by name where the company's fields are not known."""


class CustomFields(Mapping[str, Any]):
    """A record's custom fields as Python values, by key or, where the company's fields are known, by name.

        deal.custom["Contract value"]      # 900.0
        deal.custom["Source"].label        # "Web"

    A field without a value is None. Iterating gives the keys that came with the record. KeyError for an unknown field;
    ConfigError for a name that two fields have, and for a name where names are not known (unless the record has no
    values at all, so that whatever is meant is None).
    """

    def __init__(self, kind: str, values: Mapping[str, Any], fields: FieldNames | None) -> None:
        self._kind = kind
        self._values = values
        self._fields = fields

    @overload
    def __getitem__(self, name: Field[T]) -> T | None: ...
    @overload
    def __getitem__(self, name: str) -> Any: ...
    def __getitem__(self, name: str) -> Any:
        try:
            key = name if name in self._values else self._key(name)
        except (NamesNotKnown, ClientError):
            if any(value is not None for value in self._values.values()):
                raise
            return None
        value = self._values.get(key)
        if isinstance(name, Field) and (self._fields is None or self._fields.type(self._kind, key) is None):
            return custom_value(value, type=name.type, labels=name.options)
        return read_custom(self._kind, key, value, self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"CustomFields({dict(self)!r})"

    def _key(self, name: str) -> str:
        if isinstance(name, Field):
            return name
        if self._fields is not None:
            return self._fields.key(self._kind, name)
        if is_custom_key(name):
            return name
        raise NamesNotKnown(f"{name!r}: the names of the custom fields are not known here; use the field's key.")


def read_custom(kind: str, key: str, raw: Any, fields: FieldNames | None) -> Any:
    """Give the Python value of one custom field of a record."""
    if raw is None or fields is None:
        return custom_value(raw)
    return custom_value(raw, type=fields.type(kind, key), labels=fields.options(kind, key))


def gathered(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Find the custom fields of a flat record: by key its parts, the value itself as `value`.

    `{"ab…": 500, "ab…_currency": "EUR", "title": "Acme"}` → `{"ab…": {"value": 500, "currency": "EUR"}}`
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        if len(name) >= 40 and (match := _FLAT_KEY.fullmatch(name)):
            found.setdefault(match[1], {})[match[2] or "value"] = value
    return found


def custom_value(raw: Any, *, type: str | None = None, labels: Labels | None = None) -> Any:
    """Give the Python value of a custom field.

    `type` is the field's type where it is known; what a delivery says of itself goes before it. `labels` are the
    options' labels by id.
    """
    if _empty(raw) or (isinstance(raw, Mapping) and all(_empty(raw[part]) for part in raw if part != "type")):
        return None
    if isinstance(raw, Mapping) and raw.keys() <= {"type", "value"} and isinstance(raw.get("value"), Mapping | list):
        # Version 1 sends users, persons and organizations whole.
        told = raw.get("type")
        return custom_value(raw["value"], type=told if isinstance(told, str) else type, labels=labels)
    parts = raw if isinstance(raw, Mapping) else {"values": raw} if isinstance(raw, list) else {"value": raw}
    told = parts.get("type")
    reader = _READERS.get(told if isinstance(told, str) else type or _guess(raw, parts))
    if reader is None:
        return _untyped(raw, parts)
    try:
        return reader(parts, labels or {})
    except (ValueError, TypeError, KeyError, AttributeError):
        return _untyped(raw, parts)


def _untyped(raw: Any, parts: Mapping[str, Any]) -> Any:
    return parts["value"] if parts.keys() <= {"type", "value"} and "value" in parts else raw


def _guess(raw: Any, parts: Mapping[str, Any]) -> str:
    if isinstance(raw, list):
        return "set"
    if not isinstance(raw, Mapping):
        return ""
    if "currency" in parts:
        return "monetary"
    zoned = "timezone_id" in parts or "timezone_name" in parts
    if "until" in parts:
        return "timerange" if zoned else "daterange"
    if zoned:
        return "time"
    if parts.keys() & set(ADDRESS_PARTS[1:]):
        return "address"
    return "enum" if "id" in parts else ""


def _text(parts: Mapping[str, Any], labels: Labels) -> Any:
    return parts["value"]


def _number(parts: Mapping[str, Any], labels: Labels) -> Any:
    return None if _empty(parts["value"]) else to_number(parts["value"])


def _money(parts: Mapping[str, Any], labels: Labels) -> Money | None:
    if _empty(parts["value"]):
        return None
    currency = parts.get("currency")
    return Money(to_decimal(parts["value"]), str(currency) if currency else None)


def _option(parts: Mapping[str, Any], labels: Labels) -> Option | None:
    value = parts["id"] if "id" in parts else parts["value"]
    if _empty(value):
        return None
    number = to_id(value)
    label = parts.get("label")
    return Option(number, label if isinstance(label, str) else labels.get(number) if isinstance(number, int) else None)


def _options(parts: Mapping[str, Any], labels: Labels) -> Options | None:
    values = parts["values"] if "values" in parts else parts["value"]
    if isinstance(values, int | str):
        values = [part for part in str(values).split(",") if part.strip()]
    if not values:
        return None
    found = [_option(item if isinstance(item, Mapping) else {"id": item}, labels) for item in values]
    return Options(option for option in found if option is not None)


def _reference(kind: RefKind) -> _Reader:
    def read(parts: Mapping[str, Any], labels: Labels) -> Ref | None:
        value = parts["id"] if "id" in parts else parts["value"]
        if _empty(value):
            return None
        number, name = to_id(value), parts.get("name")
        if not isinstance(number, int):
            raise ValueError(f"not an id: {value!r}")
        return Ref(kind, number, name if isinstance(name, str) else None)

    return read


def _date(parts: Mapping[str, Any], labels: Labels) -> Any:
    return to_date(parts["value"])


def _date_range(parts: Mapping[str, Any], labels: Labels) -> DateRange | None:
    start, end = to_date(_start(parts)), to_date(parts.get("until"))
    return DateRange(start, end) if start or end else None


def _time(parts: Mapping[str, Any], labels: Labels) -> TimeOfDay | None:
    time = to_time(parts["value"])
    return TimeOfDay(time, _zone(parts)) if time is not None else None


def _time_range(parts: Mapping[str, Any], labels: Labels) -> TimeRange | None:
    start, end = to_time(_start(parts)), to_time(parts.get("until"))
    return None if start is None and end is None else TimeRange(start, end, _zone(parts))


def _address(parts: Mapping[str, Any], labels: Labels) -> Address:
    found = {part: str(parts[part]) for part in ADDRESS_PARTS if not _empty(parts.get(part))}
    if not found:
        raise ValueError(f"not an address: {parts!r}")
    return Address(**found)


def _start(parts: Mapping[str, Any]) -> Any:
    if "from" in parts:
        return parts["from"]
    return parts.get("value") if "until" in parts else parts["value"]


def _zone(parts: Mapping[str, Any]) -> str | int | None:
    zone = parts.get("timezone_name") or parts.get("timezone_id")
    return zone if isinstance(zone, str | int) else None


def _empty(value: Any) -> bool:
    return value is None or value == "" or value == []


_READERS: dict[str, _Reader] = {
    "varchar": _text,
    "varchar_auto": _text,
    "text": _text,
    "phone": _text,
    "double": _number,
    "int": _number,
    "monetary": _money,
    "enum": _option,
    "set": _options,
    "user": _reference("user"),
    "org": _reference("organization"),
    "people": _reference("person"),
    "date": _date,
    "daterange": _date_range,
    "time": _time,
    "timerange": _time_range,
    "address": _address,
}
