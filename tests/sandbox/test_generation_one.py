"""Generation 1: lenient bodies, offsets, nested related records, and the retired operations that still answer."""

from __future__ import annotations

import httpx

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import data


async def test_retired_deal_operations_answer_in_their_own_shape(api: httpx.AsyncClient) -> None:
    added = await data(
        api, "POST", "/v1/deals", {"title": "A", "value": "100.5", "person_id": "2", "label": 11, "odd": 1}
    )
    assert (added["value"], added["person_id"]["value"], added["label"]) == (100.5, 2, "11")
    assert len(added["add_time"]) == len("2026-11-24 10:00:00")
    changed = await data(api, "PUT", f"/v1/deals/{added['id']}", {"stage_id": 3, "status": "won"})
    assert (changed["stage_id"], changed["status"], changed["active"]) == (3, "won", False)
    assert changed["won_time"]
    assert await data(api, "DELETE", f"/v1/deals/{added['id']}") == {"id": added["id"]}
    assert (await data(api, "GET", f"/v1/deals/{added['id']}"))["status"] == "deleted"


async def test_offset_pages_say_where_the_next_begins(api: httpx.AsyncClient) -> None:
    first = (await api.get("/v1/persons?limit=20")).json()
    assert first["additional_data"]["pagination"] == {
        "start": 0,
        "limit": 20,
        "more_items_in_collection": True,
        "next_start": 20,
    }
    last = (await api.get("/v1/persons?limit=20&start=20")).json()
    assert last["additional_data"]["pagination"]["more_items_in_collection"] is False
    assert first["related_objects"]["organization"]


async def test_empty_list_is_null(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/notes?deal_id=99999")).json()["data"] is None


async def test_leads_page_in_both_forms_and_have_uuids(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/v1/leads?limit=2")).json()
    assert answer["additional_data"]["more_items_in_collection"] is True
    assert answer["additional_data"]["pagination"]["next_start"] == 2
    assert len(answer["data"][0]["id"]) == 36
    assert answer["data"][0]["add_time"].endswith("Z")
    assert "." in answer["data"][0]["add_time"]


async def test_lead_needs_a_title_and_somebody(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/leads", json={"person_id": 1})).status_code == 400
    assert (await api.post("/v1/leads", json={"title": "A"})).status_code == 400
    value = {"amount": 3, "currency": "EUR"}
    lead = await data(api, "POST", "/v1/leads", {"title": "A", "person_id": 1, "value": value})
    changed = await data(api, "PATCH", f"/v1/leads/{lead['id']}", {"is_archived": True})
    assert changed["value"] == value
    assert lead["id"] in [one["id"] for one in await data(api, "GET", "/v1/leads/archived")]


async def test_notes_are_deleted_softly_and_answer_true(api: httpx.AsyncClient) -> None:
    note = await data(api, "POST", "/v1/notes", {"content": "<b>hi</b>", "deal_id": 1, "pinned_to_deal_flag": 1})
    assert (note["pinned_to_deal_flag"], note["deal"]["title"] != "") == (True, True)
    assert await data(api, "DELETE", f"/v1/notes/{note['id']}") is True
    assert (await data(api, "GET", f"/v1/notes/{note['id']}"))["active_flag"] is False
    assert (await api.post("/v1/notes", json={"content": "x"})).status_code == 400


async def test_merging_keeps_the_one_in_the_body(api: httpx.AsyncClient) -> None:
    activity = await data(api, "POST", "/api/v2/activities", {"subject": "x", "deal_id": 1})
    merged = await data(api, "PUT", "/v1/deals/1/merge", {"merge_with_id": 2})
    assert (merged["id"], merged["merge_what_id"]) == (2, 1)
    assert (await data(api, "GET", "/api/v2/deals/1"))["is_deleted"] is True
    assert (await data(api, "GET", f"/api/v2/activities/{activity['id']}"))["deal_id"] == 2


async def test_changelog_tells_who_changed_what(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await data(api, "PATCH", "/api/v2/deals/1", {"title": "New"})
    await data(api, "PATCH", "/api/v2/deals/1", {"value": 5})
    first = (await api.get("/v1/deals/1/changelog?limit=1")).json()
    assert (first["data"][0]["field_key"], first["data"][0]["new_value"]) == ("value", "5")
    assert first["data"][0]["actor_user_id"] == sandbox.company.admin["id"]
    cursor = first["additional_data"]["next_cursor"]
    assert (await data(api, "GET", "/v1/deals/1/changelog", cursor=cursor))[0]["field_key"] == "title"


async def test_files_come_back_as_they_were_sent(api: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 20
    sent = await api.post("/v1/files", files={"file": ("über.bin", content)}, data={"deal_id": "1"})
    file = sent.json()["data"]
    assert (file["file_size"], file["deal_id"], file["file_name"]) == (len(content), 1, "über.bin")
    assert (await api.get(f"/v1/files/{file['id']}/download")).content == content
    renamed = await api.put(f"/v1/files/{file['id']}", data={"name": "plan"})
    assert renamed.json()["data"]["name"] == "plan"
    empty = (await api.post("/v1/files", files={"file": ("a.txt", b"")})).json()["data"]
    assert (await api.get(f"/v1/files/{empty['id']}/download")).status_code == 204


async def test_recents_go_back_a_month_at_most(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.clock.advance(60 * 86400)
    await data(api, "PATCH", "/api/v2/deals/1", {"title": "New"})
    found = (await api.get("/v1/recents?since_timestamp=2020-01-01 00:00:00&items=deal")).json()
    assert [(row["item"], row["id"]) for row in found["data"]] == [("deal", 1)]
    assert (await api.get("/v1/recents")).status_code == 400


async def test_users_activity_types_and_currencies_come_whole(api: httpx.AsyncClient) -> None:
    assert len(await data(api, "GET", "/v1/users")) == 4
    assert [one["key_string"] for one in await data(api, "GET", "/v1/activityTypes")][:2] == ["call", "meeting"]
    assert "CLF" in [one["code"] for one in await data(api, "GET", "/v1/currencies")]


async def test_stored_filter_overrides_the_other_filters(api: httpx.AsyncClient) -> None:
    conditions = {
        "glue": "and",
        "conditions": [{"glue": "and", "conditions": [{"field_code": "status", "operator": "=", "value": "won"}]}],
    }
    stored = await data(api, "POST", "/v1/filters", {"name": "Won", "type": "deals", "conditions": conditions})
    found = await data(api, "GET", "/api/v2/deals", filter_id=stored["id"], owner_id=1)
    assert {deal["status"] for deal in found} == {"won"}


async def test_projects_and_tasks_are_the_same_in_both_generations(api: httpx.AsyncClient) -> None:
    body = {"title": "Rollout", "board_id": 1, "phase_id": 1, "org_id": 2, "labels": [3]}
    project = await data(api, "POST", "/v1/projects", body)
    assert (project["org_id"], project["person_id"], project["labels"]) == (2, None, [3])
    new = await data(api, "GET", f"/api/v2/projects/{project['id']}")
    assert (new["org_ids"], new["label_ids"]) == ([2], [3])
    task = await data(api, "POST", "/v1/tasks", {"title": "Call", "project_id": project["id"], "done": 1})
    assert (task["done"], task["marked_as_done_time"][:2]) == (1, "20")
    assert (await data(api, "GET", f"/api/v2/tasks/{task['id']}"))["is_done"] is True
    assert [one["id"] for one in await data(api, "GET", f"/v1/projects/{project['id']}/tasks")] == [task["id"]]
    archived = await data(api, "POST", f"/v1/projects/{project['id']}/archive")
    assert archived["archive_time"]
    assert await data(api, "GET", "/v1/projects") == []
    assert len(await data(api, "GET", "/v1/projects", include_archived="true")) == 1
    assert (await api.post("/v1/tasks", json={"project_id": project["id"]})).status_code == 400


async def test_products_on_deals_are_the_same_in_both_generations(api: httpx.AsyncClient) -> None:
    body = {"product_id": 1, "item_price": 10, "quantity": 3, "enabled_flag": 0}
    row = await data(api, "POST", "/v1/deals/1/products", body)
    assert (row["sum"], row["enabled_flag"], row["product_attachment_id"]) == (30, False, row["id"])
    new = await data(api, "GET", "/api/v2/deals/1/products")
    assert [(one["id"], one["is_enabled"]) for one in new] == [(row["id"], False)]
    await data(api, "PUT", f"/v1/deals/1/products/{row['id']}", {"quantity": 2})
    listed = await data(api, "GET", "/v1/deals/1/products", include_product_data=1)
    assert (listed[0]["sum"], listed[0]["product"]["id"]) == (20, 1)
    assert (await api.delete(f"/v1/deals/2/products/{row['id']}")).status_code == 404
    await data(api, "DELETE", f"/v1/deals/1/products/{row['id']}")
    assert await data(api, "GET", "/v1/deals/1/products") is None
