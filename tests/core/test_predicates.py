"""What `when=` asks: which events a predicate is true of, and how predicates compose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipeflow import Event, by_user, changed, record
from pipeflow.client.definitions import Definitions, FieldDefinition
from pipeflow.customs import Field
from pipeflow.errors import ConfigError, ConnectionFailed
from pipeflow.events import build_event, normalise
from pipeflow.testing import make_event

VALUE, SOURCE, SOURCES, TWIN, OWNER = ("a" * 40, "b" * 40, "c" * 40, "d" * 40, "e" * 40)


@pytest.fixture
def fields() -> Definitions:
    known = Definitions()
    known.put(
        "deal",
        [
            FieldDefinition(VALUE, "Contract value", "double"),
            FieldDefinition(SOURCE, "Source", "enum", {1: "Web", 2: "Fair"}),
            FieldDefinition(SOURCES, "Interests", "set", {3: "Hardware", 4: "Software"}),
            FieldDefinition(OWNER, "Advisor", "user"),
            FieldDefinition(TWIN, "Region", "varchar"),
            FieldDefinition("f" * 40, "Region", "varchar"),
            FieldDefinition("0" * 40, "title", "varchar"),
        ],
    )
    return known


def update(fields: Definitions, old: Mapping[str, Any] | None = None, **custom: tuple[Any, Any]) -> Event[Any]:
    """Make an update as a delivery tells it; custom fields as key: (old, new), other fields as `old`."""
    made = make_event(
        "deal.updated",
        {"id": 7, "title": "Acme", "stage_id": 2, "custom_fields": {key: new for key, (_, new) in custom.items()}},
        changes={**(old or {}), "custom_fields": {key: before for key, (before, _) in custom.items()}},
    )
    return build_event(
        normalise(made.raw), id=1, source="delivery", company=1, occurred_at=0.0, raw=made.raw, fields=fields
    )


def enum(number: int) -> dict[str, Any]:
    return {"type": "enum", "id": number}


# -- changed -----------------------------------------------------------------------------------------------------------


def test_changed_is_true_of_that_field_alone() -> None:
    event = make_event("deal.updated", {"id": 1, "stage_id": 5, "title": "x"}, changes={"stage_id": 4})
    assert changed("stage_id")(event)
    assert not changed("title")(event)
    assert not changed("nonsense")(event)


def test_changed_compares_values_and_not_mere_mention() -> None:
    event = make_event("deal.updated", {"id": 1, "stage_id": "5", "probability": None}, changes={"stage_id": 5})
    assert not changed("stage_id")(event)
    assert not changed("probability")(event)


def test_changed_asks_to_and_from_which_value_with_none_as_a_value() -> None:
    event = make_event("deal.updated", {"id": 1, "stage_id": 5, "org_id": None}, changes={"stage_id": 4, "org_id": 9})
    assert changed("stage_id", to=5, from_=4)(event)
    assert not changed("stage_id", to=4)(event)
    assert not changed("stage_id", from_=3)(event)
    assert changed("org_id", to=None)(event)
    assert not changed("org_id", from_=None)(event)


@pytest.mark.parametrize("name", ["deal.added", "deal.deleted"])
def test_nothing_has_changed_where_a_record_came_or_went(name: str) -> None:
    assert not changed("stage_id")(make_event(name, {"id": 1, "stage_id": 5}))


def test_custom_fields_go_by_name_by_key_and_by_typed_field(fields: Definitions) -> None:
    event = update(fields, **{VALUE: ({"type": "double", "value": 1}, {"type": "double", "value": 2})})
    for name in ("Contract value", VALUE, Field[float](VALUE, "Contract value", "double")):
        assert changed(name, to=2)(event, fields)
    assert not changed("Source")(event, fields)
    assert str(changed(Field[float](VALUE, "Contract value", "double"))) == "changed('Contract value')"


def test_choices_and_references_are_compared_as_people_write_them(fields: Definitions) -> None:
    several = {"type": "set", "values": [{"id": 4}, {"id": 3}]}
    event = update(
        fields,
        **{SOURCE: (enum(2), enum(1)), SOURCES: (None, several), OWNER: (None, {"type": "user", "id": 7})},
    )
    assert changed("Source", to="Web", from_=2)(event, fields)
    assert not changed("Source", to="Fair")(event, fields)
    assert changed("Interests", to=["Hardware", "Software"])(event, fields)
    assert changed("Interests", to=[3, "Software"], from_=None)(event, fields)
    assert not changed("Interests", to=["Hardware"])(event, fields)
    assert changed("Advisor", to=7)(event, fields)


def test_a_name_of_two_fields_is_refused_with_both_keys(fields: Definitions) -> None:
    with pytest.raises(ConfigError) as refused:
        changed("Region")(update(fields), fields)
    assert TWIN in str(refused.value)
    assert "f" * 40 in str(refused.value)


def test_a_records_own_field_goes_before_a_custom_field_of_its_name(fields: Definitions) -> None:
    custom = update(fields, **{"0" * 40: ({"type": "varchar", "value": "a"}, {"type": "varchar", "value": "b"})})
    assert not changed("title")(custom, fields)
    assert changed("title")(update(fields, {"title": "Before"}), fields)


def test_a_name_is_never_false_merely_because_names_could_not_be_fetched() -> None:
    unknown = Definitions()
    unknown.fail("deal", ConnectionFailed("Pipedrive could not be reached."))
    with pytest.raises(ConnectionFailed):
        changed("Contract value")(update(unknown), unknown)
    assert changed("stage_id")(update(unknown, {"stage_id": 1}), unknown)


# -- the others --------------------------------------------------------------------------------------------------------


def test_by_user_asks_who_made_the_change() -> None:
    event = make_event("deal.won", {"id": 1}, user_id=17)
    assert by_user(17)(event)
    assert by_user(3, 17)(event)
    assert not by_user(3)(event)


def test_record_asks_the_record_after_the_event() -> None:
    event = make_event("deal.updated", {"id": 1, "value": 1200}, changes={"value": 5})
    assert record(lambda deal: deal.value > 1000)(event)
    assert not record(lambda deal: deal.value < 1000)(event)


def test_what_a_question_raises_is_raised() -> None:
    with pytest.raises(TypeError):
        record(lambda deal: deal.value > 1000)(make_event("deal.updated", {"id": 1}))


def test_predicates_compose_as_sets_do_and_say_what_they_ask() -> None:
    event = make_event("deal.updated", {"id": 1, "stage_id": 5}, changes={"stage_id": 4}, user_id=17)
    yes, no = changed("stage_id"), by_user(3)
    truth = [(yes & yes, True), (yes & no, False), (no | yes, True), (no | no, False), (~no, True), (~yes, False)]
    assert [predicate(event) for predicate, _ in truth] == [expected for _, expected in truth]
    whole = changed("stage_id", to=5) & ~by_user(17) | record(bool)
    assert str(whole) == "((changed('stage_id') & ~by_user(17)) | record(…))"
    assert whole.fields == {"stage_id"}


def test_and_and_or_ask_no_more_than_they_must() -> None:
    def never(deal: Any) -> bool:
        raise AssertionError("asked")

    event = make_event("deal.updated", {"id": 1}, user_id=17)
    assert not (by_user(3) & record(never))(event)
    assert (by_user(17) | record(never))(event)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda: changed(""), "changed\\('stage_id'\\)"),
        (lambda: changed(5), "changed\\('stage_id'\\)"),  # type: ignore[arg-type]
        (lambda: by_user(), "by_user\\(5521004\\)"),
        (lambda: record("deal.value > 5"), "lambda deal"),  # type: ignore[arg-type]
    ],
)
def test_predicates_that_cannot_work_are_refused_at_once_with_an_example(wrong: Any, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        wrong()
