"""The webhooks API: what may be registered, who sees what, and the errors in their three forms."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from tests.sandbox.conftest import Receiver, subscribe

KEYS = """id company_id owner_id user_id admin_id event_action event_object subscription_url version type name is_active
    add_time remove_time remove_reason last_delivery_time last_http_status http_auth_user http_auth_password"""


async def test_new_webhook_answers_201_with_all_its_keys(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    body = {"subscription_url": receiver.url, "event_action": "change", "event_object": "deal", "name": "pipeflow"}
    answer = await api.post("/v1/webhooks", json={**body, "http_auth_user": "u", "http_auth_password": "secret"})
    assert answer.status_code == 201
    assert set(answer.json()) == {"status", "success", "data"}
    made = answer.json()["data"]
    assert set(made) == set(KEYS.split())
    admin = sandbox.company.admin["id"]
    assert (made["owner_id"], made["user_id"], made["company_id"]) == (admin, admin, sandbox.company.id)
    assert (made["version"], made["type"], made["is_active"]) == ("2.0", "general", 1)
    assert "secret" not in answer.text
    listed = (await api.get("/v1/webhooks")).json()
    assert listed == {"status": "ok", "success": True, "data": [made]}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"event_action": "updated"}, "event_action"),
        ({"version": "1.0", "event_action": "change"}, "event_action"),
        ({"version": "1.0", "event_action": "*", "event_object": "lead"}, "event_object"),
        ({"event_object": "activityType"}, "event_object"),
        ({"event_object": "widget"}, "event_object"),
        ({"version": "3.0"}, "version"),
        ({"subscription_url": ""}, "subscription_url"),
        ({"subscription_url": "http://hooks.example.com/pd"}, "subscription_url"),
        ({"subscription_url": "ftp://127.0.0.1/x"}, "subscription_url"),
        ({"subscription_url": "http://127.0.0.1:1/nobody"}, "subscription_url"),
        ({"name": "x" * 256}, "name"),
        ({"user_id": 1}, "user_id"),
    ],
)
async def test_wrong_registrations_are_refused_by_field(
    api: httpx.AsyncClient, receiver: Receiver, wrong: dict[str, Any], field: str
) -> None:
    body = {"subscription_url": receiver.url, "event_action": "*", "event_object": "*", "name": "x"} | wrong
    answer = await api.post("/v1/webhooks", json=body)
    assert answer.status_code == 400
    refusal = answer.json()
    assert (refusal["status"], refusal["success"]) == ("error", False)
    assert set(refusal["errors"]) == {field}
    assert all(isinstance(text, str) for text in refusal["errors"][field])


async def test_url_that_redirects_or_is_pipedrives_own_is_no_webhook(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.probe, receiver.headers = 302, {"location": receiver.url}
    for url in (receiver.url, f"{api.base_url}/v1/users/me"):
        body = {"event_action": "*", "event_object": "*", "name": "x", "subscription_url": url}
        answer = await api.post("/v1/webhooks", json=body)
        assert answer.json()["errors"] == {"subscription_url": ["invalid or non-reachable URL"]}


async def test_same_registration_twice_makes_two_webhooks(api: httpx.AsyncClient, receiver: Receiver) -> None:
    first, second = await subscribe(api, receiver), await subscribe(api, receiver)
    assert first["id"] != second["id"]


async def test_forty_webhooks_are_the_most(api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox) -> None:
    sandbox.check_reachable = False
    for _ in range(40):
        await subscribe(api, receiver)
    body = {"subscription_url": receiver.url, "event_action": "*", "event_object": "*", "name": "x"}
    assert (await api.post("/v1/webhooks", json=body)).status_code == 422


async def test_deleting_answers_ok_and_an_unknown_id_404(api: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await subscribe(api, receiver)
    assert (await api.delete(f"/v1/webhooks/{made['id']}")).json() == {"status": "ok", "success": True}
    again = await api.delete(f"/v1/webhooks/{made['id']}")
    assert (again.status_code, again.json()) == (
        404,
        {"status": "error", "success": False, "errors": {"id": ["not found"]}},
    )


async def test_webhooks_of_others_are_hidden_and_cannot_be_deleted(
    api: httpx.AsyncClient, receiver: Receiver, sandbox: Sandbox
) -> None:
    made = await subscribe(api, receiver)
    normal = {"x-api-token": sandbox.company.users[1]["token"]}
    assert (await api.get("/v1/webhooks", headers=normal)).json()["data"] == []
    refused = await api.delete(f"/v1/webhooks/{made['id']}", headers=normal)
    assert (refused.status_code, refused.json()) == (403, {"success": False, "message": "Forbidden"})


async def test_webhooks_have_no_update(api: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await subscribe(api, receiver)
    for method in ("PUT", "PATCH"):
        assert (await api.request(method, f"/v1/webhooks/{made['id']}", json={"name": "y"})).status_code == 405
    assert (await api.get("/api/v2/webhooks")).status_code == 404
