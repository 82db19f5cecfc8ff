"""What an operation does to which record is read off the catalog, for every one that writes."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from pipeflow.catalog import operation, operations
from pipeflow.engine.targets import KINDS, Effect, shape_of, target, target_of
from pipeflow.naming import NOUNS


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("v2.DealsApi.addDeal", {"title": "x"}, ("deal", "create", None)),
        ("v2.DealsApi.updateDeal", {"id": 7, "value": 5}, ("deal", "update", "7")),
        ("v2.DealsApi.deleteDeal", {"id": 7}, ("deal", "delete", "7")),
        ("v1.DealsApi.mergeDeals", {"id": 7, "merge_with_id": 8}, ("deal", "merge", "7", ("deal", "8"))),
        ("v1.DealsApi.duplicateDeal", {"id": 7}, ("deal", "create", None)),
        ("v2.DealsApi.addDealFollower", {"id": 7, "user_id": 3}, ("deal", "touch", "7")),
        ("v2.LeadsApi.convertLeadToDeal", {"id": "a-b"}, ("lead", "any", "a-b")),
        ("v1.NotesApi.addNote", {"content": "x", "deal_id": 7}, ("note", "create", None, ("deal", "7"))),
        ("v1.LeadsApi.updateLead", {"id": "a-b", "custom_fields": {"c" * 40: 1}}, ("lead", "update", "a-b")),
    ],
)
def test_operation_says_what_it_does_to_which_record(
    name: str, arguments: dict[str, Any], found: tuple[Any, ...]
) -> None:
    wanted = target_of(operation(name), arguments)
    assert (wanted.kind, wanted.effect, wanted.record_id, *wanted.links) == found
    assert wanted.values == {name: value for name, value in arguments.items() if name != "id"}


def test_product_of_a_deal_is_a_record_of_its_own_that_hangs_on_the_deal() -> None:
    adding = _by_path("POST", "/api/v2/deals/{id}/products")
    made = target_of(adding, {"id": 7, "product_id": 3, "item_price": 1, "quantity": 1})
    assert (made.kind, made.effect, made.record_id) == ("deal_product", "create", None)
    assert {("deal", "7"), ("product", "3")} == set(made.links)
    changing = _by_path("PATCH", "/api/v2/deals/{id}/products/{product_attachment_id}")
    changed = target_of(changing, {"id": 7, "product_attachment_id": 9, "quantity": 2})
    assert (changed.kind, changed.effect, changed.record_id) == ("deal_product", "update", "9")


def _by_path(method: str, path: str) -> Any:
    return next(one for one in operations() if (one.method, one.path) == (method, path) and one.alias_of is None)


def test_every_operation_that_writes_has_a_shape() -> None:
    writing = [one for one in operations() if one.method != "GET"]
    assert len(writing) > 200
    for one in writing:
        shape = shape_of(one.id)
        assert shape.effect in get_args(Effect)
        places = {parameter.wire for parameter in one.parameters if parameter.place == "path"}
        assert shape.record is None or shape.record in places


def test_kinds_are_the_nouns_of_events() -> None:
    assert set(KINDS.values()) <= set(NOUNS)


def test_passwords_are_not_among_the_values() -> None:
    sent = {"subscription_url": "https://x.example", "event_action": "*", "event_object": "*", "name": "x"}
    wanted = target_of(operation("v1.WebhooksApi.addWebhook"), sent | {"http_auth_password": "secret"})
    assert "secret" not in str(wanted.values)


def test_stored_write_has_the_target_it_was_made_with() -> None:
    made = target_of(operation("v1.NotesApi.updateNote"), {"id": 3, "content": "x", "deal_id": 7})
    assert target("v1.NotesApi.updateNote", made.record_id, made.values) == made
