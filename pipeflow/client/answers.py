"""Answers as they came, and the errors that some of them stand for. Imports errors and the catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from pipeflow import errors
from pipeflow.catalog import Operation

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
    401: "Check the API token, or connect the account again.",
    402: "Open the company's Pipedrive account again (trial ended or unpaid).",
    404: "There is no such record, or the account's user may not see it.",
}
# Reads are large and typed in one pass: one that begins so is not parsed to see whether it says that it failed.
_FINE = re.compile(rb'\s*{\s*"success"\s*:\s*true\b')
_DAILY = "x-daily-ratelimit-token-remaining"
LONGEST_RESET = 300.0


@dataclass(frozen=True)
class Response:
    """One answer of Pipedrive: `headers` have lower-case names, `content` is the body as it came."""

    operation: Operation
    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @cached_property
    def envelope(self) -> Any:
        """The body as JSON; None where there is none. Raises UnexpectedBody where it cannot be read."""
        if not self.content.strip():
            return None
        try:
            return json.loads(self.content)
        except ValueError:
            text = self.content.decode(errors="replace")
            raise errors.UnexpectedBody(
                f"{self.operation.method} {self.path} answered {self.status} with a body that is no JSON.",
                method=self.operation.method,
                path=self.path,
                status=self.status,
                text=text,
            ) from None

    @property
    def data(self) -> Any:
        """The data in the envelope, or the whole body where the operation has none."""
        body = self.envelope
        if self.operation.result == "bare" or not isinstance(body, dict):
            return body
        return body.get("data")

    def part(self, name: str) -> dict[str, Any]:
        """Give a mapping beside the data, such as `additional_data`; empty where there is none."""
        body = self.envelope
        found = body.get(name) if isinstance(body, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def items(self) -> list[Any]:
        """The elements of a list answer, wherever they stand in it."""
        data = self.data
        if isinstance(data, list):
            return data
        if not isinstance(data, dict):
            return []
        if isinstance(data.get("items"), list):
            return list(data["items"])
        return next((value for value in data.values() if isinstance(value, list)), [])


def check(response: Response) -> None:
    """Raise the error that the answer stands for, if any."""
    if response.status >= 300:
        _fail(response)
    if response.operation.result == "bytes" or (response.operation.method == "GET" and _FINE.match(response.content)):
        return
    body = response.envelope
    if isinstance(body, dict) and body.get("success") is False:
        raise errors.UnexpectedBody(
            f"{response.operation.method} {response.path} answered {response.status} but says it failed: "
            f"{said_in(body)}",
            method=response.operation.method,
            path=response.path,
            status=response.status,
            text=response.content.decode(errors="replace"),
        )


def _fail(response: Response) -> NoReturn:
    operation, status = response.operation, response.status
    body = read_body(response.content)
    details: dict[str, Any] = {
        "method": operation.method,
        "path": response.path,
        "status": status,
        "body": body,
        "headers": response.headers,
    }
    what = f"{operation.method} {response.path} answered {status}: {said_in(body)}"
    if status == 403:
        _refuse(what, operation, body, response, details)
    if status == 429:
        wait = wait_of(response.headers)
        if daily_budget_spent(response.headers):
            raise errors.DailyBudgetSpent(f"{what} The company's API tokens of today are spent.", **details)
        raise errors.RateLimited(f"{what} Wait {wait:g} s.", retry_after=wait, **details)
    if status >= 500:
        raise errors.ServerError(f"{what} Pipedrive has trouble; try again later.", **details)
    if operation.retired is not None and status in (404, 410):
        instead = f"use {operation.retired}" if operation.retired else "it has no replacement"
        raise _BY_STATUS[status](f"{what} Pipedrive retired {operation.attribute}: {instead}.", **details)
    kind = _BY_STATUS.get(status, errors.ResponseError)
    raise kind(f"{what} {_NEXT_STEP.get(status, '')}".rstrip(), **details)


def _refuse(what: str, operation: Operation, body: Any, response: Response, details: dict[str, Any]) -> NoReturn:
    if "html" in response.headers.get("content-type", ""):
        short = f"{operation.method} {response.path} answered 403 with a web page"
        raise errors.Blocked(f"{short}: Cloudflare blocks this account; send nothing for 15 minutes.", **details)
    if "scope" in said_in(body).lower():
        wanted = " or ".join(operation.scopes) or "another scope"
        raise errors.ScopeMissing(f"{what} The app needs the scope {wanted}.", scopes=operation.scopes, **details)
    raise errors.Forbidden(f"{what} The account's user, plan or app may not do this.", **details)


def read_body(content: bytes) -> Any:
    """Read a body as JSON, else as text."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def said_in(body: Any) -> str:
    """Find the words in one of the error forms that Pipedrive uses."""
    if isinstance(body, dict):
        said = body.get("error") or body.get("message") or body.get("errors") or "no reason given"
        more = body.get("error_info")
        return f"{said}" if not more or more == said else f"{said} ({more})"
    return str(body)[:200] or "no reason given"


def wait_of(headers: Mapping[str, str]) -> float:
    """Say how many seconds to wait after a 429."""
    from email.utils import parsedate_to_datetime

    waits = [2.0]
    for name in ("retry-after", "x-ratelimit-reset"):
        text = headers.get(name, "")
        try:
            waits.append(float(text))
        except ValueError:
            if name == "retry-after" and text and "date" in headers:
                pause = parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])
                waits.append(pause.total_seconds())
    return max(waits)


def daily_budget_spent(headers: Mapping[str, str]) -> bool:
    """Decide whether a 429 means that the tokens of the day are spent."""
    if headers.get(_DAILY) == "0":
        return True
    try:
        return float(headers.get("x-ratelimit-reset", "0")) >= LONGEST_RESET
    except ValueError:
        return False
