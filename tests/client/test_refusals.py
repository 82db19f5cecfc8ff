"""What Pipedrive's refusals become: an error that says what happened, to what, and what to do next."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import httpx
import pytest

from pipeflow import errors
from pipeflow.client import Client, Configuration
from pipeflow.client.transport import Transport
from tests.client.network import Network

KEY = "api-t0ken-that-nobody-may-see"


def client_of(answer: httpx.Response) -> Client:
    return Network(answer).client(Configuration(api_key=KEY, base_url="https://pd.test"))


def refused(status: int, body: Any = None, **headers: str) -> Client:
    return client_of(httpx.Response(status, json=body if body is not None else {"error": "no"}, headers=headers))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Unauthorized),
        (402, errors.PaymentRequired),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.ResponseError),
        (410, errors.Gone),
        (415, errors.ResponseError),
        (422, errors.Invalid),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (301, errors.ResponseError),
    ],
)
async def test_each_status_is_an_error_of_its_own_with_the_evidence(
    status: int, kind: type[errors.ResponseError]
) -> None:
    headers = {"x-correlation-id": "c-42", "X-Thing": "kept"}
    body = {"success": False, "error": "what happened", "error_info": "more about it"}
    with pytest.raises(kind, match=r"PATCH /api/v2/deals/7 answered \d+: what happened \(more about it\)\.") as caught:
        await client_of(httpx.Response(status, json=body, headers=headers)).deals.update_deal(7, title="x")
    error = caught.value
    assert type(error) is kind
    assert (error.method, error.path, error.status, error.body) == ("PATCH", "/api/v2/deals/7", status, body)
    assert (error.request_id, error.headers["x-thing"]) == ("c-42", "kept")
    assert error.account


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"success": True, "message": "token expired"}, "token expired."),
        ({"status": False, "error": "Unknown method ."}, "Unknown method ."),
        ({"success": False, "error": "Validation failed: title", "code": "ERR_SCHEMA_VALIDATION_FAILED"}, "title."),
        ({"success": False, "error": "same", "error_info": "same"}, "same."),
        ({}, "no reason given."),
        ([1, 2], "[1, 2]."),
        (None, "no reason given."),
    ],
)
async def test_every_form_of_error_body_is_read(body: Any, said: str) -> None:
    with pytest.raises(errors.ResponseError) as caught:
        await client_of(httpx.Response(409, json=body)).call_logs.get_call_log("x")
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"plain words", b"{", b"<html>"])
async def test_body_that_is_no_json_is_kept_as_text(content: bytes) -> None:
    with pytest.raises(errors.ServerError) as caught:
        await client_of(httpx.Response(502, content=content)).deals.get_deal(1)
    assert caught.value.body == content.decode(errors="replace")


async def test_missing_scope_names_the_scopes_of_which_one_is_needed() -> None:
    with pytest.raises(errors.ScopeMissing, match=r"deals:full.*Developer Hub") as caught:
        await refused(403, {"success": False, "error": "Scope and URL mismatch"}).deals.add_deal(title="x")
    assert "deals:full" in caught.value.scopes


async def test_limit_of_the_plan_is_told_by_its_code_or_its_words() -> None:
    body = {"success": False, "error": "You have reached it", "code": "feature_capping_deals_limit"}
    with pytest.raises(errors.PlanLimit, match="upgrade") as caught:
        await refused(403, body).deals.add_deal(title="x")
    assert caught.value.code == "feature_capping_deals_limit"
    with pytest.raises(errors.PlanLimit):
        await refused(403, {"error": "Custom fields limit exceeded"}).deal_fields.add_deal_field(
            field_name="x", field_type="text"
        )


async def test_fields_that_need_contact_sync_are_named() -> None:
    body = {"success": False, "error": "You do not have permission"}
    with pytest.raises(errors.ContactSyncMissing, match="Leave out job_title") as caught:
        await refused(403, body).persons.update_person(1, name="Ann", job_title="CTO")
    assert caught.value.fields == ("job_title",)


async def test_plain_refusal_blames_none_of_them() -> None:
    with pytest.raises(errors.Forbidden) as caught:
        await refused(403, {"success": False, "error": "Forbidden"}).persons.update_person(1, name="Ann")
    assert type(caught.value) is errors.Forbidden


@pytest.mark.parametrize("content_type", ["text/html; charset=UTF-8", "application/json", ""])
async def test_web_page_with_403_is_cloudflare_whatever_it_says_it_is(content_type: str) -> None:
    page = httpx.Response(403, content=b"<!DOCTYPE html><html>", headers={"content-type": content_type})
    with pytest.raises(errors.Blocked, match="Cloudflare"):
        await client_of(page).deals.get_deal(1)


@pytest.mark.parametrize("status", [404, 405, 410])
async def test_retired_operation_names_what_replaces_it(status: int) -> None:
    client = refused(status, {"status": False, "error": "Unknown method ."})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(errors.ResponseError, match=r"use client\.v2\.deals\.get_deal\."):
            await client.v1.deals.get_deal(1)
        with pytest.raises(errors.ResponseError, match="nothing replaces it"):
            await client.v1.subscriptions.get_subscription(1)


@pytest.mark.parametrize("content", [b'{"success": false, "error": "quietly"}', b'{ "error":"x","success" :false}'])
async def test_failure_with_status_200_is_an_error(content: bytes) -> None:
    with pytest.raises(errors.UnexpectedBody) as caught:
        await client_of(httpx.Response(200, content=content)).deals.get_deal(1)
    assert caught.value.text == content.decode()
    assert caught.value.account


@pytest.mark.parametrize(
    "content", [b'{"success": true, "data": {"id": 1', b"<html>", b'{"success": true, "data": "\xff"}']
)
async def test_an_answer_that_is_no_json_is_an_error_that_keeps_it_and_says_whose_it_was(content: bytes) -> None:
    for call in (lambda client: client.deals.get_deal(1), lambda client: client.deals.update_deal(1, title="x")):
        with pytest.raises(errors.UnexpectedBody, match="a body that is no JSON") as caught:
            await call(client_of(httpx.Response(200, content=content)))
        assert caught.value.text == content.decode(errors="replace")
        assert caught.value.account


@pytest.mark.parametrize("root", ["http://[::1", "ftp://pd.test", "no address"])
async def test_a_root_that_is_no_address_cannot_be_reached(root: str) -> None:
    async def at_once(_: float) -> None: ...

    async with Client(transport=Transport(Configuration(api_key=KEY, base_url=root), sleep=at_once)) as client:
        with pytest.raises(errors.ConnectionFailed, match="check the network and PIPEDRIVE_API_URL"):
            await client.deals.get_deal(1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
async def test_no_secret_stands_in_an_error_log_url_or_repr(status: int, caplog: pytest.LogCaptureFixture) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"error": f"headers were {dict(request.headers)}"})

    caplog.set_level(logging.DEBUG)
    for credentials in ({"api_key": KEY}, {"access_token": KEY}):
        network = Network(echo)
        configuration = Configuration(**credentials, base_url="https://pd.test")
        client = network.client(configuration)
        with client.capture() as answers, pytest.raises(errors.ResponseError) as caught:
            await client.deals.delete_deal(1)
        error = caught.value
        shown = [repr(error), str(error), str(error.body), str(error.headers), str(error.account), repr(vars(error))]
        shown += [repr(answers), repr(configuration), configuration.account, repr(client), repr(client.transport)]
        shown += [str(request.url) for request in network.sent]
        assert [text for text in [*shown, caplog.text] if KEY in text] == []
        assert any(KEY in value for request in network.sent for value in request.headers.values())


@pytest.mark.parametrize("token", ["t\u00f6ken-of-mine", "token-of\nmine", "\u201ctoken-of-mine\u201d"])
def test_a_token_that_no_header_can_carry_is_refused_before_anything_is_sent_and_not_shown(token: str) -> None:
    for make in (lambda: Configuration(api_key=token), lambda: Configuration(access_token=token)):
        with pytest.raises(ValueError, match="has characters that no token of Pipedrive has") as caught:
            make()
        assert "mine" not in str(caught.value)
