"""Whatever is written to a custom field is read back the same, by the shape of either version."""

from __future__ import annotations

import json
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeflow.catalog.values import ADDRESS_PARTS, Address, DateRange, Money, Option, Options, Ref, TimeOfDay, TimeRange
from pipeflow.client.customwire import flat, meant, nested
from pipeflow.client.definitions import FieldDefinition
from pipeflow.customs import custom_value, gathered

KEY = "ab" * 20
ids = st.integers(1, 10**9)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
days = st.dates()
clocks = st.times().map(lambda value: value.replace(microsecond=0))
zones = st.none() | st.integers(1, 400)
amounts = st.decimals(-(10**9), 10**9, allow_nan=False, places=2)
currencies = st.none() | st.sampled_from(["EUR", "USD", "XTS"])

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "varchar": texts,
    "text": texts,
    "phone": texts,
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15),
    "monetary": st.builds(Money, amounts, currencies),
    "enum": st.builds(Option, ids),
    "set": st.lists(st.builds(Option, ids), min_size=1, unique=True).map(Options),
    "user": st.builds(lambda number: Ref("user", number), ids),
    "org": st.builds(lambda number: Ref("organization", number), ids),
    "people": st.builds(lambda number: Ref("person", number), ids),
    "date": days,
    "daterange": st.builds(DateRange, days, days),
    "time": st.builds(TimeOfDay, clocks, zones),
    "timerange": st.builds(TimeRange, clocks, clocks, zones),
    "address": st.builds(Address, texts, **{part: st.none() | texts for part in ADDRESS_PARTS[1:]}),
}


def sent(value: Any) -> Any:
    """Give what arrives of a JSON body."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("type", VALUES)
@given(data=st.data())
def test_what_is_written_is_read_back_in_both_versions(type: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[type])
    written = meant(value, FieldDefinition(KEY, "Field", type))
    assert custom_value(sent(nested(written)), type=type) == value
    beside = {"id": 1, "title": "x", **sent(flat(KEY, written))}
    assert custom_value(gathered(beside)[KEY], type=type) == value


@pytest.mark.parametrize("type", VALUES)
@given(odd=st.none() | st.booleans() | ids | texts | st.lists(ids) | st.dictionaries(texts, ids))
def test_what_cannot_be_of_a_field_is_refused_with_its_name_and_never_otherwise(type: str, odd: Any) -> None:
    try:
        written = meant(odd, FieldDefinition(KEY, "Field", type))
    except ValueError as refused:
        assert "'Field'" in str(refused)  # noqa: PT017  whether it is refused depends on the value
    else:
        assert sent(nested(written)) == nested(written)
        assert sent(flat(KEY, written)) is not None


def test_plain_python_values_stand_for_composed_ones() -> None:
    def field(type: str) -> FieldDefinition:
        return FieldDefinition(KEY, "Field", type, {1: "Web", 2: "Fair", 3: "Web"})

    assert meant(900, field("monetary")) == Money(Decimal(900), None)
    assert meant((Decimal("9.5"), "EUR"), field("monetary")) == Money(Decimal("9.5"), "EUR")
    assert meant("2", field("enum")) == meant("Fair", field("enum")) == meant(2, field("enum")) == Option(2)
    assert meant("Fair", field("set")) == Options([Option(2)])
    assert meant((date(2026, 1, 1), "2026-02-01"), field("daterange")) == DateRange(date(2026, 1, 1), date(2026, 2, 1))
    assert meant("09:30", field("time")) == TimeOfDay(time(9, 30))
    assert meant(5, field("varchar")) == "5"
    with pytest.raises(ValueError, match="2 options are called so; write an id, 1 or 3"):
        meant("Web", field("enum"))
