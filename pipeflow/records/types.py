"""What fields of records are read into: each type knows how to read what Pipedrive sends. Imports catalog.values.

A value of another type than expected is kept as it came. Ids are int where they are numbers and str where they are
UUIDs; moments are aware (UTC); flags that are told as 0 and 1 are bool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import Field
from pydantic_core import CoreSchema, core_schema

from pipeflow.catalog.values import (
    ADDRESS_PARTS,
    Address,
    Money,
    to_date,
    to_datetime,
    to_decimal,
    to_id,
    to_number,
    to_time,
)


@dataclass(frozen=True, slots=True)
class ContactDetail:
    """One e-mail address or phone number of a person."""

    value: str | None
    label: str | None = None
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """What a product costs in one currency."""

    price: float | None
    currency: str | None
    cost: float | None = None
    direct_cost: float | None = None
    notes: str | None = None


class Reads:
    """Marks a field with its reader; a value that the reader refuses is kept as it came."""

    def __init__(self, read: Callable[[Any], Any], empty: Any = None) -> None:
        self._read = read
        self._empty = empty

    def __call__(self, value: Any) -> Any:
        if value is None:
            return self._empty
        try:
            return self._read(value)
        except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError):
            return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self)


def as_it_came(value: Any) -> Any:
    """Keep a value as it is."""
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1, "0", "1"):
        return bool(int(value))
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError(f"not a flag: {value!r}")


def _ids(value: Any) -> tuple[int | str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"not a list: {value!r}")
    return tuple(to_id(item) for item in value)


def _inner(value: Any) -> Any:
    # On a change an activity's `due_time` and `duration` are objects, on its creation text.
    return value.get("value") if isinstance(value, Mapping) else value


def _clock(value: Any) -> time | None:
    return to_time(_inner(value))


def _duration(value: Any) -> timedelta | None:
    text = _inner(value)
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise ValueError(f"not a duration: {value!r}")
    hours, minutes, seconds = ([int(part) for part in text.split(":")] + [0, 0])[:3]
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _money(value: Any) -> Money:
    currency = value["currency"]
    return Money(to_decimal(value["amount"]), str(currency) if currency else None)


def _address(value: Any) -> Address | None:
    if value == "":
        return None
    if isinstance(value, str):
        return Address(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"not an address: {value!r}")
    return Address(**{part: str(value[part]) for part in ADDRESS_PARTS if value.get(part) is not None})


def _contacts(value: Any) -> tuple[ContactDetail, ...]:
    if isinstance(value, str):
        return (ContactDetail(value, primary=True),) if value else ()
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return tuple(_contact(item) for item in value)


def _contact(item: Any) -> ContactDetail:
    if isinstance(item, str):
        return ContactDetail(item)
    return ContactDetail(item.get("value"), item.get("label"), _flag(item.get("primary") or False))


def _prices(value: Any) -> tuple[Price, ...]:
    items = value.values() if isinstance(value, Mapping) else value
    return tuple(
        Price(item.get("price"), item.get("currency"), item.get("cost"), item.get("direct_cost"), item.get("notes"))
        for item in items
    )


Id: TypeAlias = Annotated[int, Reads(to_id)]
Uuid: TypeAlias = Annotated[str, Reads(to_id)]
AnyId: TypeAlias = Annotated[int | str | None, Reads(to_id)]
UuidRef: TypeAlias = Annotated[str | None, Reads(to_id)]
RefId: TypeAlias = Annotated[int | None, Reads(to_id)]
Ids: TypeAlias = Annotated[tuple[int, ...], Reads(_ids, ())]
Uuids: TypeAlias = Annotated[tuple[str, ...], Reads(_ids, ())]
Anything: TypeAlias = Annotated[Any, Reads(as_it_came)]
Text: TypeAlias = Annotated[str | None, Reads(as_it_came)]
Number: TypeAlias = Annotated[float | None, Reads(to_number)]
Flag: TypeAlias = Annotated[bool | None, Reads(_flag)]
Moment: TypeAlias = Annotated[datetime | None, Reads(to_datetime)]
Day: TypeAlias = Annotated[date | None, Reads(to_date)]
Clock: TypeAlias = Annotated[time | None, Reads(_clock)]
Duration: TypeAlias = Annotated[timedelta | None, Reads(_duration)]
Amount: TypeAlias = Annotated[Money | None, Reads(_money)]
Place: TypeAlias = Annotated[Address | None, Reads(_address)]
Contacts: TypeAlias = Annotated[tuple[ContactDetail, ...], Reads(_contacts, ())]
Prices: TypeAlias = Annotated[tuple[Price, ...], Reads(_prices, ())]
NO_ID: Any = Field(default=None)
