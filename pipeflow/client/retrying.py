"""What becomes of a call that did not work: tried again, waited for, or raised. Imports errors, limits and answers."""

from __future__ import annotations

import random
from typing import Any

from pipeflow.catalog import Operation
from pipeflow.client.answers import Response, check
from pipeflow.client.limits import BLOCKED_SECONDS, LONGEST_WAIT, SPENT_SECONDS, WINDOW, Governor
from pipeflow.client.refusals import wait_of
from pipeflow.errors import Blocked, ClientError, ConnectionFailed, DailyBudgetSpent, RateLimited, ServerError

TRIES = 3
SPREAD = 0.25
REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})


def back_off(tries: int) -> float:
    """Give the seconds to wait before another try; spread, so that many do not come back at once."""
    return float(0.25 * 4 ** (tries - 1) * random.uniform(0.5, 1.5))  # noqa: S311  # no secret


def judge(response: Response, governor: Governor) -> None:
    """Raise the error that an answer stands for, and stop the whole account where it says so."""
    try:
        check(response)
    except Blocked as error:
        governor.close(error, BLOCKED_SECONDS)
        raise
    except DailyBudgetSpent as error:
        governor.close(error, SPENT_SECONDS)
        raise
    except RateLimited as error:
        error.retry_after = error.retry_after or WINDOW
        governor.close(error, error.retry_after + random.uniform(0, SPREAD))  # noqa: S311  # spreads tries, no secret
        raise


def may_wait(error: RateLimited, waited: float, governor: Governor) -> float:
    """Give the seconds that a refusal is waited for; raise what may not be waited for."""
    pause = error.retry_after
    if isinstance(error, DailyBudgetSpent) or pause is None:
        raise error
    if waited and error.headers.get("x-ratelimit-remaining", "0") != "0":
        text = f"{error} It was waited for, and there is room in the burst limit: the day's API tokens are spent."
        details: dict[str, Any] = {"status": error.status, "body": error.body, "headers": error.headers}
        spent = DailyBudgetSpent(text, method=error.method, path=error.path, **details)
        governor.close(spent, SPENT_SECONDS)
        raise spent from error
    if waited + pause > LONGEST_WAIT:
        raise error
    return pause


def asked_for(error: ClientError) -> float:
    """Give the pause that a 503 asks for, as far as it is waited."""
    headers = error.headers if isinstance(error, ServerError) else {}
    return min(LONGEST_WAIT, wait_of(headers)) if "retry-after" in headers else 0.0


def may_repeat(operation: Operation, error: ClientError) -> bool:
    if operation.method in REPEATABLE:
        return True
    return isinstance(error, ConnectionFailed) and not error.sent
