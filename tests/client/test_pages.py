"""Lists in every shape that Pipedrive pages them: one page awaited, all of them looped over, and where a loop ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pipeflow.client import Client, Configuration
from pipeflow.client.transport import Transport
from pipeflow.client.v2.models import Deal
from pipeflow.errors import UnexpectedBody


class Pipedrive:
    """Answers with the given bodies in turn, and remembers what was asked."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies: Iterator[Any] = iter(bodies)
        self.asked: list[dict[str, str]] = []
        configuration = Configuration(api_key="t0ken", base_url="https://pd.test")
        self.client = Client(transport=Transport(configuration, backend=httpx.MockTransport(self._answer)))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(dict(request.url.params))
        body = next(self.bodies)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(204 if not content else 200, content=content, headers={"x-correlation-id": "c-1"})

    def starts(self) -> list[str | None]:
        """List where each request wanted to begin."""
        return [asked.get("start") or asked.get("cursor") for asked in self.asked]


def page(*ids: int, **additional: Any) -> dict[str, Any]:
    """Write a page of records; `additional` stands beside the data."""
    return {"success": True, "data": [{"id": one} for one in ids], "additional_data": additional or None}


def nested(*ids: int, **pagination: Any) -> dict[str, Any]:
    return page(*ids, pagination=pagination)


def found(*ids: int, **additional: Any) -> dict[str, Any]:
    items = [{"result_score": 0.5, "item": {"id": one}} for one in ids]
    return {"success": True, "data": {"items": items, "related_items": [1]}, "additional_data": additional}


# -- one page ----------------------------------------------------------------------------------------------------------


async def test_awaiting_gives_one_page_that_is_a_sequence() -> None:
    pipedrive = Pipedrive(page(1, 2, 3, next_cursor="abc"))
    deals = await pipedrive.client.deals.get_deals(limit=3)
    assert (len(deals), deals[0].id, [deal.id for deal in deals[1:]]) == (3, 1, [2, 3])
    assert Deal(id=2) in deals
    assert deals.next_cursor == "abc"
    assert isinstance(deals.data, list)
    assert len(pipedrive.asked) == 1


async def test_page_tells_what_stands_beside_the_data_and_the_whole_answer() -> None:
    beside = {"related_objects": {"user": {"7": {"name": "Ann"}}}, "additional_data": {"summary": 1}}
    pipedrive = Pipedrive({"success": True, "data": [{"id": 1}], **beside})
    notes = await pipedrive.client.notes.get_notes()
    assert notes.related_objects == {"user": {"7": {"name": "Ann"}}}
    assert notes.additional_data == {"summary": 1}
    assert (notes.response.status, notes.response.headers["x-correlation-id"]) == (200, "c-1")
    assert json.loads(notes.response.content) == notes.response.envelope
    assert notes.next_cursor is None


async def test_search_gives_its_items_and_what_is_related() -> None:
    pipedrive = Pipedrive(found(1, 2))
    results = await pipedrive.client.deals.search_deals(term="acme")
    assert [result.item and result.item.id for result in results] == [1, 2]
    assert results.related_items == [1]


@pytest.mark.parametrize(
    "body",
    [
        {"success": True, "data": None},
        {"success": True, "data": None, "additional_data": None, "related_objects": None},
        {"success": True, "data": []},
        {"success": True},
        b"",
    ],
)
async def test_nothing_in_any_form_is_an_empty_page(body: Any) -> None:
    pipedrive = Pipedrive(body, body)
    assert list(await pipedrive.client.notes.get_notes()) == []
    assert [note async for note in pipedrive.client.notes.get_notes()] == []


async def test_empty_search_is_an_empty_page() -> None:
    datas: list[Any] = [{"items": []}, {}, None, []]
    for data in datas:
        pipedrive = Pipedrive({"success": True, "data": data})
        assert list(await pipedrive.client.deals.search_deals(term="acme")) == []


async def test_odd_record_spoils_neither_itself_nor_its_page() -> None:
    odd = {"id": "x", "title": 5, "label_ids": "1,2", "brand_new": {"a": 1}, "owner_id": None}
    pipedrive = Pipedrive({"success": True, "data": [{"id": 1, "title": "fine"}, odd, None], "additional_data": "odd"})
    fine, strange, nothing = await pipedrive.client.deals.get_deals()
    assert (fine.id, fine.title) == (1, "fine")
    assert repr(strange.title) == "5"
    assert strange.model_extra == {"brand_new": {"a": 1}}
    assert nothing is None


@pytest.mark.parametrize("body", [b'{"success": true, "data": [', b"<html>", b"\xff\xfe"])
async def test_body_that_cannot_be_read_is_an_error_with_its_text(body: bytes) -> None:
    with pytest.raises(UnexpectedBody) as caught:
        await Pipedrive(body).client.deals.get_deals()
    assert caught.value.text == body.decode(errors="replace")


@pytest.mark.parametrize("spaces", ["", " ", "\n"])
async def test_success_false_is_an_error_wherever_it_stands(spaces: str) -> None:
    for body in (
        f'{{"success":{spaces}false, "error": "no"}}',
        f'{{"data": [{{"success": true}}], "success"{spaces}:{spaces}false, "error": "no"}}',
    ):
        with pytest.raises(UnexpectedBody, match="says it failed: no"):
            await Pipedrive(body.encode()).client.deals.get_deals()


async def test_bare_and_unwrapped_answers_are_data_too() -> None:
    assert await Pipedrive({"deal": ["a"]}).client.filters.get_filter_helpers() == {"deal": ["a"]}
    assert (await Pipedrive([{"id": 7}]).client.deals.get_deals())[0].id == 7
    assert (await Pipedrive({"id": "p", "name": "Admins"}).client.permission_sets.get_permission_set("p")).name == (
        "Admins"
    )


# -- all pages ---------------------------------------------------------------------------------------------------------


async def test_cursors_are_followed_to_their_end() -> None:
    pipedrive = Pipedrive(page(1, 2, next_cursor="abc"), page(3, next_cursor="def"), page(next_cursor=None))
    assert [deal.id async for deal in pipedrive.client.deals.get_deals(status="open")] == [1, 2, 3]
    assert pipedrive.starts() == [None, "abc", "def"]
    assert {asked["status"] for asked in pipedrive.asked} == {"open"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nested(1, 2, more_items_in_collection=True, next_start=2), "2"),
        (nested(1, 2, start=0, limit=2, more_items_in_collection=True), "2"),
        (page(1, 2, start=0, limit=2, more_items_in_collection=True), "2"),
        (page(1, 2, start=0, more_items_in_collection=True), "2"),
        (page(1, 2, start=10, limit=5, more_items_in_collection=True), "15"),
    ],
)
async def test_offsets_are_followed_in_every_form(first: Any, second: str) -> None:
    pipedrive = Pipedrive(first, nested(3, start=2, limit=2, more_items_in_collection=False))
    assert [note.id async for note in pipedrive.client.notes.get_notes()] == [1, 2, 3]
    assert pipedrive.starts() == [None, second]


@pytest.mark.parametrize(
    "more", [{"next_cursor": "abc"}, {"pagination": {"start": 0, "limit": 2, "more_items_in_collection": True}}]
)
async def test_searches_are_followed_whether_they_answer_a_cursor_or_an_offset(more: Any) -> None:
    pipedrive = Pipedrive(found(1, 2, **more), found(3))
    results = [result.item and result.item.id async for result in pipedrive.client.deals.search_deals(term="acme")]
    assert results == [1, 2, 3]
    assert pipedrive.starts() in ([None, "abc"], [None, "2"])


async def test_pages_that_cannot_be_asked_for_by_the_catalog_are_followed_where_they_are_answered() -> None:
    pipedrive = Pipedrive(page(1, start=0, limit=1, more_items_in_collection=True), page(2))
    assert [one.id async for one in pipedrive.client.v1.activity_fields.get_activity_fields()] == [1, 2]
    assert pipedrive.starts() == [None, "1"]
    pipedrive = Pipedrive(page(1, next_cursor="abc"), page(2))
    assert [one.id async for one in pipedrive.client.v1.projects.get_project_tasks(1)] == [1, 2]
    assert pipedrive.starts() == [None, "abc"]


async def test_list_without_pages_is_one_request() -> None:
    pipedrive = Pipedrive(page(1, 2))
    assert [user.id async for user in pipedrive.client.users.get_users()] == [1, 2]
    assert pipedrive.asked == [{}]


async def test_loop_asks_for_the_largest_pages_unless_told_otherwise() -> None:
    pipedrive = Pipedrive(*[page()] * 6)
    for records in (
        pipedrive.client.deals.get_deals(),
        pipedrive.client.files.get_files(),
        pipedrive.client.item_search.search_item(term="x"),
        pipedrive.client.deals.get_deals(limit=7),
        pipedrive.client.deals.get_deals().take(3),
        pipedrive.client.deals.get_deals().take(3000),
    ):
        assert [record async for record in records] == []
    assert [asked["limit"] for asked in pipedrive.asked] == ["500", "100", "100", "7", "3", "500"]


# -- where a loop ends -------------------------------------------------------------------------------------------------


async def test_take_stops_in_the_middle_of_a_page_and_asks_for_no_more() -> None:
    pipedrive = Pipedrive(page(1, 2, next_cursor="abc"), page(3, 4, next_cursor="def"))
    assert [deal.id async for deal in pipedrive.client.deals.get_deals(limit=2).take(3)] == [1, 2, 3]
    assert len(pipedrive.asked) == 2
    assert [deal async for deal in pipedrive.client.deals.get_deals().take(0)] == []
    assert len(pipedrive.asked) == 2


async def test_take_that_ends_with_a_page_asks_for_no_further_one() -> None:
    pipedrive = Pipedrive(page(1, 2, next_cursor="abc"))
    assert [deal.id async for deal in pipedrive.client.deals.get_deals(limit=2).take(2)] == [1, 2]


async def test_take_awaited_is_a_page_of_at_most_so_many() -> None:
    pipedrive = Pipedrive(page(1, 2, next_cursor="abc"), page(1, 2, 3))
    assert [deal.id for deal in await pipedrive.client.deals.get_deals(status="open").take(2)] == [1, 2]
    assert pipedrive.asked == [{"status": "open", "limit": "2"}]
    assert [user.id for user in await pipedrive.client.users.get_users().take(2)] == [1, 2]


async def test_leaving_a_loop_asks_for_no_more() -> None:
    pipedrive = Pipedrive(page(1, 2, next_cursor="abc"))
    async for _ in pipedrive.client.deals.get_deals():
        break
    assert len(pipedrive.asked) == 1


async def test_loop_ends_where_a_cursor_was_there_before(caplog: pytest.LogCaptureFixture) -> None:
    pipedrive = Pipedrive(page(1, next_cursor="a"), page(2, next_cursor="b"), page(3, next_cursor="a"))
    assert [deal.id async for deal in pipedrive.client.deals.get_deals()] == [1, 2, 3]
    assert "was there before; stopped" in caplog.text


@pytest.mark.parametrize("start", [0, 2, 1])
async def test_loop_ends_where_a_start_does_not_advance(start: int) -> None:
    pipedrive = Pipedrive(
        nested(1, 2, more_items_in_collection=True, next_start=2),
        nested(3, more_items_in_collection=True, next_start=start),
    )
    assert [note.id async for note in pipedrive.client.notes.get_notes()] == [1, 2, 3]
    assert len(pipedrive.asked) == 2


async def test_first_start_that_does_not_advance_ends_the_loop_too() -> None:
    pipedrive = Pipedrive(nested(1, more_items_in_collection=True, next_start=0))
    assert [note.id async for note in pipedrive.client.notes.get_notes()] == [1]
    pipedrive = Pipedrive(nested(1, more_items_in_collection=True, next_start=50))
    assert [note.id async for note in pipedrive.client.notes.get_notes(start=100)] == [1]


async def test_page_that_comes_again_is_not_given_twice(caplog: pytest.LogCaptureFixture) -> None:
    same = page(1, 2, start=0, limit=2, more_items_in_collection=True)
    pipedrive = Pipedrive(same, same)
    assert [one.id async for one in pipedrive.client.v1.activity_fields.get_activity_fields()] == [1, 2]
    assert "the same page came again" in caplog.text


async def test_empty_page_amid_others_does_not_end_the_loop() -> None:
    pipedrive = Pipedrive(page(1, next_cursor="a"), page(next_cursor="b"), page(2))
    assert [deal.id async for deal in pipedrive.client.deals.get_deals()] == [1, 2]


async def test_long_loop_says_once_what_would_cost_less(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipeflow.client")
    pages = [page(*range(500 * n, 500 * n + 500), next_cursor=str(n)) for n in range(22)]
    pipedrive = Pipedrive(*pages, page())
    assert len([0 async for _ in pipedrive.client.deals.get_deals()]) == 11_000
    assert len([record for record in caplog.records if "more than 10000 records" in record.message]) == 1


async def test_loop_over_the_same_list_asks_again() -> None:
    pipedrive = Pipedrive(page(1), page(1))
    deals = pipedrive.client.deals.get_deals()
    assert [deal.id async for deal in deals] == [deal.id async for deal in deals] == [1]
    assert "not fetched" in repr(deals)


async def test_capture_shows_every_page_of_a_loop() -> None:
    pipedrive = Pipedrive(page(1, next_cursor="abc"), page(2))
    with pipedrive.client.capture() as sent:
        assert [deal.id async for deal in pipedrive.client.deals.get_deals()] == [1, 2]
    assert [answer.envelope["data"][0]["id"] for answer in sent] == [1, 2]
    assert {answer.operation.id for answer in sent} == {"v2.DealsApi.getDeals"}
