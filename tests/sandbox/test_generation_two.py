"""Generation 2: strict bodies, cursors, filters, derived times, soft deletion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import data, opened


async def pages(api: httpx.AsyncClient, path: str, **query: Any) -> list[list[Any]]:
    found = []
    while True:
        answer = (await api.get(path, params=query)).json()
        found.append(answer["data"])
        if answer["additional_data"]["next_cursor"] is None:
            return found
        query["cursor"] = answer["additional_data"]["next_cursor"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"title": "A", "colour": "red"}, "colour"),
        ({"title": "A", "value": "12"}, "value"),
        ({"title": "A", "person_id": "1"}, "person_id"),
        ({"title": "A", "is_archived": 1}, "is_archived"),
        ({"title": "A", "label_ids": ["x"]}, "label_ids"),
        ({"title": "A", "expected_close_date": "tomorrow"}, "expected_close_date"),
        ({"value": 12}, "title"),
        ({"title": "A", "is_deleted": True}, "is_deleted"),
        ({"title": "A", "lost_reason": "no"}, "lost_reason"),
        ({"title": "A", "custom_fields": {"0" * 40: "x"}}, "0" * 40),
    ],
)
async def test_unknown_keys_and_wrong_types_are_refused_by_name(
    api: httpx.AsyncClient, body: dict[str, Any], names: str
) -> None:
    answer = await api.post("/api/v2/deals", json=body)
    assert answer.status_code == 400
    refusal = answer.json()
    assert set(refusal) == {"success", "error", "code"}
    assert refusal["code"] == "ERR_SCHEMA_VALIDATION_FAILED"
    assert refusal["error"].startswith("Validation failed: ")
    assert names in refusal["error"]


@pytest.mark.parametrize(
    "query", ["type=call", "owner_id=x", "limit=501", "updated_since=2026-01-01T00:00:00.500Z", "sort_by=name"]
)
async def test_queries_that_the_operation_does_not_know_are_refused(api: httpx.AsyncClient, query: str) -> None:
    assert (await api.get(f"/api/v2/activities?{query}")).status_code == 400


async def test_cursor_walks_every_deal_once_in_any_order() -> None:
    async with opened(Sandbox(seed=1, deals=57)) as api:
        for sort_by in ("id", "update_time", "add_time"):
            for direction in ("asc", "desc"):
                found = await pages(api, "/api/v2/deals", limit=20, sort_by=sort_by, sort_direction=direction)
                ids = [deal["id"] for page in found for deal in page]
                assert len(ids) == len(set(ids)) == 55
                assert [len(page) for page in found] == [20, 20, 15]


async def test_cursor_of_another_order_or_of_nobody_is_refused(api: httpx.AsyncClient) -> None:
    cursor = (await api.get("/api/v2/deals?limit=2")).json()["additional_data"]["next_cursor"]
    assert (await api.get(f"/api/v2/deals?sort_by=add_time&cursor={cursor}")).status_code == 400
    assert (await api.get("/api/v2/deals?cursor=nonsense")).status_code == 400


async def test_new_deal_is_put_where_it_belongs(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    deal = await data(api, "POST", "/api/v2/deals", {"title": "Espresso bar", "stage_id": 7})
    assert (deal["pipeline_id"], deal["status"], deal["owner_id"]) == (2, "open", sandbox.company.admin["id"])
    assert deal["update_time"] is None
    assert deal["add_time"].endswith("Z")
    assert len(deal["add_time"]) == 20
    assert "." not in deal["add_time"]


async def test_stage_and_status_leave_their_times(api: httpx.AsyncClient) -> None:
    deal = await data(api, "POST", "/api/v2/deals", {"title": "A", "stage_id": 1})
    path = f"/api/v2/deals/{deal['id']}"
    moved = await data(api, "PATCH", path, {"stage_id": 2})
    assert moved["stage_change_time"] == moved["update_time"]
    won = await data(api, "PATCH", path, {"status": "won"})
    assert won["won_time"] == won["close_time"]
    assert won["local_won_date"]
    reopened = await data(api, "PATCH", path, {"status": "open"})
    assert (reopened["won_time"], reopened["close_time"]) == (None, None)
    lost = await data(api, "PATCH", path, {"status": "lost", "lost_reason": "Price"})
    assert (lost["lost_reason"], lost["won_time"]) == ("Price", None)
    assert lost["lost_time"]
    first = await data(api, "GET", path, include_fields="first_won_time")
    assert first["first_won_time"] == won["won_time"]


async def test_deleted_deals_stay_readable_and_are_listed_on_demand(api: httpx.AsyncClient) -> None:
    assert (await api.delete("/api/v2/deals/1")).json() == {"success": True, "data": {"id": 1}}
    again = await api.delete("/api/v2/deals/1")
    assert (again.status_code, again.json()) == (410, {"success": True, "data": {"id": 1}})
    assert (await data(api, "GET", "/api/v2/deals/1"))["is_deleted"] is True
    assert 1 not in [deal["id"] for deal in await data(api, "GET", "/api/v2/deals")]
    assert 1 in [deal["id"] for deal in await data(api, "GET", "/api/v2/deals", status="deleted")]
    assert (await api.patch("/api/v2/deals/1", json={"title": "B"})).status_code == 404


async def test_deleted_records_are_gone_after_thirty_days(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await api.delete("/api/v2/persons/1")
    sandbox.clock.advance(31 * 86400)
    assert (await api.get("/api/v2/persons/1")).status_code == 404


async def test_archived_deals_leave_the_list_and_cannot_be_changed(api: httpx.AsyncClient) -> None:
    await data(api, "PATCH", "/api/v2/deals/1", {"is_archived": True})
    assert 1 not in [deal["id"] for deal in await data(api, "GET", "/api/v2/deals")]
    assert 1 in [deal["id"] for deal in await data(api, "GET", "/api/v2/deals/archived")]
    assert (await api.patch("/api/v2/deals/1", json={"title": "B"})).status_code == 400
    back = await data(api, "PATCH", "/api/v2/deals/1", {"is_archived": False})
    assert back["archive_time"] is None


async def test_updated_since_is_inclusive_and_until_is_not(api: httpx.AsyncClient) -> None:
    changed = await data(api, "PATCH", "/api/v2/persons/3", {"name": "Ann Lee"})
    moment = changed["update_time"]
    since = await data(api, "GET", "/api/v2/persons", updated_since=moment)
    until = await data(api, "GET", "/api/v2/persons", updated_until=moment)
    assert 3 in [person["id"] for person in since]
    assert 3 not in [person["id"] for person in until]
    assert (changed["first_name"], changed["last_name"]) == ("Ann", "Lee")


async def test_mail_addresses_are_replaced_and_one_is_primary(api: httpx.AsyncClient) -> None:
    person = await data(api, "PATCH", "/api/v2/persons/1", {"emails": [{"value": "a@b.test"}, {"value": "c@d.test"}]})
    assert person["emails"] == [
        {"label": "work", "value": "a@b.test", "primary": True},
        {"label": "work", "value": "c@d.test", "primary": False},
    ]


async def test_contact_sync_fields_need_the_feature(api: httpx.AsyncClient) -> None:
    assert (await api.patch("/api/v2/persons/1", json={"job_title": "CEO"})).status_code == 403


async def test_activity_keeps_person_and_participants_the_same(api: httpx.AsyncClient) -> None:
    body = {"subject": "Call", "type": "call", "due_time": "09:30", "participants": [{"person_id": 2, "primary": True}]}
    activity = await data(api, "POST", "/api/v2/activities", body)
    assert (activity["person_id"], activity["due_time"]) == (2, "09:30:00")
    done = await data(api, "PATCH", f"/api/v2/activities/{activity['id']}", {"done": True})
    assert done["marked_as_done_time"] == done["update_time"]
    assert (await api.post("/api/v2/activities", json={"subject": "x", "type": "seance"})).status_code == 400


async def test_links_to_nothing_are_refused(api: httpx.AsyncClient) -> None:
    assert (await api.post("/api/v2/deals", json={"title": "A", "person_id": 99999})).status_code == 400


async def test_put_is_no_verb_of_generation_two(api: httpx.AsyncClient) -> None:
    assert (await api.put("/api/v2/deals/1", json={})).status_code == 405


async def test_counters_come_when_asked_for(api: httpx.AsyncClient) -> None:
    await data(api, "POST", "/api/v2/activities", {"subject": "x", "deal_id": 2})
    plain = await data(api, "GET", "/api/v2/deals/2")
    asked = await data(api, "GET", "/api/v2/deals/2", include_fields="activities_count,next_activity_id")
    assert "activities_count" not in plain
    assert asked["activities_count"] >= 1
    assert asked["next_activity_id"]


async def test_search_finds_names_in_every_script(api: httpx.AsyncClient) -> None:
    found = await data(api, "GET", "/api/v2/persons/search", term="коваленко")
    assert found["items"][0]["item"]["name"] == "Ирина Коваленко"
    assert isinstance(found["items"][0]["item"]["emails"][0], str)
    assert (await api.get("/api/v2/persons/search?term=x")).status_code == 400


async def test_lead_becomes_a_deal_after_a_while(api: httpx.AsyncClient) -> None:
    lead = (await data(api, "GET", "/v1/leads"))[0]
    begun = await data(api, "POST", f"/api/v2/leads/{lead['id']}/convert/deal", {"stage_id": 2})
    path = f"/api/v2/leads/{lead['id']}/convert/status/{begun['conversion_id']}"
    assert (await data(api, "GET", path))["status"] == "running"
    finished = await data(api, "GET", path)
    deal = await data(api, "GET", f"/api/v2/deals/{finished['deal_id']}")
    assert (deal["title"], deal["source_lead_id"], deal["stage_id"]) == (lead["title"], lead["id"], 2)
    assert (await api.get(f"/v1/leads/{lead['id']}")).status_code == 404


async def test_products_on_deals_are_summed_up(api: httpx.AsyncClient) -> None:
    body = {"product_id": 1, "item_price": 100, "quantity": 3, "discount": 10}
    row = await data(api, "POST", "/api/v2/deals/1/products", body)
    assert row["sum"] == 270
    assert [one["id"] for one in await data(api, "GET", "/api/v2/deals/products", deal_ids="1,2")] == [row["id"]]
    assert await data(api, "DELETE", f"/api/v2/deals/1/products/{row['id']}") == {"id": row["id"]}


async def test_same_seed_makes_the_same_company() -> None:
    start = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    one, two, other = (Sandbox(seed=seed, start=start, scale=0) for seed in (5, 5, 6))
    assert one.company.tables == two.company.tables
    assert set(one.company.custom_fields("deal")) == set(two.company.custom_fields("deal"))
    assert set(one.company.custom_fields("deal")) != set(other.company.custom_fields("deal"))


async def test_person_is_named_whole_or_by_first_and_last_name(api: httpx.AsyncClient) -> None:
    ann = (await api.post("/api/v2/persons", json={"first_name": "Ann", "last_name": "Lee"})).json()["data"]
    assert ann["name"] == "Ann Lee"
    assert (await api.post("/api/v2/persons", json={"first_name": "Ann"})).status_code == 400
