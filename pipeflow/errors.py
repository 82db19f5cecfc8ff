"""Every exception pipeflow raises. Imports nothing of ours.

PipeflowError
├── ConfigError                settings, patterns, recipes: found at start-up
├── WebhookError               what the receiver refuses
│   ├── BadCredentials
│   └── BodyTooLarge
├── ClientError                a call to Pipedrive
│   ├── ConnectionFailed
│   │   └── TimedOut
│   ├── ResponseError          any other 4xx is this class itself
│   │   ├── BadRequest 400 · Unauthorized 401 · PaymentRequired 402 · NotFound 404 · Gone 410 · Invalid 422
│   │   ├── Forbidden 403
│   │   │   ├── ScopeMissing
│   │   │   ├── PlanLimit
│   │   │   ├── ContactSyncMissing
│   │   │   └── Blocked        a Cloudflare HTML page
│   │   ├── RateLimited 429
│   │   │   └── DailyBudgetSpent
│   │   └── ServerError 5xx
│   ├── UnexpectedBody         a 2xx we could not read, or `success: false` in one
│   └── NotConnected           the account's authorization is gone
├── StoreError
│   ├── StoreUnavailable       try again
│   └── SchemaOutdated         run `pipeflow migrate`
└── HandlerSignal              raised by recipes on purpose
    ├── Retry
    ├── Skip
    └── GiveUp

A message says what happened, to what, and the next step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class PipeflowError(Exception):
    """Anything pipeflow raises on purpose."""


class ConfigError(PipeflowError):
    """A setting, pattern or recipe that cannot work; the message says where and what to write instead."""


class WebhookError(PipeflowError):
    """A delivery that the receiver refuses."""


class BadCredentials(WebhookError):
    """The delivery's Basic credentials are not the ones of its webhook."""


class BodyTooLarge(WebhookError):
    """The delivery is larger than 1 MiB."""


class ClientError(PipeflowError):
    """A call to Pipedrive that did not work.

    `method` and `path` say which call (the path filled in, never with secrets); `account` names the account, if known.
    """

    def __init__(self, message: str, *, method: str = "", path: str = "", account: str | None = None) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.account = account


class ConnectionFailed(ClientError):
    """Pipedrive could not be reached, or the connection broke.

    `sent` is False only where the request provably never left, so that even a POST may be repeated.
    """

    def __init__(
        self, message: str, *, method: str = "", path: str = "", account: str | None = None, sent: bool = True
    ) -> None:
        super().__init__(message, method=method, path=path, account=account)
        self.sent = sent


class TimedOut(ConnectionFailed):
    """Pipedrive did not answer in time; the request may have been carried out."""


class ResponseError(ClientError):
    """An answer with an error status.

    `status` is the HTTP status, `body` the parsed JSON or else the text, `request_id` the `x-correlation-id`
    header (quote it to Pipedrive's support), `headers` the answer's headers with lower-case names.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        account: str | None = None,
        status: int = 0,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, method=method, path=path, account=account)
        self.status = status
        self.body = body
        self.headers: Mapping[str, str] = headers or {}
        self.request_id = self.headers.get("x-correlation-id")


class BadRequest(ResponseError):
    """400: Pipedrive found the request malformed or a value invalid."""


class Unauthorized(ResponseError):
    """401: the API token or access token is not accepted."""


class PaymentRequired(ResponseError):
    """402: the company's Pipedrive account is not open (trial ended or unpaid)."""


class Forbidden(ResponseError):
    """403: not allowed for this user, plan or app."""


class ScopeMissing(Forbidden):
    """403: the app lacks an OAuth scope; `scopes` are the ones of which any would do."""

    def __init__(self, message: str, *, scopes: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.scopes = scopes


class PlanLimit(Forbidden):
    """403: the company's plan allows no more of this; `code` is Pipedrive's (`feature_capping_deals_limit`), if any."""

    def __init__(self, message: str, *, code: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.code = code


class ContactSyncMissing(Forbidden):
    """403: `fields` of a person that only users with Contact Sync may write."""

    def __init__(self, message: str, *, fields: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.fields = fields


class Blocked(Forbidden):
    """403 with an HTML page: Cloudflare stops this account's traffic for a while."""


class NotFound(ResponseError):
    """404: no such record, or the account's user may not see it."""


class Gone(ResponseError):
    """410: deleted for good, or an operation that Pipedrive removed."""


class Invalid(ResponseError):
    """422: understood but refused, such as a forty-first webhook."""


class RateLimited(ResponseError):
    """429: too many requests; `retry_after` is the time to wait in seconds, if known."""

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class DailyBudgetSpent(RateLimited):
    """429: the company's API tokens of the day are spent."""


class ServerError(ResponseError):
    """5xx: Pipedrive failed or is in maintenance."""


class UnexpectedBody(ClientError):
    """A 2xx answer that could not be read, or one that says `success: false`; `text` is what came."""

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        account: str | None = None,
        status: int = 200,
        text: str = "",
    ) -> None:
        super().__init__(message, method=method, path=path, account=account)
        self.status = status
        self.text = text


class NotConnected(ClientError):
    """The account's authorization is gone; it pauses until somebody connects it again."""


class StoreError(PipeflowError):
    """The store refused or failed."""


class StoreUnavailable(StoreError):
    """The store cannot commit at the moment (disk full, locked, away); try again."""


class SchemaOutdated(StoreError):
    """The store was made by another release; run `pipeflow migrate`."""


class HandlerSignal(PipeflowError):
    """Raised by a handler on purpose to say what shall become of its run."""


class Retry(HandlerSignal):
    """Try this run again after `after` seconds; without it, after the next delay of the retry list.

    raise Retry(after=60)
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        if after is not None and not (isinstance(after, int | float) and math.isfinite(after)):
            raise ValueError(f"Retry(after={after!r}): write seconds, such as Retry(after=60).")
        super().__init__(reason or "the handler asked for another try")
        self.after = after


class Skip(HandlerSignal):
    """Close this run as skipped: there was nothing to do.

    raise Skip("no person on this deal")
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler skipped this event")


class GiveUp(HandlerSignal):
    """Close this run as dead at once: another try would not help.

    raise GiveUp("this deal has no owner")
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler gave up")
