"""What deliveries say: both payload versions, every entity, as recorded deliveries have them."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import Receiver, act, data, subscribe

CUSTOM = "custom_fields"
TIMES = "add_time update_time"
# The names of version 2.0's `data`, entity by entity.
ENTITIES: dict[str, str] = {
    "deal": f"""id title value currency status stage_id pipeline_id owner_id creator_user_id person_id org_id label_ids
        probability visible_to expected_close_date {TIMES} stage_change_time close_time won_time first_won_time
        lost_time lost_reason origin origin_id channel channel_id is_archived archive_time {CUSTOM}""",
    "person": f"id name first_name last_name org_id owner_id emails phones label label_ids visible_to {TIMES} {CUSTOM}",
    "organization": f"""id name owner_id address country_code label label_ids picture_id website linkedin industry
        annual_revenue employee_count visible_to {TIMES} {CUSTOM}""",
    "activity": f"""id subject type done active_flag busy_flag owner_id deal_id person_id org_id lead_id due_date
        due_time duration location public_description update_user_id {TIMES} {CUSTOM}""",
    "lead": f"""id title value owner_id creator_id person_id organization_id label_ids expected_close_date is_archived
        was_seen next_activity_id source_name origin origin_id channel channel_id {TIMES} {CUSTOM}""",
    "product": f"id name code description unit tax category owner_id selectable visible_to prices {TIMES} {CUSTOM}",
    "note": f"""id user_id deal_id person_id org_id lead_id project_id content active_flag {TIMES} pinned_to_deal_flag
        pinned_to_person_flag pinned_to_organization_flag""",
    "pipeline": f"id name url_title order_nr active_flag deal_probability {TIMES}",
    "stage": f"id name pipeline_id order_nr active_flag deal_probability rotten_flag rotten_days {TIMES}",
    "user": """id name email phone default_currency locale lang active_flag last_login timezone_name icon_url created
        modified access""",
    "project": f"""id title description status board_id phase_id owner_id start_date end_date deal_ids person_ids
        org_ids label_ids health_status {TIMES} status_change_time archive_time {CUSTOM}""",
    "task": f"""id title creator_id description project_id is_done is_milestone due_date start_date parent_task_id
        assignee_ids priority {TIMES} marked_as_done_time""",
    "board": f"id name order_nr {TIMES}",
    "phase": f"id name board_id order_nr {TIMES}",
    "deal_product": f"""id deal_id product_id product_variation_id name item_price quantity sum tax tax_method discount
        discount_type currency comments is_enabled order_nr billing_frequency billing_frequency_cycles
        billing_start_date {TIMES}""",
    "deal_installment": f"id deal_id amount billing_date description {TIMES}",
}
FRESH: dict[str, dict[str, Any]] = {
    "deal": {"title": "A"},
    "person": {"name": "Ann Lee", "emails": [{"value": "ann@acme.test"}]},
    "organization": {"name": "Acme"},
    "activity": {"subject": "Call", "type": "call", "due_date": "2026-11-24", "deal_id": 1},
    "lead": {"title": "A", "person_id": 1},
    "product": {"name": "Oranges", "prices": [{"currency": "EUR", "price": 2}]},
    "note": {"content": "x", "deal_id": 1},
    "pipeline": {"name": "Q"},
    "stage": {"name": "S", "pipeline_id": 1},
    "user": {"name": "Uma", "email": "u@x.test"},
    "project": {"title": "P", "board_id": 1, "phase_id": 1},
    "task": {"title": "T"},
    "board": {"name": "B"},
    "phase": {"name": "P", "board_id": 1},
    "deal_product": {"deal_id": 1, "product_id": 1, "item_price": 5},
    "deal_installment": {"deal_id": 1, "amount": 5},
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize("kind", ENTITIES)
async def test_created_changed_and_deleted_records_have_exactly_their_names(
    api: httpx.AsyncClient, receiver: Receiver, kind: str
) -> None:
    await subscribe(api, receiver)
    record = await act(api, "add", kind=kind, changes=FRESH[kind])
    column = next(name for name in ("title", "name", "subject", "content", "amount", "comments") if name in record)
    await act(api, "change", kind=kind, id=record["id"], changes={column: 7 if column == "amount" else "Other"})
    await act(api, "delete", kind=kind, id=record["id"])
    created, changed, deleted = (await receiver.until(3))[:3]
    names = set(ENTITIES[kind].split())
    assert [one["meta"]["entity"] for one in (created, changed, deleted)] == [kind] * 3
    assert (set(created["data"]), created["previous"]) == (names, None)
    assert set(changed["data"]) == names
    assert column in changed["previous"]
    if kind == "user":
        assert (deleted["meta"]["action"], deleted["previous"]) == ("change", {"active_flag": True})
        return
    assert (deleted["meta"]["action"], deleted["data"], set(deleted["previous"])) == ("delete", None, names)


async def test_every_entity_of_the_list_is_here() -> None:
    from pipeflow.sandbox.webhooks import OBJECTS_V2

    assert set(ENTITIES) == {one for one in OBJECTS_V2 if not one.endswith("Field")}


async def test_envelope_has_ids_as_text_and_a_moment_in_milliseconds(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    hook = await subscribe(api, receiver)
    await data(api, "PATCH", "/api/v2/deals/1", {"title": "New"})
    body = (await receiver.until(1))[0]
    meta, admin = body["meta"], str(sandbox.company.admin["id"])
    assert set(body) == {"meta", "data", "previous"}
    assert UUID.fullmatch(meta.pop("id"))
    assert UUID.fullmatch(meta.pop("correlation_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", meta.pop("timestamp"))
    assert len(meta.pop("permitted_user_ids")) == 4
    assert meta == {
        "action": "change",
        "entity": "deal",
        "entity_id": "1",
        "company_id": str(sandbox.company.id),
        "user_id": admin,
        "version": "2.0",
        "type": "general",
        "webhook_id": str(hook["id"]),
        "webhook_owner_id": admin,
        "change_source": "api",
        "is_bulk_edit": False,
        "attempt": 1,
        "host": f"{sandbox.company.domain}.pipedrive.com",
    }
    assert body["data"]["visible_to"] == "3"


async def test_stage_move_tells_the_stage_alone(api: httpx.AsyncClient, receiver: Receiver) -> None:
    deal = await data(api, "POST", "/api/v2/deals", {"title": "A", "stage_id": 1})
    await subscribe(api, receiver)
    await data(api, "PATCH", f"/api/v2/deals/{deal['id']}", {"stage_id": 2})
    body = (await receiver.until(1))[0]
    assert body["previous"] == {"stage_id": 1}
    assert body["data"]["stage_change_time"] == body["data"]["update_time"]


async def test_created_deal_has_no_update_time_yet(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await data(api, "POST", "/api/v2/deals", {"title": "A"})
    assert (await receiver.until(1))[0]["data"]["update_time"] is None


async def test_due_time_of_an_activity_is_plain_first_and_an_object_later(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(api, receiver)
    activity = await data(api, "POST", "/api/v2/activities", {"subject": "x", "due_date": "2026-11-24"})
    await data(api, "PATCH", f"/api/v2/activities/{activity['id']}", {"subject": "y"})
    created, changed = await receiver.until(2)
    assert (created["data"]["due_time"], created["data"]["duration"]) == (None, None)
    assert changed["data"]["due_time"] == {"timezone_id": None, "value": ""}


async def test_user_events_have_no_event_id_of_their_own_and_count_seconds(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver)
    number = sandbox.company.admin["id"]
    await act(api, "change", kind="user", id=number, changes={"phone": "1"})
    body = (await receiver.until(1))[0]
    assert (body["meta"]["id"], body["data"]["id"]) == (str(number), str(number))
    assert isinstance(body["meta"]["timestamp"], int)
    assert "permitted_user_ids" not in body["meta"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", body["data"]["created"])


async def test_lead_has_milliseconds_and_always_tells_its_next_activity(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    lead = (await data(api, "GET", "/v1/leads"))[0]
    await subscribe(api, receiver)
    await data(api, "PATCH", f"/v1/leads/{lead['id']}", {"title": "New"})
    body = (await receiver.until(1))[0]
    assert body["previous"] == {"title": lead["title"], "next_activity_id": None}
    assert re.search(r"\.\d{3}Z$", body["data"]["add_time"])
    assert body["meta"]["entity_id"] == lead["id"]


async def test_products_can_have_the_times_of_old(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/modes", json={"old_dates": True})
    await act(api, "change", kind="product", id=1, changes={"name": "Pears"})
    body = (await receiver.until(1))[0]
    for moment in (body["meta"]["timestamp"], body["data"]["add_time"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", moment)


async def test_bulk_edit_is_marked_and_comes_through_the_api(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    for number in (1, 2, 3):
        await act(api, "change", kind="deal", id=number, changes={"value": 9}, bulk=True)
    bodies = await receiver.until(3)
    assert [(one["meta"]["is_bulk_edit"], one["meta"]["change_source"]) for one in bodies] == [(True, "api")] * 3


async def test_people_and_integrations_can_be_told_apart(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await act(api, "change", kind="deal", id=1, changes={"value": 9})
    await data(api, "PATCH", "/api/v2/deals/1", {"value": 10})
    assert [one["meta"]["change_source"] for one in await receiver.until(2)] == ["app", "api"]


@pytest.mark.parametrize("delete_first", [True, False])
async def test_merge_tells_both_halves_in_either_order(
    api: httpx.AsyncClient, receiver: Receiver, delete_first: bool
) -> None:
    await subscribe(api, receiver, event_object="deal")
    await act(api, "merge", kind="deal", id=1, into=2, delete_first=delete_first)
    first, _ = await receiver.until(2)
    bodies = {one["meta"]["action"]: one for one in receiver.bodies}
    assert first["meta"]["action"] == ("delete" if delete_first else "change")
    assert bodies["delete"]["meta"]["merged_to_id"] == "2"
    assert bodies["change"]["meta"]["merged_from_id"] == "1"
    assert bodies["change"]["data"]["id"] == 2


async def test_field_definitions_tell_of_themselves(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    made = await data(api, "POST", "/api/v2/personFields", {"field_name": "Tier", "field_type": "varchar"})
    body = (await receiver.until(1))[0]
    assert (body["meta"]["entity"], body["data"]["field_code"]) == ("personField", made["field_code"])


async def test_project_takes_its_tasks_with_it(api: httpx.AsyncClient, receiver: Receiver) -> None:
    project = await act(api, "add", kind="project", changes=FRESH["project"])
    task = await act(api, "add", kind="task", changes={"title": "T", "project_id": project["id"]})
    await subscribe(api, receiver)
    await act(api, "delete", kind="project", id=project["id"])
    told = {(one["meta"]["entity"], one["meta"]["entity_id"]) for one in await receiver.until(2)}
    assert told == {("project", str(project["id"])), ("task", str(task["id"]))}


async def test_one_can_send_what_nobody_has_seen_yet(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await api.post("/_sandbox/tell", json={"kind": "widget", "action": "create", "data": {"id": 5, "shape": "round"}})
    body = (await receiver.until(1))[0]
    assert (body["meta"]["entity"], body["meta"]["entity_id"]) == ("widget", "5")
    assert body["data"] == {"id": 5, "shape": "round"}


async def test_big_company_names_everybody_who_may_see(api: httpx.AsyncClient, receiver: Receiver) -> None:
    answer = await api.post("/_sandbox/company", json={"users": 280})
    assert len({user["api_token"] for user in answer.json()["users"]}) == 280
    await subscribe(api, receiver)
    await act(api, "change", kind="deal", id=1, changes={"value": 5})
    assert len((await receiver.until(1))[0]["meta"]["permitted_user_ids"]) == 280


async def test_one_can_tell_anything_about_a_delivery(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    body = {"kind": "deal", "data": {"id": 1}, "previous": {"value": 5}, "meta": {"company_id": 7, "host": None}}
    event_id = (await api.post("/_sandbox/tell", json=body)).json()["event_id"]
    told = (await receiver.until(1))[0]
    assert (told["meta"]["company_id"], told["meta"]["host"], told["meta"]["id"]) == (7, None, event_id)
    assert (told["data"], told["previous"]) == ({"id": 1}, {"value": 5})


# Version 1.0


async def test_old_version_tells_both_records_whole_and_flat(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    hook = await subscribe(api, receiver, version="1.0", event_object="deal")
    await data(api, "PATCH", "/api/v2/deals/1", {"title": "New"})
    body = (await receiver.until(1))[0]
    assert (body["v"], body["event"], body["retry"]) == (1, "updated.deal", 0)
    assert set(body["current"]) == set(body["previous"])
    assert len(body["current"]) > 70
    assert (body["current"]["title"], body["current"]["user_id"]) == (
        "New",
        sandbox.company.tables["deal"][1]["owner_id"],
    )
    assert isinstance(body["current"]["person_id"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", body["current"]["update_time"])
    meta = body["meta"]
    assert (meta["id"], meta["object"], meta["action"], meta["webhook_id"]) == (1, "deal", "updated", str(hook["id"]))
    assert (meta["company_id"], meta["user_id"]) == (sandbox.company.id, sandbox.company.admin["id"])
    assert meta["timestamp_micro"] // 1_000_000 == meta["timestamp"]
    assert all(isinstance(one, int) for one in meta["permitted_user_ids"])
    assert {"trans_pending", "is_bulk_update", "pipedrive_service_name", "matches_filters"} <= set(meta)


async def test_old_version_leaves_out_the_side_that_is_not_there(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver, version="1.0", event_object="person")
    person = await data(api, "POST", "/api/v2/persons", {"name": "Ann"})
    await api.delete(f"/api/v2/persons/{person['id']}")
    added, deleted = await receiver.until(2)
    assert (added["event"], added["previous"], added["current"]["name"]) == ("added.person", None, "Ann")
    assert (deleted["event"], deleted["current"], deleted["previous"]["active_flag"]) == ("deleted.person", None, False)


async def test_old_version_tells_a_merge_once_with_two_records(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver, version="1.0", event_object="organization")
    await act(api, "merge", kind="organization", id=1, into=2)
    body = (await receiver.until(1))[0]
    assert (body["event"], body["meta"]["id"], body["current"]["id"]) == ("merged.organization", 2, 2)
    assert (body["current"]["merge_what_id"], body["previous"]["id"]) == (1, 1)


async def test_old_version_deletes_users_where_the_new_one_changes_them(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    await subscribe(api, receiver, version="1.0", event_object="user")
    number = sandbox.company.users[2]["id"]
    await api.put(f"/v1/users/{number}", json={"active_flag": 0})
    body = (await receiver.until(1))[0]
    assert (body["event"], body["current"], body["previous"]["active_flag"]) == ("deleted.user", None, True)


async def test_old_version_alone_knows_activity_types(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await subscribe(api, receiver, version="1.0", event_object="activityType")
    await data(api, "POST", "/v1/activityTypes", {"name": "Visit", "icon_key": "car"})
    await data(api, "PATCH", "/api/v2/deals/1", {"title": "New"})
    told = [one.get("event") or one["meta"]["entity"] for one in await receiver.until(2)]
    assert sorted(told) == ["added.activityType", "deal"]
