"""Records as deliveries tell them: Python values, nothing lost, and no delivery too odd to read."""

from __future__ import annotations

import importlib
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeflow import records
from pipeflow.catalog.values import Address, Money
from pipeflow.records import (
    RECORDS,
    Activity,
    ContactDetail,
    Deal,
    Lead,
    Person,
    Price,
    Product,
    Record,
    User,
    read_record,
)

STRANGE: list[Any] = [
    "",
    "x",
    0,
    -1,
    1.5,
    True,
    [],
    ["x"],
    [{"a": 1}],
    {},
    {"a": 1},
    {"value": None},
    "0000-00-00",
    "9" * 40,
]


def read(kind: str, **state: Any) -> Any:
    return read_record(kind, state)


def test_every_kind_that_deliveries_tell_has_a_record_of_its_own() -> None:
    for kind, model in RECORDS.items():
        record = read_record(kind, {"id": 1})
        assert type(record) is model
        assert model.kind == kind
        assert getattr(records, model.__name__) is model


def test_an_unknown_kind_is_a_record_with_all_that_came() -> None:
    record = read("widget", id=7, color="red", custom_fields=None)
    assert type(record) is Record
    assert (record.id, record.color) == (7, "red")


def test_fields_nobody_named_are_kept_as_they_came() -> None:
    deal = read("deal", id=1, brand_new={"x": [1]}, title=None)
    assert deal.brand_new == {"x": [1]}
    assert deal.title is None
    assert deal.value is None


def test_ids_are_numbers_and_uuids_stay_text() -> None:
    deal = read("deal", id="8", stage_id="2", owner_id=5, label_ids=["24", 25], visible_to="3")
    assert (deal.id, deal.stage_id, deal.owner_id, deal.label_ids, deal.visible_to) == (8, 2, 5, (24, 25), 3)
    lead = read("lead", id="3e9a1b70-9c55-11f0-a1d2-5b7c8e0f4a61", organization_id=2, label_ids=["9d0c-x"])
    assert (lead.id, lead.organization_id, lead.label_ids) == ("3e9a1b70-9c55-11f0-a1d2-5b7c8e0f4a61", 2, ("9d0c-x",))


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-24T13:18:55Z",
        "2026-11-24T13:18:55.000Z",
        "2026-11-24 13:18:55",
        "2026-11-24T15:18:55+02:00",
        1795526335,
    ],
)
def test_moments_are_aware_however_they_are_told(told: Any) -> None:
    assert read("deal", add_time=told).add_time == datetime(2026, 11, 24, 13, 18, 55, tzinfo=UTC)
    assert read("user", last_login=told).last_login.tzinfo is UTC


def test_days_times_and_durations_are_python_values_in_both_forms() -> None:
    plain = read("activity", due_date="2026-11-24", due_time="09:30", duration="01:15")
    nested = read("activity", due_time={"timezone_id": None, "value": "09:30:00"}, duration={"value": "01:15:00"})
    assert (plain.due_date, plain.due_time, plain.duration) == (date(2026, 11, 24), time(9, 30), timedelta(minutes=75))
    assert (nested.due_time, nested.duration) == (plain.due_time, plain.duration)
    empty = read("activity", due_time={"timezone_id": None, "value": ""}, duration=None, due_date="0000-00-00")
    assert (empty.due_time, empty.duration, empty.due_date) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "flag"), [(True, True), (1, True), ("1", True), (False, False), (0, False), ("0", False)]
)
def test_flags_are_bool_however_they_are_told(told: Any, flag: bool) -> None:
    assert read("activity", done=told).done is flag


def test_composed_values_are_objects() -> None:
    lead = read("lead", value={"amount": 0.1, "currency": "EUR"})
    assert lead.value == Money(Decimal("0.1"), "EUR")
    person = read(
        "person",
        emails=[{"label": "work", "value": "ann@acme.test", "primary": True}],
        phones=[{"value": None, "label": "mobile", "primary": 0}],
    )
    assert person.emails == (ContactDetail("ann@acme.test", "work", True),)
    assert person.phones == (ContactDetail(None, "mobile", False),)
    organization = read("organization", address={"value": "Pikk 12", "locality": "Tallinn", "route": None})
    assert organization.address == Address("Pikk 12", locality="Tallinn")
    assert read("organization", address="Pikk 12").address == Address("Pikk 12")
    product = read("product", prices=[{"product_id": 1, "currency": "EUR", "price": 234, "cost": 123, "notes": ""}])
    assert product.prices == (Price(234, "EUR", 123, None, ""),)


@pytest.mark.parametrize("strange", STRANGE, ids=repr)
def test_a_value_of_another_type_is_kept_and_never_an_error(strange: Any) -> None:
    for kind, model in RECORDS.items():
        record = read_record(kind, dict.fromkeys(model.model_fields, strange))
        assert isinstance(record, model)
        assert dict(record.custom) is not None


def test_records_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read("deal", id=1).title = "x"


def test_a_narrower_type_is_taken_where_it_fits_the_kind() -> None:
    class BigDeal(Deal):
        """A deal with a field of the user's own."""

        note: Any = None

    assert type(read_record("deal", {"id": 1}, record_types=(Person, BigDeal))) is BigDeal
    assert type(read_record("person", {"id": 1}, record_types=(BigDeal,))) is Person


def test_the_names_of_the_room_stay_where_they_were() -> None:
    room = importlib.import_module("pipeflow.records")
    for model in (Activity, Deal, Lead, Person, Product, User):
        assert getattr(room, model.__name__) is model
    for name in room.__all__:
        assert getattr(room, name) is not None
