"""What a company's typed module, written by `pipeflow fields pull`, is made of. Imports the client's plain parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, TypeAlias

from pipeflow.catalog.values import Address, DateRange, Money, Option, Options, Ref, TimeOfDay, TimeRange
from pipeflow.client.customwire import meant
from pipeflow.client.definitions import FieldDefinition
from pipeflow.client.model import UNSET, Unset
from pipeflow.customs import Field

__all__ = [
    "UNSET",
    "Address",
    "DateRange",
    "Field",
    "Money",
    "Option",
    "Options",
    "Ref",
    "Sequence",
    "TimeOfDay",
    "TimeRange",
    "ToAddress",
    "ToDate",
    "ToDates",
    "ToMoney",
    "ToNumber",
    "ToOption",
    "ToRef",
    "ToTime",
    "ToTimes",
    "Unset",
    "by_key",
    "date",
]

ToNumber: TypeAlias = float | Decimal
ToMoney: TypeAlias = Money | float | Decimal | tuple[float | Decimal, str]
"""An amount; without a currency, Pipedrive decides which."""
ToOption: TypeAlias = Option | int | str
"""A choice, its id or its label."""
ToRef: TypeAlias = Ref | int
ToDate: TypeAlias = date | str
ToDates: TypeAlias = DateRange | tuple[date | str, date | str]
ToTime: TypeAlias = TimeOfDay | time | str
ToTimes: TypeAlias = TimeRange | tuple[time | str, time | str]
ToAddress: TypeAlias = Address | str


def by_key(values: Mapping[Field[Any], Any]) -> dict[str, Any]:
    """Give values to write by key, without those left out; labels become options, so that nothing is looked up.

    Raises ValueError, naming the field, for a value that cannot be of it.
    """
    return {field: meant(value, definition_of(field)) for field, value in values.items() if value is not UNSET}


def definition_of(field: Field[Any]) -> FieldDefinition:
    """Give what a field of the module knows of itself as a definition."""
    return FieldDefinition(str(field), field.name, field.type, field.options)
