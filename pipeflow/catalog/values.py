"""The Python values that custom fields have, whatever shape they came in. Imports the standard library alone.

    text, phone → str          double → float            monetary → Money
    enum → Option              set → Options             user, org, people → Ref
    date → date                daterange → DateRange     time → TimeOfDay
    timerange → TimeRange      address → Address         empty → None

Readers (`to_date` and its like) take what Pipedrive sends and raise ValueError for anything else, so that one caller
decides what becomes of an odd value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

RefKind = Literal["user", "organization", "person"]


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency (an ISO 4217 code in capitals, or a code of the company's own)."""

    amount: Decimal
    currency: str | None

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}" if self.currency else str(self.amount)


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a field. Two are equal if their ids are; `label` is None where it is not known."""

    id: int | str
    label: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.label if self.label is not None else str(self.id)


class Options(tuple[Option, ...]):
    """The choices of a multiple-choice field, in Pipedrive's order; equality ignores the order."""

    __slots__ = ()

    @property
    def ids(self) -> tuple[int | str, ...]:
        """The ids, in order."""
        return tuple(option.id for option in self)

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The labels, in order; None where one is not known."""
        return tuple(option.label for option in self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str | bytes) or not isinstance(other, Iterable):
            return False
        return frozenset(self) == frozenset(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return f"Options({list(self)!r})"


@dataclass(frozen=True, slots=True)
class Ref:
    """A pointer to a user, an organization or a person. Two are equal if kind and id are."""

    kind: RefKind
    id: int
    name: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DateRange:
    """Two dates, both included; either may be open (None)."""

    start: date | None
    end: date | None


@dataclass(frozen=True, slots=True, eq=False)
class TimeOfDay:
    """A time of day; `timezone` is a name (REST v2) or Pipedrive's number for one (v1 and deliveries), if given.

    Two are equal if their times are, and their zones as far as one can tell: a name and a number count as equal.
    """

    time: time
    timezone: str | int | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TimeOfDay):
            return NotImplemented
        return self.time == other.time and _is_same_zone(self.timezone, other.timezone)

    def __hash__(self) -> int:
        return hash(self.time)


@dataclass(frozen=True, slots=True, eq=False)
class TimeRange:
    """Two times of day; `timezone` and equality as in `TimeOfDay`."""

    start: time | None
    end: time | None
    timezone: str | int | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TimeRange):
            return NotImplemented
        times = (self.start, self.end) == (other.start, other.end)
        return times and _is_same_zone(self.timezone, other.timezone)

    def __hash__(self) -> int:
        return hash((self.start, self.end))


def _is_same_zone(one: str | int | None, other: str | int | None) -> bool:
    return one == other or {type(one), type(other)} == {str, int}


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address; `value` is the line a person typed, the rest is what Pipedrive's geocoder made of it."""

    value: str | None = None
    street_number: str | None = None
    route: str | None = None
    subpremise: str | None = None
    sublocality: str | None = None
    locality: str | None = None
    admin_area_level_1: str | None = None
    admin_area_level_2: str | None = None
    country: str | None = None
    postal_code: str | None = None
    formatted_address: str | None = None

    def __str__(self) -> str:
        return self.value or self.formatted_address or ""


ADDRESS_PARTS: tuple[str, ...] = tuple(part.name for part in fields(Address))

CustomValue: TypeAlias = (
    str | float | Money | Option | Options | Ref | date | DateRange | TimeOfDay | TimeRange | Address | None
)


def to_number(value: Any) -> float:
    """Read a number, also from text; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"not a number: {value!r}")
    number = value if isinstance(value, int | float) else float(value)
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"not a number: {value!r}")
    return number


def to_decimal(value: Any) -> Decimal:
    """Read an amount without binary rounding (0.1 stays 0.1); ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"not an amount: {value!r}")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"not an amount: {value!r}") from None
    if not amount.is_finite():
        raise ValueError(f"not an amount: {value!r}")
    return amount


def to_id(value: Any) -> int | str:
    """Read an id: digits become an int, any other text stays; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"not an id: {value!r}")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value


def to_date(value: Any) -> date | None:
    """Read `YYYY-MM-DD`; empty text and zero dates are None; ValueError otherwise."""
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise ValueError(f"not a date: {value!r}")
    text = value.strip()
    if not text or text.startswith("0000-00-00"):
        return None
    return date.fromisoformat(text[:10])


def to_time(value: Any) -> time | None:
    """Read `HH:MM` or `HH:MM:SS`; empty text is None; ValueError otherwise."""
    if value is None or isinstance(value, time):
        return value
    if not isinstance(value, str):
        raise ValueError(f"not a time: {value!r}")
    return time.fromisoformat(value.strip()) if value.strip() else None


def to_datetime(value: Any) -> datetime | None:
    """Read any moment Pipedrive sends, as UTC: RFC 3339, v1's `YYYY-MM-DD HH:MM:SS` (UTC without zone), epoch seconds.

    Empty text and zero dates are None; ValueError otherwise.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise ValueError(f"not a moment: {value!r}")
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, int | float):
        return _from_epoch(value)
    if isinstance(value, str):
        if value.startswith("0000-00-00"):
            return None
        value = datetime.fromisoformat(value.strip())
    if not isinstance(value, datetime):
        raise ValueError(f"not a moment: {value!r}")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _from_epoch(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"not a moment: {seconds!r}") from error


def number(value: Decimal) -> int | float:
    """Write an amount as JSON does numbers."""
    return int(value) if value == value.to_integral_value() else float(value)
