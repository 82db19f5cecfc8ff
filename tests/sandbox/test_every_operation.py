"""Every operation of the catalog answers, with what its schema allows, and generation 2 refuses what it must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import pytest

from pipeflow import catalog
from pipeflow.sandbox import Sandbox, create_app
from tests.sandbox.conftest import PLAIN
from tests.sandbox.shaped import body_of, filled, needs, path_of, wrongs

OPERATIONS = [one for one in catalog.operations() if one.alias_of is None]
STRICT = [one for one in OPERATIONS if one.id.startswith("v2") and one.body == "json" and not one.array_body]
WRONG: dict[str, Any] = {
    "integer": "1",
    "number": "1",
    "string": 1,
    "boolean": 1,
    "array": "x",
    "object": "x",
    "map": "x",
}


ODD: tuple[Any, ...] = (None, "", -1, True, [], "x", 10**20, [{}], {"value": None})


class Desk:
    """A sandbox with one of everything, and a client of it without a network between."""

    def __init__(self, client: httpx.AsyncClient, sandbox: Sandbox) -> None:
        self.client = client
        self.sandbox = sandbox
        self.ids = filled(sandbox)

    async def send(self, operation: catalog.Operation, **more: Any) -> httpx.Response:
        """Send an operation with as little as it needs, and `more` in its body."""
        needed = needs(operation, self.sandbox)
        query = {} if operation.array_body else body_of(operation, self.ids, "query")
        content: dict[str, Any] = {}
        if operation.body == "json":
            body = needed.get("json", {})
            content["json"] = body if isinstance(body, list) else self._json(operation, {**body, **more})
        if operation.body == "form":
            content["data"] = body_of(operation, self.ids, "form")
        if operation.body == "multipart":
            file = next(one.wire for one in operation.parameters if one.place == "file")
            content = {"data": body_of(operation, self.ids, "form"), "files": {file: ("a.txt", b"x")}}
        path = path_of(operation, self.sandbox, self.ids)
        return await self.client.request(operation.method, path, params=query | needed.get("query", {}), **content)

    def _json(self, operation: catalog.Operation, more: dict[str, Any]) -> Any:
        body = body_of(operation, self.ids)
        return body | more if isinstance(body, dict) else body


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    sandbox = Sandbox(seed=1, deals=8, check_reachable=False)
    transport, headers = httpx.ASGITransport(create_app(sandbox)), {"x-api-token": sandbox.api_token}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sandbox", headers=headers, verify=PLAIN
    ) as client:
        yield Desk(client, sandbox)


def resource_of(operation: catalog.Operation) -> str:
    return operation.attribute.rpartition(".")[0]


def trouble(operation: catalog.Operation, answer: httpx.Response) -> list[str]:
    if not answer.is_success:
        return [f"{operation.id}: {answer.status_code} {answer.text}"]
    if operation.result == "bytes" or answer.status_code == 204:
        return []
    generation: Literal["v1", "v2"] = "v2" if operation.id.startswith("v2") else "v1"
    return [f"{operation.id}{one}" for one in wrongs(catalog.response(operation.id), answer.json(), generation)]


def test_catalog_holds_every_operation_there_is() -> None:
    assert len([one for one in OPERATIONS if one.id.startswith("v1")]) == 281
    assert len([one for one in OPERATIONS if one.id.startswith("v2")]) == 158


@pytest.mark.parametrize("resource", sorted({resource_of(one) for one in OPERATIONS}))
async def test_operations_answer_as_their_schemas_say(resource: str) -> None:
    found = []
    for operation in (one for one in OPERATIONS if resource_of(one) == resource):
        async with desk() as at:
            found += trouble(operation, await at.send(operation))
            noted = at.sandbox.journal.listed()[-1]["operation"]
            if noted != operation.id:
                found.append(f"{operation.id} was taken for {noted}")
    assert found == []


async def test_unknown_key_in_a_body_is_refused_by_generation_two() -> None:
    async with desk() as at:
        for operation in STRICT:
            answer = await at.send(operation, colour="red")
            assert (answer.status_code, "colour" in answer.text) == (400, True), operation.id


async def test_unknown_key_in_a_query_is_refused_by_generation_two() -> None:
    async with desk() as at:
        for operation in (one for one in OPERATIONS if one.id.startswith("v2") and one.method == "GET"):
            answer = await at.client.get(path_of(operation, at.sandbox, at.ids), params={"colour": "red"})
            assert (answer.status_code, "colour" in answer.text) == (400, True), operation.id


async def test_wrong_type_in_any_field_is_refused_by_generation_two() -> None:
    checked = 0
    async with desk() as at:
        for operation in STRICT:
            for field in (one for one in operation.parameters if one.place == "json" and one.type in WRONG):
                answer = await at.send(operation, **{field.wire: WRONG[field.type]})
                assert answer.status_code == 400, f"{operation.id} takes {WRONG[field.type]!r} as {field.wire}"
                assert field.wire in answer.json()["error"]
                checked += 1
    assert checked > 250


async def test_missing_required_field_is_refused_by_generation_two() -> None:
    async with desk() as at:
        for operation in STRICT:
            if any(one.place == "json" and one.required for one in operation.parameters):
                path = path_of(operation, at.sandbox, at.ids)
                answer = await at.client.request(operation.method, path, json={})
                assert (answer.status_code, "is required" in answer.text) == (400, True), operation.id


async def test_generation_one_ignores_what_it_does_not_know() -> None:
    lenient = [one for one in OPERATIONS if one.id.startswith("v1") and one.body == "json" and not one.array_body]
    for operation in lenient:
        async with desk() as at:
            answer = await at.send(operation, colour="red")
            assert answer.is_success, f"{operation.id}: {answer.text}"


async def test_generation_one_refuses_what_lacks_something_it_needs() -> None:
    async with desk() as at:
        for operation in (one for one in OPERATIONS if one.id.startswith("v1")):
            if any(one.required and one.place in ("json", "form", "query", "file") for one in operation.parameters):
                path = path_of(operation, at.sandbox, at.ids)
                answer = await at.client.request(operation.method, path, json={} if operation.body == "json" else None)
                assert answer.status_code == 400, f"{operation.id}: {answer.text}"


async def test_odd_values_are_taken_or_refused_and_break_nothing() -> None:
    writes = [one for one in OPERATIONS if one.body == "json" and not one.array_body and one.method != "DELETE"]
    for operation in writes:
        async with desk() as at:
            for hook in ("1.0", "2.0"):
                values = {"event_action": "*", "event_object": "*", "subscription_url": "http://127.0.0.1:1/"}
                at.sandbox.webhooks.add(at.sandbox.company, 1, None, values | {"version": hook})
            for field in (one for one in operation.parameters if one.place == "json"):
                for odd in ODD:
                    answer = await at.send(operation, **{field.wire: odd})
                    assert answer.status_code < 500, f"{operation.id} {field.wire}={odd!r}: {answer.text}"
            at.sandbox.change("user", at.sandbox.company.admin["id"], active_flag=True)
            for resource in ("deals", "persons", "organizations", "activities", "products", "notes", "leads"):
                assert (await at.client.get(f"/v1/{resource}?limit=500")).is_success
                if resource not in ("notes", "leads"):
                    assert (await at.client.get(f"/api/v2/{resource}?limit=500")).is_success


@pytest.mark.parametrize(
    ("collection", "values", "changed"),
    [
        ("/v1/callLogs", {"to_phone_number": "+3725550100", "outcome": "connected"}, None),
        ("/v1/organizationRelationships", {"type": "parent"}, {"type": "related"}),
        ("/v1/roles", {"name": "Sales"}, {"name": "Sales, north"}),
        ("/api/v2/deals/1/discounts", {"description": "Spring", "amount": 5, "type": "amount"}, {"amount": 7.5}),
        ("/api/v2/products/1/variations", {"name": "Blue"}, {"name": "Red"}),
    ],
)
async def test_what_has_no_handler_of_its_own_is_kept_as_it_was_written(
    collection: str, values: dict[str, Any], changed: dict[str, Any] | None
) -> None:
    query = {"org_id": 1} if "Relationships" in collection else {}
    async with desk() as at:
        operation = next(
            one for one in OPERATIONS if one.method == "POST" and one.path.replace("{id}", "1") == collection
        )
        made = (await at.send(operation, **values)).json()["data"]
        listed = (await at.client.get(collection, params=query)).json()["data"]
        assert [one["id"] for one in listed] == [made["id"]]
        assert {name: listed[0][name] for name in values if name in listed[0]}.items() <= values.items()
        if changed:
            verb = "PATCH" if "/v2/" in collection else "PUT"
            answer = await at.client.request(verb, f"{collection}/{made['id']}", json=changed)
            assert answer.is_success, answer.text
            listed = (await at.client.get(collection, params=query)).json()["data"]
            assert {name: listed[0][name] for name in changed} == changed
        await at.client.delete(f"{collection}/{made['id']}")
        assert (await at.client.get(collection, params=query)).json()["data"] == []
        assert (await at.client.delete(f"{collection}/{made['id']}")).status_code == 404
