"""Which error an answer of Pipedrive's stands for, and what to do about it. Imports errors and the catalog."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from pipeflow import errors
from pipeflow.catalog import Operation, operation

if TYPE_CHECKING:
    from pipeflow.client.answers import Response

SHORTEST_WAIT = 2.0
LONGEST_RESET = 10.0
"""What `x-ratelimit-reset` may add to a wait: its unit is nowhere documented."""
DAILY_RESET = 300.0
"""A window that opens only after so many seconds is the day's."""

_BY_STATUS: Mapping[int, type[errors.ResponseError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    402: errors.PaymentRequired,
    403: errors.Forbidden,
    404: errors.NotFound,
    410: errors.Gone,
    422: errors.Invalid,
}
_NEXT_STEP: Mapping[int, str] = {
    400: "Correct the arguments that it names.",
    401: "Check the API token, or connect the account again.",
    402: "Open the company's Pipedrive account again (trial ended or unpaid).",
    403: "The account's user, plan or app may not do this.",
    404: "There is no such record, or the account's user may not see it.",
    409: "It is there already.",
    410: "It was deleted for good.",
    415: "The company's plan or settings do not have this feature.",
    422: "Pipedrive understood it and will not do it: mind the limits of the plan.",
}
_CONTACT_SYNC = frozenset({"notes", "im", "birthday", "job_title", "postal_address"})
_PLAN = re.compile(r"\b(limit|capping|upgrade|plan)\b", re.IGNORECASE)
_DAILY = "x-daily-ratelimit-token-remaining"


def fail(response: Response) -> NoReturn:
    """Raise the error of an answer whose status is no success."""
    asked, status = response.operation, response.status
    body = read_body(response.content)
    details: dict[str, Any] = {
        "method": asked.method,
        "path": response.path,
        "status": status,
        "body": body,
        "headers": response.headers,
    }
    what = f"{asked.method} {response.path} answered {status}: {said_in(body)}"
    if status == 403:
        _refuse(what, body, response, details)
    if status == 429:
        _limit(what, response.headers, details)
    if status >= 500:
        raise errors.ServerError(f"{what} Pipedrive has trouble; try again later.", **details)
    if asked.retired is not None and status in (404, 405, 410):
        kind = _BY_STATUS.get(status, errors.ResponseError)
        raise kind(f"{what} Pipedrive retired {asked.attribute}: {instead_of(asked)}.", **details)
    if status < 400:
        raise errors.ResponseError(f"{what} The API is not at this address: check PIPEDRIVE_API_URL.", **details)
    kind = _BY_STATUS.get(status, errors.ResponseError)
    raise kind(f"{what} {_NEXT_STEP.get(status, '')}".rstrip(), **details)


def instead_of(retired: Operation) -> str:
    """Say what replaces a retired operation."""
    return f"use client.{operation(retired.retired).attribute}" if retired.retired else "nothing replaces it"


def _refuse(what: str, body: Any, response: Response, details: dict[str, Any]) -> NoReturn:
    """Tell the reasons of a 403 apart: Cloudflare, scope, plan, Contact Sync, permission."""
    asked, said = response.operation, said_in(body)
    code = str(body.get("code") or "") if isinstance(body, dict) else ""
    if "html" in response.headers.get("content-type", "") or response.content.lstrip()[:1] == b"<":
        short = f"{asked.method} {response.path} answered 403 with a web page"
        raise errors.Blocked(f"{short}: Cloudflare blocks this account; send nothing for 15 minutes.", **details)
    if "scope" in said.lower():
        wanted = " or ".join(asked.scopes) or "another scope"
        next_step = f"The app needs the scope {wanted}: tick it in Developer Hub, then connect the account again."
        raise errors.ScopeMissing(f"{what} {next_step}", scopes=asked.scopes, **details)
    if code.startswith("feature_capping") or _PLAN.search(said):
        next_step = "The company's plan allows no more of it: remove some, or upgrade the plan."
        raise errors.PlanLimit(f"{what} {next_step}", code=code, **details)
    fields = sorted(_CONTACT_SYNC & response.sent) if "/persons" in asked.path else []
    if fields or "contact sync" in said.lower():
        next_step = (
            f"Leave out {', '.join(fields) or 'these fields'}: they need Contact Sync, which the user has not on."
        )
        raise errors.ContactSyncMissing(f"{what} {next_step}", fields=tuple(fields), **details)
    raise errors.Forbidden(f"{what} {_NEXT_STEP[403]}", **details)


def _limit(what: str, headers: Mapping[str, str], details: dict[str, Any]) -> NoReturn:
    if daily_budget_spent(headers):
        next_step = "The company's API tokens of today are spent; they come back around midnight UTC."
        raise errors.DailyBudgetSpent(f"{what} {next_step}", **details)
    wait = wait_of(headers)
    raise errors.RateLimited(f"{what} Wait {wait:g} s.", retry_after=wait, **details)


def read_body(content: bytes) -> Any:
    """Read a body as JSON, else as text."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def said_in(body: Any) -> str:
    """Find the words in one of the error forms that Pipedrive uses; a sentence, with a full stop."""
    said, more = "" if body is None else str(body)[:200], None
    if isinstance(body, dict):
        said, more = str(body.get("error") or body.get("message") or body.get("errors") or ""), body.get("error_info")
    text = f"{said} ({more})" if said and more and more != said else said or "no reason given"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def wait_of(headers: Mapping[str, str]) -> float:
    """Say how many seconds to wait after a refusal; `retry-after` may be seconds or a date."""
    reset = _seconds(headers.get("x-ratelimit-reset", ""))
    return max(SHORTEST_WAIT, min(reset or 0.0, LONGEST_RESET), _retry_after(headers))


def daily_budget_spent(headers: Mapping[str, str]) -> bool:
    """Decide whether a 429 means that the tokens of the day are spent."""
    return headers.get(_DAILY) == "0" or (_seconds(headers.get("x-ratelimit-reset", "")) or 0.0) >= DAILY_RESET


def _retry_after(headers: Mapping[str, str]) -> float:
    from email.utils import parsedate_to_datetime

    text = headers.get("retry-after", "")
    seconds = _seconds(text)
    if seconds is not None or not text:
        return seconds or 0.0
    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return (until - now).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
