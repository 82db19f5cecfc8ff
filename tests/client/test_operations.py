"""Every operation of both generations goes over the wire exactly as the catalog says: through its public method, to a
server that writes down what came."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from pipeflow.catalog import Parameter
from pipeflow.client import UNSET, Client, Operation, Page, operations
from tests.client.recording import Received, Recorder, recording

ALL = operations()
TOKEN = "t0ken"
KEY = "d0" * 20
NAME = "Übersicht 報告.pdf"
NOON = datetime(2026, 3, 5, 13, 9, 10, 999_999, tzinfo=timezone(timedelta(hours=5)))
WRITTEN = {
    "date": "2026-03-05",
    "time": "08:09",
    "date-time": "2026-03-05T08:09:10Z",
    "datetime": "2026-03-05 08:09:10",
}

Call = tuple[list[Any], dict[str, Any]]


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


async def send(client: Client, operation: Operation, given: Mapping[str, Any]) -> Any:
    """Call an operation's public method with arguments by wire name."""
    holder: Any = client
    for name in operation.attribute.split("."):
        holder = getattr(holder, name)
    path = [each.wire for each in operation.parameters if each.place == "path"]
    names = {each.wire: each.name for each in operation.parameters}
    rest = {names.get(wire, wire): value for wire, value in given.items() if wire not in path}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return await holder(*(given[wire] for wire in path), **rest)


# -- what is given, and what must come of it ---------------------------------------------------------------------------


def sample(parameter: Parameter) -> Any:
    """Choose a value that shows how the parameter travels."""
    if parameter.wire == "custom_fields" and parameter.place == "json":
        return {KEY: 1}
    if parameter.format in WRITTEN:
        return {"date": date(2026, 3, 5), "time": time(8, 9)}.get(parameter.format, NOON)
    if parameter.style is not None:
        return ["a b", "c&d"] if parameter.type == "string" else [7, 8]
    match parameter.type:
        case "integer":
            return 42
        case "number":
            return 1.5
        case "boolean":
            return False
        case "array":
            return [{"id": 1, "name": "é"}, {"id": 2, "name": None}]
        case "object" | "map" | "any":
            return {"some": {"thing": [1, None, "ü"]}}
        case "file":
            return (NAME, b"\x00bytes\r\n", "application/pdf")
    return "a/b?c=ü &d"


def in_text(parameter: Parameter, value: Any) -> str:
    """Write a sample as a query or form has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return WRITTEN.get(parameter.format or "", str(value))


def expected_query(operation: Operation, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for each in operation.parameters:
        if each.place != "query" or given.get(each.wire) is None:
            continue
        value = given[each.wire]
        if each.style == "multi":
            pairs += [(each.wire, str(item)) for item in value]
        elif each.style == "csv":
            pairs.append((each.wire, ",".join(str(item) for item in value)))
        else:
            pairs.append((each.wire, in_text(each, value)))
    return pairs


def expected_json(operation: Operation, given: Mapping[str, Any]) -> Any:
    if operation.array_body:
        return given["items"]
    body = {
        each.wire: given[each.wire] if given[each.wire] is None else WRITTEN.get(each.format or "", given[each.wire])
        for each in operation.parameters
        if each.place == "json" and each.wire in given
    }
    if operation.custom_fields == "flat" and given.get("custom_fields"):
        body |= given["custom_fields"]
    return body


def check_head(operation: Operation, given: Mapping[str, Any], got: Received) -> None:
    path = operation.path
    for each in operation.parameters:
        if each.place == "path":
            path = path.replace(f"{{{each.wire}}}", quote(str(given[each.wire]), safe=""))
    assert (got.method, got.path) == (operation.method, path)
    assert sorted(got.query) == sorted(expected_query(operation, given))
    assert got.headers["x-api-token"] == TOKEN
    assert TOKEN not in got.target
    assert "authorization" not in got.headers


def check_body(operation: Operation, given: Mapping[str, Any], got: Received) -> None:
    if operation.body is None:
        assert (got.body, got.kind) == (b"", "")
        return
    if operation.body == "json":
        assert got.kind == "application/json"
        assert json.loads(got.body) == expected_json(operation, given)
        return
    fields = [
        (each.wire, in_text(each, given[each.wire]))
        for each in operation.parameters
        if each.place == "form" and given.get(each.wire) is not None
    ]
    if operation.body == "form":
        assert got.kind == ("application/x-www-form-urlencoded" if fields else got.kind)
        assert got.form == fields
        return
    check_parts(operation, fields, got)


def check_parts(operation: Operation, fields: list[tuple[str, str]], got: Received) -> None:
    assert got.kind == "multipart/form-data"
    (file,) = (each.wire for each in operation.parameters if each.place == "file")
    (head, content), *rest = got.parts
    assert f'form-data; name="{file}"; filename="{NAME}"' in head
    assert "application/pdf" in head
    assert content == b"\x00bytes\r\n"
    names = [(head.partition('name="')[2].partition('"')[0], content.decode()) for head, content in rest]
    assert names == fields


def minimal(operation: Operation) -> dict[str, Any]:
    return {each.wire: sample(each) for each in operation.parameters if each.required}


def full(operation: Operation) -> dict[str, Any]:
    flat = {"custom_fields": {KEY: 1, f"{KEY}_currency": "EUR"}} if operation.custom_fields == "flat" else {}
    return {each.wire: sample(each) for each in operation.parameters} | flat


def emptied(operation: Operation) -> dict[str, Any]:
    """Give None for everything that may be left out."""
    return minimal(operation) | {each.wire: None for each in operation.parameters if not each.required}


# -- claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [minimal, full, emptied])
async def test_every_operation_is_sent_as_the_catalog_says(
    server: Recorder, arguments: Callable[[Operation], dict[str, Any]]
) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    for operation in ALL:
        given = arguments(operation)
        before = len(server.got)
        await send(client, operation, given)
        assert len(server.got) == before + 1, operation.id
        try:
            check_head(operation, given, server.last)
            check_body(operation, given, server.last)
        except AssertionError as error:
            error.add_note(f"{operation.id} sent {server.last} {server.last.body[:500]!r}")
            raise
    assert len(server.got) == len(ALL) == 467


async def test_optional_json_bodies_that_are_left_out_are_empty_objects(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    optional = [
        each
        for each in ALL
        if each.body == "json" and not any(one.required and one.place == "json" for one in each.parameters)
    ]
    assert len(optional) > 50
    for operation in optional:
        await send(client, operation, minimal(operation))
        assert server.last.body == b"{}", operation.id


@pytest.mark.parametrize("value", ["", ".", "..", None])
async def test_path_values_that_lead_elsewhere_are_refused_before_anything_is_sent(
    server: Recorder, value: str | None
) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    for operation in ALL:
        for parameter in operation.parameters:
            if parameter.place == "path":
                with pytest.raises(ValueError, match=parameter.name):
                    await send(client, operation, minimal(operation) | {parameter.wire: value})
    assert server.got == []


async def test_unset_is_left_out_of_every_place(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    for operation in ALL:
        given = minimal(operation)
        unset = {each.wire: UNSET for each in operation.parameters if not each.required}
        await send(client, operation, given | unset)
        check_head(operation, given, server.last)
        check_body(operation, given, server.last)


async def test_false_zero_and_empty_values_are_values(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    await client.deals.update_deal(1, value=0, title="", is_archived=False, label_ids=[])
    assert json.loads(server.last.body) == {"value": 0, "title": "", "is_archived": False, "label_ids": []}
    await client.activities.get_activities(done=False, owner_id=0, ids=[])
    assert sorted(server.last.query) == [("done", "false"), ("ids", ""), ("owner_id", "0")]


async def test_values_that_mean_the_same_get_the_type_of_their_place(server: Recorder) -> None:
    client: Any = Client(api_token=TOKEN, base_url=server.url)
    await client.deals.update_deal(1, owner_id="42", is_archived=1, value=True, title="7")
    assert server.last.body == b'{"title":"7","owner_id":42,"value":1,"is_archived":true}'
    await client.notes.add_note(content="x", deal_id="0042", pinned_to_deal_flag=True)
    assert json.loads(server.last.body) == {"content": "x", "deal_id": 42, "pinned_to_deal_flag": 1}
    await client.notes.get_notes(pinned_to_deal_flag=False)
    assert server.last.query == [("pinned_to_deal_flag", "0")]
    await client.activities.get_activities(done=0)
    assert server.last.query == [("done", "false")]


async def test_comma_lists_may_be_given_as_text_or_as_any_sequence(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    for ids in ("1,2", [1, 2], (1, 2), ["1", "2"]):
        await client.deals.get_deals(ids=ids)
        assert server.last.query == [("ids", "1,2")]


async def test_naive_datetimes_are_refused_wherever_they_stand(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    naive = datetime(2026, 3, 5, 8, 9, 10)  # that it is naive is the point
    for operation in ALL:
        for parameter in operation.parameters:
            if parameter.format in ("date-time", "datetime", "date"):
                with pytest.raises(ValueError, match="time zone"):
                    await send(client, operation, minimal(operation) | {parameter.wire: naive})
    assert server.got == []


async def test_a_datetime_where_a_day_is_wanted_is_its_day_in_its_own_zone(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    late = datetime(2026, 3, 6, 1, 30, tzinfo=timezone(timedelta(hours=5)))
    await client.deals.update_deal(1, expected_close_date=late)
    assert json.loads(server.last.body) == {"expected_close_date": "2026-03-06"}
    await client.notes.get_notes(start_date=late)
    assert server.last.query == [("start_date", "2026-03-06")]


async def test_amounts_and_durations_may_be_what_python_has_for_them(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    values: dict[str, Any] = {"value": Decimal("12.50"), "probability": Decimal(50)}
    await client.deals.update_deal(1, **values)
    assert json.loads(server.last.body) == {"value": 12.5, "probability": 50}
    spans: dict[str, Any] = {"due_time": time(9, 5), "duration": timedelta(hours=1, minutes=15)}
    await client.activities.update_activity(1, **spans)
    assert json.loads(server.last.body) == {"due_time": "09:05", "duration": "01:15"}


async def test_aware_datetimes_nested_in_a_body_are_written_in_the_form_of_the_generation(server: Recorder) -> None:
    client = Client(api_token=TOKEN, base_url=server.url)
    await client.deals.update_deal(1, custom_fields={KEY: NOON})
    assert json.loads(server.last.body) == {"custom_fields": {KEY: WRITTEN["date-time"]}}
    await client.leads.update_lead("x", custom_fields={KEY: NOON})
    assert json.loads(server.last.body) == {KEY: WRITTEN["datetime"]}


async def test_an_access_token_travels_as_bearer_and_the_api_token_wins(server: Recorder) -> None:
    from pipeflow.client import Configuration

    await Client(Configuration(access_token="acc", base_url=server.url)).users.get_current_user()
    assert server.last.headers["authorization"] == "Bearer acc"
    assert "x-api-token" not in server.last.headers
    await Client(Configuration(api_key=TOKEN, access_token="acc", base_url=server.url)).users.get_current_user()
    assert server.last.headers["x-api-token"] == TOKEN
    assert "authorization" not in server.last.headers


async def test_a_file_travels_under_its_own_name_from_any_kind_of_source(server: Recorder, tmp_path: Any) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"content")
    client = Client(api_token=TOKEN, base_url=server.url)
    named = io.BytesIO(b"content")
    named.name = str(path)
    for source in (path, (NAME, b"content"), (NAME, io.BytesIO(b"content")), named):
        await client.files.add_file(file=source, deal_id=1)
        head, content = server.last.parts[0]
        assert f'filename="{NAME}"' in head
        assert content == b"content"


def test_a_retired_operation_warns_once_where_it_is_called_and_names_what_replaces_it() -> None:
    code = (
        "from pipeflow.client import Client\n"
        "client = Client(api_token='x')\n"
        "for _ in range(2):\n"
        "    client.v1.deals.get_deals()\n"
        "client.v1.subscriptions.get_subscription(1).close()\n"
        "client.v1.notes.get_notes()\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert said == [
        "<string>:4: DeprecationWarning: Pipedrive retired client.v1.deals.get_deals: use client.v2.deals.get_deals."
    ]


def test_only_get_lists_are_pages() -> None:
    client = Client(api_token=TOKEN, base_url="http://127.0.0.1:9")
    assert isinstance(client.deals.get_deals(), Page)
    assert isinstance(client.v1.webhooks.get_webhooks(), Page)
