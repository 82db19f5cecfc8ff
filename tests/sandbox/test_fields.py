"""Custom fields: definitions of both generations and the three shapes of a value."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import Receiver, data, opened, subscribe

ADDRESS = {"value": "Pikk 12, Tallinn", "locality": "Tallinn"}
# field type: written by generation 2, read by generation 1 (suffix -> value), told by a webhook
SHAPES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "varchar": ("x", {"": "x"}, {"type": "varchar", "value": "x"}),
    "varchar_auto": ("x", {"": "x"}, {"type": "varchar_auto", "value": "x"}),
    "text": ("x", {"": "x"}, {"type": "text", "value": "x"}),
    "phone": ("123", {"": "123"}, {"type": "phone", "value": "123"}),
    "double": (12.5, {"": 12.5}, {"type": "double", "value": 12.5}),
    "monetary": (
        {"value": 500, "currency": "USD"},
        {"": 500, "_currency": "USD"},
        {"type": "monetary", "value": 500, "currency": "USD"},
    ),
    "user": (5521001, {"": 5521001}, {"type": "user", "id": 5521001}),
    "org": (1, {"": 1}, {"type": "org", "id": 1}),
    "people": (2, {"": 2}, {"type": "people", "id": 2}),
    "date": ("2026-01-01", {"": "2026-01-01"}, {"type": "date", "value": "2026-01-01"}),
    "daterange": (
        {"value": "2026-01-01", "until": "2026-02-01"},
        {"": "2026-01-01", "_until": "2026-02-01"},
        {"type": "daterange", "from": "2026-01-01", "until": "2026-02-01"},
    ),
    "time": (
        {"value": "09:00:00", "timezone_name": "Europe/Tallinn"},
        {"": "09:00:00", "_timezone_id": 310},
        {"type": "time", "value": "09:00:00", "timezone_id": 310},
    ),
    "timerange": (
        {"value": "09:00:00", "until": "10:00:00", "timezone_name": "Europe/Tallinn"},
        {"": "09:00:00", "_until": "10:00:00", "_timezone_id": 310},
        {"type": "timerange", "from": "09:00:00", "until": "10:00:00", "timezone_id": 310},
    ),
}


async def keys(api: httpx.AsyncClient, kind: str = "deal") -> dict[str, dict[str, Any]]:
    """Give the first custom field of each type."""
    fields = await data(api, "GET", f"/api/v2/{kind}Fields", limit=500)
    found: dict[str, dict[str, Any]] = {}
    for field in fields:
        if field["is_custom_field"]:
            found.setdefault(field["field_type"], field)
    return found


@pytest.mark.parametrize("field_type", SHAPES)
async def test_value_has_its_shape_in_each_place(api: httpx.AsyncClient, receiver: Receiver, field_type: str) -> None:
    written, flat, told = SHAPES[field_type]
    key = (await keys(api))[field_type]["field_code"]
    await subscribe(api, receiver)
    deal = await data(api, "POST", "/api/v2/deals", {"title": "A", "custom_fields": {key: written}})
    assert deal["custom_fields"][key] == written
    old = await data(api, "GET", f"/v1/deals/{deal['id']}")
    assert {suffix: old[key + suffix] for suffix in flat} == flat
    assert (await receiver.until(1))[0]["data"]["custom_fields"][key] == told


async def test_options_are_texts_in_one_generation_and_numbers_in_the_other(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    fields = await keys(api)
    one, many = fields["enum"], fields["set"]
    ids = [option["id"] for option in many["options"]][:2]
    chosen = one["options"][0]
    await subscribe(api, receiver)
    body = {one["field_code"]: chosen["id"], many["field_code"]: ids}
    deal = await data(api, "POST", "/api/v2/deals", {"title": "A", "custom_fields": body})
    old = await data(api, "GET", f"/v1/deals/{deal['id']}")
    assert (old[one["field_code"]], old[many["field_code"]]) == (str(chosen["id"]), ",".join(map(str, ids)))
    labelled = await data(api, "GET", f"/api/v2/deals/{deal['id']}", include_option_labels="true")
    assert labelled["custom_fields"][one["field_code"]] == {"id": chosen["id"], "label": chosen["label"]}
    told = (await receiver.until(1))[0]["data"]["custom_fields"]
    assert told[one["field_code"]] == {"type": "enum", "id": chosen["id"]}
    assert told[many["field_code"]] == {"type": "set", "values": [{"id": number} for number in ids]}


async def test_address_drops_what_is_left_out(api: httpx.AsyncClient) -> None:
    key = (await keys(api))["address"]["field_code"]
    deal = await data(api, "POST", "/api/v2/deals", {"title": "A", "custom_fields": {key: ADDRESS}})
    assert deal["custom_fields"][key]["locality"] == "Tallinn"
    changed = {"custom_fields": {key: {"value": "Elsewhere"}}}
    deal = await data(api, "PATCH", f"/api/v2/deals/{deal['id']}", changed)
    assert (deal["custom_fields"][key]["value"], deal["custom_fields"][key]["locality"]) == ("Elsewhere", None)
    assert (await data(api, "GET", f"/v1/deals/{deal['id']}"))[f"{key}_locality"] is None


async def test_change_tells_only_the_changed_hash(api: httpx.AsyncClient, receiver: Receiver) -> None:
    fields = await keys(api)
    text, number = fields["text"]["field_code"], fields["double"]["field_code"]
    deal = await data(api, "POST", "/api/v2/deals", {"title": "A", "custom_fields": {text: "x"}})
    await subscribe(api, receiver)
    changed = await data(api, "PATCH", f"/api/v2/deals/{deal['id']}", {"custom_fields": {number: 3}})
    assert changed["custom_fields"][text] == "x"
    assert (await receiver.until(1))[0]["previous"] == {"custom_fields": {number: None}}


async def test_empty_set_is_refused_and_null_clears(api: httpx.AsyncClient) -> None:
    key = (await keys(api))["set"]["field_code"]
    assert (await api.patch("/api/v2/deals/1", json={"custom_fields": {key: []}})).status_code == 400
    cleared = await data(api, "PATCH", "/api/v2/deals/1", {"custom_fields": {key: None}})
    assert cleared["custom_fields"][key] is None


async def test_generation_one_writes_suffixed_parts(api: httpx.AsyncClient) -> None:
    key = (await keys(api))["monetary"]["field_code"]
    await data(api, "PUT", "/v1/deals/1", {key: "70", f"{key}_currency": "USD"})
    await data(api, "PUT", "/v1/deals/1", {f"{key}_currency": "GBP"})
    assert (await data(api, "GET", "/api/v2/deals/1"))["custom_fields"][key] == {"value": 70, "currency": "GBP"}


async def test_leads_share_the_deals_custom_fields(api: httpx.AsyncClient) -> None:
    key = (await keys(api))["text"]["field_code"]
    lead = await data(api, "POST", "/v1/leads", {"title": "A", "person_id": 1, key: "x"})
    assert lead[key] == "x"
    assert key in [field["key"] for field in await data(api, "GET", "/v1/leadFields", limit=500)]


async def test_two_fields_share_a_name_and_keys_are_forty_hex(api: httpx.AsyncClient) -> None:
    fields = [one for one in await data(api, "GET", "/v1/dealFields", limit=500) if one["edit_flag"]]
    assert [one["name"] for one in fields].count("Region") == 2
    assert all(len(one["key"]) == 40 and int(one["key"], 16) for one in fields)
    assert len({one["field_type"] for one in fields}) == 16
    assert any(one.get("options_deleted") for one in fields)


async def test_field_is_made_changed_and_deleted_with_its_values(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    body = {"field_name": "Tier", "field_type": "enum", "options": [{"label": "Gold"}]}
    field = await data(api, "POST", "/api/v2/dealFields", body)
    path = f"/api/v2/dealFields/{field['field_code']}"
    added = await data(api, "POST", f"{path}/options", [{"label": "Silver"}])
    await data(api, "PATCH", f"{path}/options", [{"id": added[0]["id"], "label": "Bronze"}])
    labels = [one["label"] for one in (await data(api, "GET", path))["options"]]
    assert labels == ["Gold", "Bronze"]
    await data(api, "PATCH", "/api/v2/deals/1", {"custom_fields": {field["field_code"]: added[0]["id"]}})
    await data(api, "DELETE", path)
    assert field["field_code"] not in (await data(api, "GET", "/api/v2/deals/1"))["custom_fields"]
    assert (await api.patch("/api/v2/deals/1", json={"custom_fields": {field["field_code"]: 1}})).status_code == 400
    assert (await receiver.until(1))[0]["meta"]["entity"] == "dealField"


async def test_more_than_five_hundred_fields_page_by_cursor() -> None:
    async with opened(Sandbox(seed=1, extra_fields=600)) as api:
        first = (await api.get("/api/v2/dealFields?limit=500")).json()
        assert len(first["data"]) == 500
        rest = await data(api, "GET", "/api/v2/dealFields", limit=500, cursor=first["additional_data"]["next_cursor"])
    assert len({one["field_code"] for one in first["data"] + rest}) == 500 + len(rest) > 600
