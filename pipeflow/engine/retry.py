"""What becomes of a run whose attempt raised: one pure function. May import errors alone; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeflow.errors import (
    Blocked,
    ConnectionFailed,
    DailyBudgetSpent,
    GiveUp,
    NotConnected,
    PaymentRequired,
    RateLimited,
    Retry,
    ServerError,
    Skip,
    StoreUnavailable,
    Unauthorized,
)

PROBE_SECONDS = 60.0
BLOCKED_SECONDS = 900.0
BUDGET_SECONDS = 3600.0
BURST_SECONDS = 10.0
STORE_SECONDS = 5.0
SHORTEST_PAUSE = 1.0
LONGEST_REASON = 1000

Verdict = Literal["retry", "skip", "dead", "pause", "ask", "released"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a run after its attempt raised.

    retry: try again `after` seconds, the attempt counts · skip: nothing to do · dead: not again by itself ·
    pause: trouble of the account, which waits `after` seconds and is then probed; the attempt does not count ·
    ask: trouble of the account only if `GET /v1/users/me` fails too, else what `decide` says with `asked` ·
    released: neither's fault, again after `after` seconds; the attempt does not count.
    """

    verdict: Verdict
    reason: str
    after: float = 0.0


def decide(error: BaseException, attempts: int, delays: Sequence[float], *, asked: bool = False) -> Decision:
    """Decide what becomes of a run.

    `attempts` counts the attempts before this one that counted; `delays` is the retry list in seconds; `asked` says
    that Pipedrive was asked who we are and answered, so that the account is in order.
    """
    cause = telling(error)
    reason = describe(cause)
    if isinstance(cause, Skip):
        return Decision("skip", reason)
    if isinstance(cause, GiveUp):
        return Decision("dead", reason)
    if isinstance(cause, StoreUnavailable):
        return Decision("released", reason, STORE_SECONDS)
    pause = _pause(cause)
    if pause is not None:
        return Decision("pause", reason, pause)
    if not asked and isinstance(cause, (Unauthorized, ConnectionFailed, ServerError)):
        return Decision("ask", reason, PROBE_SECONDS)
    if attempts >= len(delays):
        return Decision("dead", reason)
    wished = cause.after if isinstance(cause, Retry) else None
    return Decision("retry", reason, delays[attempts] if wished is None else max(0.0, wished))


def describe(error: BaseException) -> str:
    """Say in one line what was raised: the text of our own signals, else the class and its text."""
    text = " ".join(readable(_text(error)).split())
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}…"
    if isinstance(error, (Retry, Skip, GiveUp)):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def readable(text: str) -> str:
    """Take out of a text what no store keeps: halves of characters, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of a recipe may be as broken as its handler
        return "its text cannot be read"


def telling(error: BaseException) -> BaseException:
    """Find in a group the exception that decides: trouble of the account, then giving up, then any failure."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return min(_leaves(error), key=_rank)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from _leaves(inner)


def _rank(error: BaseException) -> int:
    if _pause(error) is not None:
        return 0
    if isinstance(error, (Unauthorized, ConnectionFailed)):
        return 1
    if isinstance(error, GiveUp):
        return 2
    if isinstance(error, Skip):
        return 5
    return 4 if isinstance(error, Retry) else 3


def _pause(error: BaseException) -> float | None:
    """Give the seconds for which the account must rest at once, whatever `users/me` would say."""
    if isinstance(error, (NotConnected, PaymentRequired)):
        return PROBE_SECONDS
    if isinstance(error, Blocked):
        return BLOCKED_SECONDS
    if isinstance(error, DailyBudgetSpent):
        return BUDGET_SECONDS
    if isinstance(error, RateLimited):
        return max(SHORTEST_PAUSE, BURST_SECONDS if error.retry_after is None else error.retry_after)
    return None
