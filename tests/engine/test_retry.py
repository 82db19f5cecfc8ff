"""What becomes of a run, as a table: exception -> decision."""

import asyncio

import pytest

from pipeflow import errors
from pipeflow.engine.retry import Decision, decide

DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0)


@pytest.mark.parametrize(("attempts", "after"), list(enumerate(DELAYS)))
def test_a_failure_waits_for_the_next_delay_of_the_list(attempts: int, after: float) -> None:
    assert decide(ValueError("no"), attempts, DELAYS) == Decision("retry", "ValueError: no", after)


def test_the_seventh_failure_is_the_last() -> None:
    assert decide(ValueError("no"), 6, DELAYS) == Decision("dead", "ValueError: no")


TABLE = [
    (errors.Retry("busy", after=60), Decision("retry", "busy", 60.0)),
    (errors.Retry("busy", after=-1), Decision("retry", "busy", 0.0)),
    (errors.Retry("busy"), Decision("retry", "busy", 5.0)),
    (errors.Skip("no person"), Decision("skip", "no person")),
    (errors.GiveUp("no owner"), Decision("dead", "no owner")),
    (errors.NotConnected("gone"), Decision("pause", "NotConnected: gone", 60.0)),
    (errors.PaymentRequired("unpaid", status=402), Decision("pause", "PaymentRequired: unpaid", 60.0)),
    (errors.Blocked("html", status=403), Decision("pause", "Blocked: html", 900.0)),
    (errors.RateLimited("slow down", retry_after=17.0), Decision("pause", "RateLimited: slow down", 17.0)),
    (errors.RateLimited("slow down"), Decision("pause", "RateLimited: slow down", 10.0)),
    (errors.DailyBudgetSpent("spent", retry_after=3.0), Decision("pause", "DailyBudgetSpent: spent", 3600.0)),
    (errors.Unauthorized("who", status=401), Decision("ask", "Unauthorized: who", 60.0)),
    (errors.ConnectionFailed("refused"), Decision("ask", "ConnectionFailed: refused", 60.0)),
    (errors.TimedOut("slow"), Decision("ask", "TimedOut: slow", 60.0)),
    (errors.ServerError("down", status=503), Decision("ask", "ServerError: down", 60.0)),
    (errors.StoreUnavailable("disk full"), Decision("released", "StoreUnavailable: disk full", 5.0)),
    (errors.BadRequest("bad", status=400), Decision("retry", "BadRequest: bad", 5.0)),
    (errors.Forbidden("plan", status=403), Decision("retry", "Forbidden: plan", 5.0)),
    (errors.ScopeMissing("scope", status=403), Decision("retry", "ScopeMissing: scope", 5.0)),
    (errors.PlanLimit("plan", status=403), Decision("retry", "PlanLimit: plan", 5.0)),
    (errors.ContactSyncMissing("sync", status=403), Decision("retry", "ContactSyncMissing: sync", 5.0)),
    (errors.NotFound("gone", status=404), Decision("retry", "NotFound: gone", 5.0)),
    (errors.Gone("gone", status=410), Decision("retry", "Gone: gone", 5.0)),
    (errors.Invalid("no", status=422), Decision("retry", "Invalid: no", 5.0)),
    (errors.ResponseError("odd", status=418), Decision("retry", "ResponseError: odd", 5.0)),
    (errors.UnexpectedBody("html"), Decision("retry", "UnexpectedBody: html", 5.0)),
    (errors.ClientError("odd"), Decision("retry", "ClientError: odd", 5.0)),
    (errors.ConfigError("two fields"), Decision("retry", "ConfigError: two fields", 5.0)),
    (errors.SchemaOutdated("old"), Decision("retry", "SchemaOutdated: old", 5.0)),
    (errors.StoreError("odd"), Decision("retry", "StoreError: odd", 5.0)),
    (errors.BadCredentials("odd"), Decision("retry", "BadCredentials: odd", 5.0)),
    (errors.BodyTooLarge("odd"), Decision("retry", "BodyTooLarge: odd", 5.0)),
    (errors.WebhookError("odd"), Decision("retry", "WebhookError: odd", 5.0)),
    (errors.HandlerSignal("odd"), Decision("retry", "HandlerSignal: odd", 5.0)),
    (errors.PipeflowError("odd"), Decision("retry", "PipeflowError: odd", 5.0)),
    (TimeoutError(), Decision("retry", "TimeoutError", 5.0)),
    (asyncio.CancelledError(), Decision("retry", "CancelledError", 5.0)),
    (SystemExit(3), Decision("retry", "SystemExit: 3", 5.0)),
]


@pytest.mark.parametrize(("error", "decision"), TABLE, ids=lambda value: type(value).__name__)
def test_every_error_has_its_decision(error: BaseException, decision: Decision) -> None:
    assert decide(error, 0, DELAYS) == decision


def test_the_table_knows_every_class_of_the_tree() -> None:
    tree = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree == {type(error) for error, _ in TABLE} & tree


@pytest.mark.parametrize(
    "error", [errors.Unauthorized("who", status=401), errors.TimedOut("slow"), errors.ServerError("down", status=503)]
)
def test_trouble_that_is_not_the_accounts_uses_the_list(error: Exception) -> None:
    assert decide(error, 1, DELAYS, asked=True).verdict == "retry"
    assert decide(error, 6, DELAYS, asked=True).verdict == "dead"


def test_a_retry_on_purpose_ends_with_the_list() -> None:
    assert decide(errors.Retry(after=1), 6, DELAYS).verdict == "dead"


def test_an_account_in_trouble_never_makes_a_run_dead() -> None:
    assert decide(errors.NotConnected("gone"), 6, DELAYS).verdict == "pause"


def test_a_group_is_decided_by_its_most_telling_error() -> None:
    group = BaseExceptionGroup("two", [ValueError("no"), ExceptionGroup("inner", [errors.Blocked("html", status=403)])])
    assert decide(group, 0, DELAYS) == Decision("pause", "Blocked: html", 900.0)
    assert decide(ExceptionGroup("two", [errors.Skip("no"), ValueError("x")]), 0, DELAYS).verdict == "retry"
