"""What lists show: every filter that the catalog knows, as those need it who look for what they missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import act, data

Test = Callable[[dict[str, Any]], bool]


@pytest.mark.parametrize(
    ("path", "query", "holds"),
    [
        ("deals", {"owner_id": 5521001}, lambda one: one["owner_id"] == 5521001),
        ("deals", {"person_id": 4}, lambda one: one["person_id"] == 4),
        ("deals", {"org_id": 2}, lambda one: one["org_id"] == 2),
        ("deals", {"pipeline_id": 2}, lambda one: one["pipeline_id"] == 2),
        ("deals", {"stage_id": 1}, lambda one: one["stage_id"] == 1),
        ("deals", {"status": "won"}, lambda one: one["status"] == "won"),
        ("deals", {"status": "won,lost"}, lambda one: one["status"] in ("won", "lost")),
        ("deals", {"ids": "1,3,99"}, lambda one: one["id"] in (1, 3)),
        ("persons", {"owner_id": 5521001}, lambda one: one["owner_id"] == 5521001),
        ("persons", {"org_id": 2}, lambda one: one["org_id"] == 2),
        ("persons", {"ids": "2"}, lambda one: one["id"] == 2),
        ("organizations", {"owner_id": 5521001}, lambda one: one["owner_id"] == 5521001),
        ("activities", {"done": "true"}, lambda one: one["done"]),
        ("activities", {"done": "false"}, lambda one: not one["done"]),
        ("activities", {"deal_id": 1}, lambda one: one["deal_id"] == 1),
        ("activities", {"owner_id": 5521001}, lambda one: one["owner_id"] == 5521001),
        ("stages", {"pipeline_id": 2}, lambda one: one["pipeline_id"] == 2),
    ],
)
async def test_filter_keeps_what_holds_and_all_of_it(
    api: httpx.AsyncClient, path: str, query: dict[str, Any], holds: Test
) -> None:
    everything = await data(api, "GET", f"/api/v2/{path}", limit=500)
    found = await data(api, "GET", f"/api/v2/{path}", limit=500, **query)
    assert found
    assert found == [one for one in everything if holds(one)]


async def test_persons_of_a_deal_are_its_contact_and_participants(api: httpx.AsyncClient) -> None:
    await data(api, "POST", "/v1/deals/1/participants", {"person_id": 4})
    contact = (await data(api, "GET", "/api/v2/deals/1"))["person_id"]
    found = await data(api, "GET", "/api/v2/persons", deal_id=1)
    assert {one["id"] for one in found} == {contact, 4}


@pytest.mark.parametrize(
    ("path", "sorts"),
    [
        ("deals", "id update_time add_time"),
        ("persons", "id update_time add_time"),
        ("organizations", "id update_time add_time"),
        ("activities", "id update_time add_time due_date"),
        ("products", "id name add_time update_time"),
        ("stages", "id update_time add_time order_nr"),
        ("pipelines", "id update_time add_time"),
    ],
)
async def test_lists_sort_by_what_they_say_and_page_through_it(api: httpx.AsyncClient, path: str, sorts: str) -> None:
    everything = {one["id"] for one in await data(api, "GET", f"/api/v2/{path}", limit=500)}
    for sort_by in sorts.split():
        query: dict[str, Any] = {"limit": 4, "sort_by": sort_by, "sort_direction": "asc"}
        seen: list[Any] = []
        while True:
            answer = (await api.get(f"/api/v2/{path}", params=query)).json()
            seen += answer["data"]
            if not (cursor := answer["additional_data"]["next_cursor"]):
                break
            query["cursor"] = cursor
        assert {one["id"] for one in seen} == everything
        assert len(seen) == len(everything)
        values = [one[sort_by] for one in seen if one[sort_by] is not None]
        assert values == sorted(values)


@pytest.mark.parametrize("path", ["deals", "persons", "organizations", "activities", "products"])
async def test_walk_by_update_time_finds_what_changed_since(
    api: httpx.AsyncClient, sandbox: Sandbox, path: str
) -> None:
    kind = {"activities": "activity"}.get(path, path[:-1])
    await api.post("/_sandbox/clock", json={"advance": 3600})
    since = sandbox.clock.stamp()[:19] + "Z"
    ids = [one["id"] for one in await data(api, "GET", f"/api/v2/{path}", limit=3)]
    column = next(name for name in ("title", "name", "subject") if name in sandbox.company.tables[kind][ids[0]])
    for record_id in ids:
        await act(api, "change", kind=kind, id=record_id, changes={column: "Changed"})
    made = await act(api, "add", kind=kind, changes={column: "New"})
    found = await data(api, "GET", f"/api/v2/{path}", updated_since=since, sort_by="update_time", limit=500)
    assert {one["id"] for one in found} == {*ids, made["id"]}


async def test_archived_and_deleted_deals_have_lists_of_their_own(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await api.post("/_sandbox/clock", json={"advance": 3600})
    since = sandbox.clock.stamp()[:19] + "Z"
    await data(api, "PATCH", "/api/v2/deals/2", {"is_archived": True})
    await api.delete("/api/v2/deals/3")
    living = await data(api, "GET", "/api/v2/deals", updated_since=since)
    archived = await data(api, "GET", "/api/v2/deals/archived", updated_since=since, sort_by="update_time")
    deleted = await data(api, "GET", "/api/v2/deals", updated_since=since, status="deleted")
    assert [[one["id"] for one in found] for found in (living, archived, deleted)] == [[], [2], [3]]
    sandbox.clock.advance(31 * 86400)
    assert await data(api, "GET", "/api/v2/deals", status="deleted") == []


@pytest.mark.parametrize(("path", "kind", "column"), [("leads", "lead", "title"), ("notes", "note", "content")])
async def test_leads_and_notes_tell_what_changed_since(
    api: httpx.AsyncClient, sandbox: Sandbox, path: str, kind: str, column: str
) -> None:
    await api.post("/_sandbox/clock", json={"advance": 3600})
    since = sandbox.clock.stamp()[:19] + "Z"
    assert not await data(api, "GET", f"/v1/{path}", updated_since=since)
    target = (await data(api, "GET", f"/v1/{path}"))[1]
    await act(api, "change", kind=kind, id=target["id"], changes={column: "Changed"})
    found = await data(api, "GET", f"/v1/{path}", updated_since=since, sort="update_time ASC")
    assert [one["id"] for one in found] == [target["id"]]


async def test_missing_ids_tell_of_deletions(api: httpx.AsyncClient) -> None:
    await api.delete("/api/v2/persons/2")
    await api.delete("/api/v2/activities/1")
    assert [one["id"] for one in await data(api, "GET", "/api/v2/persons", ids="1,2,3")] == [1, 3]
    assert await data(api, "GET", "/api/v2/activities", ids="1") == []


@pytest.mark.parametrize(
    "query",
    [
        "products?updated_until=2026-01-01T00:00:00Z",
        "stages?updated_since=2026-01-01T00:00:00Z",
        "deals?status=odd",
        "deals?limit=0",
        "deals?limit=501",
        "itemSearch?term=annual&limit=101",
        "deals?sort_direction=up",
        f"deals?ids={','.join(map(str, range(1, 102)))}",
        f"deals?custom_fields={','.join(['a' * 40] * 16)}",
    ],
)
async def test_queries_out_of_range_are_refused(api: httpx.AsyncClient, query: str) -> None:
    assert (await api.get(f"/api/v2/{query}")).status_code == 400


async def test_stored_filter_wins_over_ids(api: httpx.AsyncClient) -> None:
    leaf = {"field_code": "status", "operator": "=", "value": "lost"}
    conditions = {"glue": "and", "conditions": [{"glue": "and", "conditions": [leaf]}]}
    stored = await data(api, "POST", "/v1/filters", {"name": "Lost", "type": "deals", "conditions": conditions})
    found = await data(api, "GET", "/api/v2/deals", filter_id=stored["id"], ids="1")
    assert {one["status"] for one in found} == {"lost"}
    assert (await api.get("/api/v2/deals?filter_id=999")).status_code == 404


async def test_wanted_custom_fields_alone_are_shown(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    wanted = list(sandbox.company.custom_fields("deal"))[:2]
    found = await data(api, "GET", "/api/v2/deals", custom_fields=",".join(wanted), limit=1)
    assert list(found[0]["custom_fields"]) == wanted
    every = await data(api, "GET", "/api/v2/deals", limit=1)
    assert len(every[0]["custom_fields"]) == len(sandbox.company.custom_fields("deal"))


async def test_hidden_records_are_in_nobody_elses_list(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    deal = await data(api, "POST", "/api/v2/deals", {"title": "Hidden", "visible_to": 1})
    normal = {"x-api-token": sandbox.company.users[1]["token"]}
    listed = (await api.get("/api/v2/deals?limit=500", headers=normal)).json()["data"]
    assert deal["id"] not in [one["id"] for one in listed]
    assert (await api.get(f"/api/v2/deals/{deal['id']}", headers=normal)).status_code == 404


async def test_old_pages_end_with_the_page_size_of_their_resource(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    for number in range(102):
        sandbox.add("file", file_name=f"{number}.txt", name="x")
    answer = (await api.get("/v1/files?limit=500")).json()
    assert len(answer["data"]) == 100
    assert answer["additional_data"]["pagination"]["next_start"] == 100
