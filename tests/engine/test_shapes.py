"""A listed record and a delivered one of the same state do not differ, whatever the kind and the custom field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeflow.catalog import operation
from pipeflow.engine.shapes import as_delivered, differences, is_deleted, updated_at
from pipeflow.engine.sources import SOURCES
from pipeflow.sandbox.hook_views import hook_data
from tests.engine.watched import watched

KEY = "b" * 40
LISTS = {source.name: source for source in SOURCES if source.name in {one.kind for one in SOURCES}}
DELIVERED = sorted(LISTS.keys() - {"activityType", "file", "phase"})


@pytest.mark.parametrize("kind", DELIVERED)
async def test_lists_and_deliveries_of_one_state_do_not_differ(tmp_path: Path, kind: str) -> None:
    async with watched(tmp_path, "*", deals=12) as house:
        (account,) = await house.accounts.connected()
        client, source = house.accounts.client_for(account), LISTS[kind]
        answer = await client.transport.send(operation(source.operation), {**source.arguments, "limit": 500})
        listed = {str(one["id"]): one for one in answer.items}
        compared = 0
        for record in house.sandbox.company.living(kind):
            delivered = orjson.loads(orjson.dumps(hook_data(house.sandbox.company, kind, record)))
            if str(record["id"]) not in listed:
                continue
            compared += 1
            told = listed[str(record["id"])]
            assert differences(kind, as_delivered(kind, told, delivered), delivered) == {}
            assert differences(kind, delivered, as_delivered(kind, told)) == {}
    assert compared or kind in ("project", "task", "board")


@pytest.mark.parametrize(
    ("delivered", "listed"),
    [
        ({"type": "varchar", "value": "x"}, "x"),
        ({"type": "double", "value": 12.5}, 12.5),
        ({"type": "monetary", "value": 500, "currency": "USD"}, {"value": 500, "currency": "USD"}),
        ({"type": "enum", "id": 17}, 17),
        ({"type": "set", "values": [{"id": 13}, {"id": 14}]}, [14, 13]),
        ({"type": "user", "id": 12}, 12),
        ({"type": "people", "id": 17818}, 17818),
        ({"type": "date", "value": "2026-01-01"}, "2026-01-01"),
        (
            {"type": "daterange", "from": "2026-01-01", "until": "2026-02-01"},
            {"value": "2026-01-01", "until": "2026-02-01"},
        ),
        (
            {"type": "time", "value": "00:45:00", "timezone_id": 310},
            {"value": "00:45:00", "timezone_name": "Europe/London"},
        ),
        (
            {"type": "timerange", "from": "00:00:00", "until": "01:15:00", "timezone_id": 310},
            {"value": "00:00:00", "until": "01:15:00", "timezone_name": "Europe/London"},
        ),
        ({"type": "address", "value": "Riga", "country": "Latvia"}, {"value": "Riga", "country": "Latvia"}),
        (None, None),
    ],
)
def test_custom_field_of_every_type_is_the_same_in_both_forms(delivered: Any, listed: Any) -> None:
    before = {"id": 1, "custom_fields": {KEY: delivered}}
    after = as_delivered("deal", {"id": 1, "custom_fields": {KEY: listed}}, before)
    assert differences("deal", after, before) == {}
    if delivered is not None:
        assert differences("deal", as_delivered("deal", {"id": 1, "custom_fields": {KEY: None}}), before) == {
            "custom_fields": {KEY: delivered}
        }


@pytest.mark.parametrize(
    ("kind", "field", "delivered", "listed"),
    [
        ("organization", "address", "Tartu mnt 1", {"value": "Tartu mnt 1", "country": "Estonia"}),
        ("activity", "due_time", {"timezone_id": None, "value": "10:00"}, "10:00:00"),
        ("activity", "due_time", None, ""),
        ("product", "category", "18", 18),
        ("note", "pinned_to_deal_flag", False, 0),
        ("deal", "visible_to", "3", 3),
        ("stage", "update_time", "2026-11-24T15:31:36Z", "2026-11-24 15:31:36"),
    ],
)
def test_field_that_both_write_in_their_own_way_is_no_change(
    kind: str, field: str, delivered: Any, listed: Any
) -> None:
    assert differences(kind, as_delivered(kind, {"id": 1, field: listed}), {"id": 1, field: delivered}) == {}


def test_flat_custom_fields_of_leads_are_put_together() -> None:
    listed = {"id": "3e9a1b70-9c55-11f0-a1d2-5b7c8e0f4a61", KEY: 500, f"{KEY}_currency": "EUR"}
    assert as_delivered("lead", listed)["custom_fields"] == {KEY: {"type": "monetary", "value": 500, "currency": "EUR"}}


def test_field_that_one_side_leaves_out_is_no_change() -> None:
    before = {"id": 1, "title": "A", "custom_fields": {KEY: {"type": "enum", "id": 1}}, "origin": "API"}
    assert differences("deal", as_delivered("deal", {"id": 1, "title": "B", "acv": 5}, before), before) == {
        "title": "A"
    }


@pytest.mark.parametrize(
    ("kind", "listed", "deleted"),
    [
        ("deal", {"is_deleted": True}, True),
        ("deal", {"is_deleted": False, "status": "won"}, False),
        ("note", {"active_flag": False}, True),
        ("activityType", {"active_flag": 0}, True),
        ("user", {"active_flag": False}, False),
    ],
)
def test_deleted_is_what_the_list_shows_as_deleted(kind: str, listed: dict[str, Any], deleted: bool) -> None:
    assert is_deleted(kind, listed) is deleted


def test_record_that_nobody_changed_was_updated_when_it_was_added() -> None:
    assert updated_at({"update_time": None, "add_time": "2026-11-24T13:18:55Z"}) == 1_795_526_335.0
    assert updated_at({"modified": "2026-11-24 13:18:55"}) == 1_795_526_335.0
    assert updated_at({"update_time": "0000-00-00 00:00:00"}) is None
