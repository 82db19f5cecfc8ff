"""What the receiver takes, refuses and keeps."""

from __future__ import annotations

import json
import logging

import pytest

from pipeflow.store.base import Account
from pipeflow.vault import Vault

from .conftest import COMPANY, DELIVERY, KEYS, OTHER_COMPANY, Sender, basic, delivery


async def test_a_delivery_is_stored_as_it_came_and_answered_200(sender: Sender) -> None:
    answer = await sender.deliver(DELIVERY)
    (event,) = await sender.events()
    assert answer.status == 200
    assert json.loads(event.raw) == DELIVERY
    assert (event.company, event.name, event.kind, event.record_id) == (COMPANY, "deal.updated", "deal", "20417")
    assert (event.source, event.received_at, event.status) == ("delivery", sender.now, "stored")
    assert event.delivery_id == DELIVERY["meta"]["id"]


async def test_a_delivery_that_comes_again_is_answered_200_and_stored_once(sender: Sender) -> None:
    assert (await sender.deliver(DELIVERY)).status == 200
    assert (await sender.deliver(delivery(attempt=2, webhook_id="770132"))).status == 200
    assert len(await sender.events()) == 1
    assert sender.app.receiver.counters == {"stored": 1, "known": 1}


async def test_the_same_event_id_in_two_companies_is_two_events(sender: Sender) -> None:
    await sender.deliver(DELIVERY)
    await sender.deliver(delivery(company_id=str(OTHER_COMPANY)), company=OTHER_COMPANY)
    assert {event.company for event in await sender.events()} == {COMPANY, OTHER_COMPANY}


@pytest.mark.parametrize("key", ["4410023", "", "nonsense", "4410021/", "04410021", "%34410021"])
async def test_a_key_of_no_connected_company_is_not_found(sender: Sender, key: str) -> None:
    headers = {"content-type": "application/json", "authorization": sender.authorization()}
    assert (await sender.call("POST", f"/webhooks/{key}", headers)).status == 404


async def test_a_company_connected_later_is_found_within_a_second(sender: Sender) -> None:
    late = delivery(company_id="77")
    assert (await sender.deliver(late, company=77)).status == 404
    await sender.store.save_account(Account(id=0, company=77, user_id=3, mode="token"))
    sender.now += 1.0
    assert (await sender.deliver(late, company=77)).status == 200


async def test_a_company_disconnected_later_is_forgotten_within_a_minute(sender: Sender) -> None:
    assert (await sender.deliver(DELIVERY)).status == 200
    (account, _) = await sender.store.accounts()
    await sender.store.save_account(Account(account.id, COMPANY, 1, "token", "disconnected", version=account.version))
    sender.now += 60.0
    assert (await sender.deliver(delivery(id="another"))).status == 404


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic cGlwZWZsb3c=",
        "Bearer abc",
        basic("pipeflow", "wrong"),
        basic("pipeflöw", "wröng"),
        "Basic \xff\xfe",
        "Basic gICA",
    ],
)
async def test_wrong_credentials_are_refused_and_nothing_is_stored(sender: Sender, authorization: str | None) -> None:
    answer = await sender.deliver(DELIVERY, authorization=authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert await sender.events() == []


async def test_credentials_of_another_company_are_refused(sender: Sender) -> None:
    assert (await sender.deliver(DELIVERY, authorization=sender.authorization(OTHER_COMPANY))).status == 401


async def test_refused_credentials_alarm_whoever_keeps_the_webhooks(sender: Sender) -> None:
    await sender.deliver(DELIVERY, authorization=basic("pipeflow", "wrong"))
    assert "webhooks:refused" in await sender.store.watermarks(COMPANY)
    assert await sender.store.watermarks(OTHER_COMPANY) == {}


async def test_credentials_of_an_older_key_are_accepted(sender: Sender) -> None:
    older = Vault(KEYS[1:]).webhook_credentials(COMPANY)
    assert (await sender.deliver(DELIVERY, authorization=basic(*older))).status == 200
    assert (await sender.deliver(delivery(id="second"))).status == 200


async def test_wrong_credentials_are_told_loudly_but_do_not_flood_the_log(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            await sender.deliver(DELIVERY, authorization=basic("pipeflow", "guess"))
        sender.now += 11
        await sender.deliver(DELIVERY, authorization=basic("pipeflow", "guess"))
    first, second = (record.getMessage() for record in caplog.records)
    assert str(COMPANY) in first
    assert "wrong credentials" in first
    assert "49 more" in second
    assert "guess" not in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_post_is_allowed(sender: Sender, method: str) -> None:
    answer = await sender.call(method, f"/webhooks/{COMPANY}")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON", None]
)
async def test_json_is_taken_with_and_without_charset_and_when_unnamed(
    sender: Sender, content_type: str | None
) -> None:
    assert (await sender.deliver(DELIVERY, content_type=content_type)).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_other_content_types_are_refused(sender: Sender, content_type: str) -> None:
    assert (await sender.deliver(DELIVERY, content_type=content_type)).status == 415
    assert await sender.events() == []


async def test_a_body_in_many_chunks_is_one_event(sender: Sender) -> None:
    raw = json.dumps(DELIVERY).encode()
    chunks = [{"body": raw[n : n + 7], "more_body": True} for n in range(0, len(raw), 7)]
    headers = {"content-type": "application/json", "authorization": sender.authorization()}
    answer = await sender.call("POST", f"/webhooks/{COMPANY}", headers, [*chunks, {"body": b""}])
    assert answer.status == 200
    assert (await sender.events())[0].raw == raw


async def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing(sender: Sender) -> None:
    headers = {"content-type": "application/json", "authorization": sender.authorization()}
    half = json.dumps(DELIVERY).encode()[:80]
    answer = await sender.call("POST", f"/webhooks/{COMPANY}", headers, [{"body": half, "more_body": True}])
    assert answer.status == 0
    assert await sender.events() == []
    assert sender.app.receiver.counters == {"gone": 1}


async def test_a_body_of_one_mebibyte_is_stored_and_one_byte_more_is_refused(sender: Sender) -> None:
    fitting = b"x" * 1024 * 1024
    assert (await sender.deliver(fitting)).status == 200
    assert (await sender.deliver(fitting + b"x")).status == 413
    assert len(await sender.events()) == 1


async def test_an_endless_body_is_refused_before_it_is_read_to_its_end(sender: Sender) -> None:
    headers = {"content-type": "application/json", "authorization": sender.authorization()}
    chunks = [{"body": b"x" * 65536, "more_body": True} for _ in range(80)]
    assert (await sender.call("POST", f"/webhooks/{COMPANY}", headers, chunks)).status == 413


@pytest.mark.parametrize("length", ["1048577", "99999999999999999999999999999", "1e9999999"])
async def test_a_length_beyond_the_limit_is_refused_unread(sender: Sender, length: str) -> None:
    assert (await sender.deliver(DELIVERY, content_length=length)).status == 413


async def test_a_delivery_that_names_another_company_is_refused(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert (await sender.deliver(delivery(company_id=str(OTHER_COMPANY)))).status == 403
    assert await sender.events() == []
    assert str(OTHER_COMPANY) in caplog.text


async def test_a_delivery_that_names_no_company_belongs_to_its_webhook(sender: Sender) -> None:
    assert (await sender.deliver(delivery(company_id=None))).status == 200
    assert (await sender.events())[0].company == COMPANY


async def test_a_store_that_cannot_commit_is_answered_503_so_that_pipedrive_sends_again(sender: Sender) -> None:
    await sender.deliver(DELIVERY)
    await sender.store.close()
    answer = await sender.deliver(delivery(id="later"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_unknown_kinds_and_actions_keep_their_names(sender: Sender) -> None:
    assert (await sender.deliver(delivery(entity="widget", action="polished"))).status == 200
    assert (await sender.events())[0].name == "widget.polished"


async def test_the_refusals_are_counted(sender: Sender) -> None:
    await sender.deliver(DELIVERY, authorization=None)
    await sender.deliver(DELIVERY, content_type="text/html")
    await sender.call("GET", f"/webhooks/{COMPANY}")
    assert sender.app.receiver.counters == {"refused_401": 1, "refused_415": 1, "refused_405": 1}
