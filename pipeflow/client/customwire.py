"""Writes custom fields: what a caller means, and the two shapes REST wants. Imports definitions and the catalog.

`meant` gives a value the type of its field (a label its option, 900 its currency-less Money); `nested` and `flat` write
any such value for version 2 and version 1. Values whose field is not known go by what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from pipeflow.catalog.values import (
    Address,
    DateRange,
    Money,
    Option,
    Options,
    Ref,
    RefKind,
    TimeOfDay,
    TimeRange,
    number,
    to_date,
    to_decimal,
    to_number,
    to_time,
)
from pipeflow.client.definitions import FieldDefinition

_Meaning = Callable[[Any, FieldDefinition], Any]


# What is meant --------------------------------------------------------------------------------------------------------


def meant(value: Any, field: FieldDefinition) -> Any:
    """Give a value as the field's type; raises ValueError, naming the field, for one that cannot be of it."""
    meaning = _MEANINGS.get(field.type)
    if value is None or meaning is None or isinstance(value, Mapping):
        return value
    if meaning is not _text and isinstance(value, str | Collection) and not value:
        return None
    try:
        return meaning(value, field)
    except _RefusedError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise _refused(value, field, str(error)) from error


class _RefusedError(ValueError):
    """A value that cannot be of its field; the text names both."""


def _refused(value: Any, field: FieldDefinition, why: str) -> ValueError:
    return _RefusedError(f"{value!r} cannot be the value of {field.name!r} ({field.type}): {why}.")


def _text(value: Any, field: FieldDefinition) -> Any:
    plain = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return str(value) if plain else value


def _number(value: Any, field: FieldDefinition) -> Any:
    return value.amount if isinstance(value, Money) else value if isinstance(value, Decimal) else to_number(value)


def _money(value: Any, field: FieldDefinition) -> Money:
    if isinstance(value, Money):
        return value
    amount, currency = value if isinstance(value, tuple) else (value, None)
    return Money(to_decimal(amount), currency)


def _option(value: Any, field: FieldDefinition) -> Option:
    if isinstance(value, Option):
        return value if isinstance(value.id, int) else _option(value.id, field)
    if isinstance(value, int) and not isinstance(value, bool):
        return Option(value, field.options.get(value))
    ids = [number for number, label in field.options.items() if label == value]
    if len(ids) == 1:
        return Option(ids[0], value)
    if ids:
        raise _refused(value, field, f"{len(ids)} options are called so; write an id, {' or '.join(map(str, ids))}")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return Option(int(value), field.options.get(int(value)))
    labels = ", ".join(repr(label) for label in list(field.options.values())[:20])
    raise _refused(value, field, f"its options are {labels or 'unknown'}")


def _options(value: Any, field: FieldDefinition) -> Options:
    given = [value] if isinstance(value, str | int | Option) else value
    return Options(_option(each, field) for each in given)


def _reference(kind: RefKind) -> _Meaning:
    def mean(value: Any, field: FieldDefinition) -> Ref:
        if isinstance(value, Ref):
            return value
        number = getattr(value, "id", value)
        if isinstance(number, str) and number.isascii() and number.isdigit():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            raise _refused(value, field, "give an id")
        return Ref(kind, number)

    return mean


def _date(value: Any, field: FieldDefinition) -> date | None:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise _refused(value, field, "it has no time zone; give a date")
    return to_date(value)


def _dates(value: Any, field: FieldDefinition) -> DateRange:
    if isinstance(value, DateRange):
        return value
    start, end = value
    return DateRange(_date(start, field), _date(end, field))


def _time(value: Any, field: FieldDefinition) -> TimeOfDay:
    if isinstance(value, TimeOfDay):
        return value
    moment = to_time(value)
    if moment is None:
        raise _refused(value, field, "give a time")
    return TimeOfDay(moment)


def _times(value: Any, field: FieldDefinition) -> TimeRange:
    if isinstance(value, TimeRange):
        return value
    start, end = value
    return TimeRange(to_time(start), to_time(end))


def _address(value: Any, field: FieldDefinition) -> Address:
    return value if isinstance(value, Address) else Address(str(value))


_MEANINGS: dict[str, _Meaning] = {
    "varchar": _text,
    "varchar_auto": _text,
    "text": _text,
    "phone": _text,
    "double": _number,
    "monetary": _money,
    "enum": _option,
    "set": _options,
    "user": _reference("user"),
    "org": _reference("organization"),
    "people": _reference("person"),
    "date": _date,
    "daterange": _dates,
    "time": _time,
    "timerange": _times,
    "address": _address,
}


# What is sent ---------------------------------------------------------------------------------------------------------


def nested(value: Any) -> Any:
    """Write a value as version 2 wants it below `custom_fields`; an empty list clears, as None does."""
    if isinstance(value, Mapping):
        return {name: nested(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [nested(each) for each in value] or None
    parts = _parts(value)
    return _plain(value) if parts is None else {name: part for name, part in parts.items() if part is not None}


def flat(key: str, value: Any) -> dict[str, Any]:
    """Write a value as version 1 wants it beside the other fields: `{"ab…": 500, "ab…_currency": "EUR"}`."""
    if isinstance(value, list | tuple | set | frozenset):
        return {key: ",".join(str(_plain(each)) for each in value) or None}
    parts = _parts(value)
    if parts is None and isinstance(value, Mapping) and "value" in value:
        parts = {name: nested(part) for name, part in value.items()}
    if parts is None:
        return {key: nested(value)}
    if isinstance(value, TimeOfDay | TimeRange) and "timezone_name" in parts:
        raise ValueError(
            f"{value!r}: version 1 takes a time zone by Pipedrive's number, not by name; give that, or use version 2."
        )
    return {
        key if name == "value" else f"{key}_{name}": part
        for name, part in parts.items()
        if part is not None or name == "value"
    }


def _parts(value: Any) -> dict[str, Any] | None:
    """Take a composed value apart; None for a plain one."""
    if isinstance(value, Money):
        return {"value": _plain(value.amount), "currency": value.currency}
    if isinstance(value, DateRange):
        return {"value": _plain(value.start), "until": _plain(value.end)}
    if isinstance(value, TimeOfDay):
        return {"value": _plain(value.time), **_zone(value.timezone)}
    if isinstance(value, TimeRange):
        return {"value": _plain(value.start), "until": _plain(value.end), **_zone(value.timezone)}
    if isinstance(value, Address):
        parts = {part.name: getattr(value, part.name) for part in fields(value)}
        return {**parts, "value": str(value)}
    return None


def _zone(timezone: str | int | None) -> dict[str, str | int]:
    if timezone is None:
        return {}
    return {"timezone_name" if isinstance(timezone, str) else "timezone_id": timezone}


def _plain(value: Any) -> Any:
    if isinstance(value, Option | Ref):
        return value.id
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, date):
        return value.isoformat()
    return value.strftime("%H:%M:%S") if isinstance(value, time) else value
