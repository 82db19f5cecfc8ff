"""Values of custom fields from each of the three shapes that Pipedrive gives them, and odd ones kept as they came."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest

from pipeflow.catalog.values import Address, DateRange, Money, Option, Options, Ref, TimeOfDay, TimeRange
from pipeflow.client.definitions import Definitions, FieldDefinition, read_definitions
from pipeflow.client.v1.models import Lead
from pipeflow.client.v2.models import Deal
from pipeflow.customs import Field, custom_value
from pipeflow.errors import ConfigError
from pipeflow.records import read_record

KEY = "ab" * 20
LABELS = {17: "Hot", 13: "Hardware", 14: "Software"}

# type, version 1 (suffix: value), version 2, delivery, and what all of them are.
SHAPES: list[tuple[str, dict[str, Any], Any, Any, Any]] = [
    ("varchar", {"": "x"}, "x", {"type": "varchar", "value": "x"}, "x"),
    ("text", {"": "x\ny"}, "x\ny", {"type": "text", "value": "x\ny"}, "x\ny"),
    ("phone", {"": "123"}, "123", {"type": "phone", "value": "123"}, "123"),
    ("double", {"": "12.5"}, 12.5, {"type": "double", "value": 12.5}, 12.5),
    (
        "monetary",
        {"": 0.1, "_currency": "USD"},
        {"value": 0.1, "currency": "USD"},
        {"type": "monetary", "value": 0.1, "currency": "USD"},
        Money(Decimal("0.1"), "USD"),
    ),
    ("enum", {"": "17"}, 17, {"type": "enum", "id": 17}, Option(17)),
    (
        "set",
        {"": "13,14"},
        [14, 13],
        {"type": "set", "values": [{"id": 13}, {"id": 14}]},
        Options([Option(13), Option(14)]),
    ),
    ("user", {"": {"id": 12, "name": "Ann", "value": 12}}, 12, {"type": "user", "id": 12}, Ref("user", 12)),
    ("org", {"": {"name": "Acme", "value": 1}}, 1, {"type": "org", "id": 1}, Ref("organization", 1)),
    ("people", {"": 178}, 178, {"type": "people", "id": 178}, Ref("person", 178)),
    ("date", {"": "2026-01-01"}, "2026-01-01", {"type": "date", "value": "2026-01-01"}, date(2026, 1, 1)),
    (
        "daterange",
        {"": "2026-01-01", "_until": "2026-02-01"},
        {"value": "2026-01-01", "until": "2026-02-01"},
        {"type": "daterange", "from": "2026-01-01", "until": "2026-02-01"},
        DateRange(date(2026, 1, 1), date(2026, 2, 1)),
    ),
    (
        "time",
        {"": "09:00:00", "_timezone_id": 310},
        {"value": "09:00:00", "timezone_id": 310},
        {"type": "time", "value": "09:00:00", "timezone_id": 310},
        TimeOfDay(time(9), 310),
    ),
    (
        "timerange",
        {"": "09:00:00", "_until": "10:15:00", "_timezone_id": 310},
        {"value": "09:00:00", "until": "10:15:00", "timezone_id": 310},
        {"type": "timerange", "from": "09:00:00", "until": "10:15:00", "timezone_id": 310},
        TimeRange(time(9), time(10, 15), 310),
    ),
    (
        "address",
        {"": "Pikk 12", "_locality": "Tallinn", "_route": None},
        {"value": "Pikk 12", "locality": "Tallinn", "route": None},
        {"type": "address", "value": "Pikk 12", "locality": "Tallinn"},
        Address("Pikk 12", locality="Tallinn"),
    ),
]


def known(type: str, kind: str = "deal") -> Definitions:
    made = Definitions()
    made.put(kind, [FieldDefinition(KEY, "Field", type, LABELS if type in ("enum", "set") else {})])
    return made


def told(model: Any, state: dict[str, Any], definitions: Definitions) -> Any:
    """Read a record as the client would, which knows the company's fields."""
    record = model.model_validate(state)
    record.__dict__["_fields"] = definitions
    return record.custom["Field"]


@pytest.mark.parametrize(("type", "flat", "nested", "delivered", "expected"), SHAPES, ids=[each[0] for each in SHAPES])
def test_the_three_shapes_of_a_value_are_one(
    type: str, flat: dict[str, Any], nested: Any, delivered: Any, expected: Any
) -> None:
    fields = known(type)
    state = {"id": 1, "custom_fields": {KEY: delivered}}
    read = [
        told(Lead, {"id": "x", **{f"{KEY}{suffix}": value for suffix, value in flat.items()}}, fields),
        told(Deal, {"id": 1, "custom_fields": {KEY: nested}}, fields),
        read_record("deal", state, fields).custom["Field"],
        read_record("lead", state, fields).custom[KEY],
    ]
    assert read == [expected] * 4
    if type == "enum":
        assert [value.label for value in read] == ["Hot"] * 4


@pytest.mark.parametrize("type", [each[0] for each in SHAPES])
@pytest.mark.parametrize("empty", [None, "", []])
def test_an_empty_field_is_none_whatever_its_type(type: str, empty: Any) -> None:
    fields = known(type)
    assert told(Deal, {"custom_fields": {KEY: empty}}, fields) is None
    assert told(Lead, {KEY: empty, f"{KEY}_currency": None, f"{KEY}_until": None}, fields) is None
    assert read_record("deal", {"custom_fields": {KEY: empty}}, fields).custom["Field"] is None
    assert read_record("deal", {"custom_fields": {}}, fields).custom["Field"] is None
    assert read_record("deal", {"custom_fields": None}, fields).custom["Field"] is None


@pytest.mark.parametrize("type", [each[0] for each in SHAPES if each[0] not in ("varchar", "text", "phone", "enum")])
@pytest.mark.parametrize("odd", ["strange", {"a": 1}, [{"a": 1}], True, {"value": {"a": 1}}])
def test_a_value_that_does_not_fit_its_type_is_given_and_never_an_error(type: str, odd: Any) -> None:
    assert told(Deal, {"custom_fields": {KEY: odd}}, known(type)) is not None


def test_zero_false_and_blank_are_values() -> None:
    assert custom_value({"type": "double", "value": 0}) == 0
    assert custom_value(0, type="double") == 0
    assert custom_value({"type": "monetary", "value": 0, "currency": "EUR"}) == Money(Decimal(0), "EUR")
    assert custom_value({"type": "varchar", "value": " "}) == " "


def test_what_a_delivery_says_of_its_type_goes_before_what_is_known() -> None:
    record = read_record("deal", {"custom_fields": {KEY: {"type": "double", "value": 5}}}, known("date"))
    assert record.custom[KEY] == 5


def test_composed_values_tell_their_type_where_nothing_is_known() -> None:
    for type, _, nested, delivered, expected in SHAPES:
        assert custom_value(delivered) == expected
        if type in ("monetary", "daterange", "time", "timerange", "address", "set"):
            assert custom_value(nested) == expected


def test_times_are_equal_as_far_as_their_zones_can_be_compared() -> None:
    named, numbered = TimeOfDay(time(9), "Europe/Tallinn"), TimeOfDay(time(9), 310)
    assert (named == numbered, hash(named) == hash(numbered)) == (True, True)
    assert named != TimeOfDay(time(9), "Europe/London")
    assert numbered != TimeOfDay(time(9), 283)
    assert named != TimeOfDay(time(9))
    assert TimeRange(time(9), time(10), 310) == TimeRange(time(9), time(10), "Europe/Tallinn")
    assert TimeRange(time(9), time(10), 310) != TimeRange(time(9), time(11), 310)
    assert named != time(9)


def test_options_come_with_labels_also_where_pipedrive_sends_them() -> None:
    assert str(custom_value({"id": 17, "label": "Hot"}, type="enum")) == "Hot"
    assert custom_value([{"id": 13, "label": "A"}, {"id": 14, "label": "B"}], type="set").labels == ("A", "B")
    assert custom_value(99, type="enum", labels=LABELS) == Option(99)


# -- names -------------------------------------------------------------------------------------------------------------


def test_custom_fields_are_a_mapping_of_what_came() -> None:
    record = read_record(
        "deal", {"custom_fields": {KEY: {"type": "double", "value": 5}, "cd" * 20: None}}, known("double")
    )
    assert dict(record.custom) == {KEY: 5, "cd" * 20: None}
    assert ("Field" in record.custom, KEY in record.custom, "Other" in record.custom) == (True, True, False)
    assert record.custom.get("Other", "nothing") == "nothing"
    assert len(record.custom) == 2


def test_names_that_are_not_known_are_told_apart_from_names_that_do_not_exist() -> None:
    with pytest.raises(KeyError, match="deal has no custom field called 'Feild'; did you mean 'Field'"):
        known("double").key("deal", "Feild")
    with pytest.raises(KeyError, match="pipeline has no custom fields"):
        known("double").key("pipeline", "Field")
    with pytest.raises(ConfigError, match=r"client\.fields\.load\('person'\)"):
        known("double").key("person", "Field")
    assert known("double").key("person", KEY) == KEY


def test_a_typed_field_reads_its_value_without_anything_known() -> None:
    deal = Deal.model_validate({"custom_fields": {KEY: 17, "cd" * 20: None}})
    source, other = Field[Option](KEY, "Source", "enum", {17: "Hot"}), Field[Money]("cd" * 20, "Budget", "monetary")
    found = deal.custom[source]
    assert found is not None
    assert (found, found.label, deal.custom[other]) == (Option(17), "Hot", None)
    record = read_record("deal", {"custom_fields": {KEY: {"type": "enum", "id": 17}}})
    assert str(record.custom[source]) == "Hot"


def test_leads_have_the_fields_of_deals() -> None:
    fields = known("enum")
    assert (fields.key("lead", "Field"), fields.name("lead", KEY), fields.type("lead", KEY)) == (KEY, "Field", "enum")
    assert fields.options("lead", KEY) == LABELS


def test_definitions_hold_custom_fields_alone_and_survive_odd_ones() -> None:
    listed: list[dict[str, Any]] = [
        {"field_code": "title", "field_name": "Title", "field_type": "varchar", "is_custom_field": False},
        {
            "field_code": KEY,
            "field_name": "Mine",
            "field_type": "enum",
            "options": [{"id": 1, "label": "A"}, {"id": "x"}],
        },
        {"field_code": "no_hash", "field_name": "Also mine", "is_custom_field": True, "options": None},
        {"field_code": None, "field_name": "?"},
        {},
    ]
    assert read_definitions(listed) == [
        FieldDefinition(KEY, "Mine", "enum", {1: "A"}),
        FieldDefinition("no_hash", "Also mine", ""),
    ]
