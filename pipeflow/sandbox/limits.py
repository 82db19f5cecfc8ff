"""Rate limits: the rolling 2 seconds of a token, and a company's daily budget of API tokens.

The burst window runs on real time, however fast the sandbox's clock runs; the day is the sandbox's. Counting goes on
all the time; refusing is a fault that has to be asked for.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeflow.sandbox.company import Company
from pipeflow.sandbox.faults import Fault

WINDOW: Final = 2.0
BURST: Final = {"lite": (20, 80), "growth": (40, 160), "premium": (100, 400), "ultimate": (120, 480)}
MULTIPLIER: Final = {"lite": 1, "growth": 2, "premium": 5, "ultimate": 7}
SEARCH_LIMIT: Final = 10
HAMMERING: Final = 20
MOST_WINDOWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request passes (`refused` is None), and the headers that tell of the limits."""

    refused: Literal["burst", "daily", "blocked"] | None
    headers: dict[str, str]


class Limits:
    """Counts requests per token and API tokens per company; `now` replaces real time, for tests."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._windows: dict[str, deque[float]] = {}
        self._spent: dict[str, tuple[str, int]] = {}
        self._refused: Counter[str] = Counter()

    def check(
        self, company: Company, token: str, cost: int, faults: Mapping[str, Fault], *, oauth: bool, search: bool
    ) -> Verdict:
        """Count a request, or refuse it where a fault says that limits are enforced."""
        limit = (faults["burst"].limit if "burst" in faults else None) or BURST[company.plan][oauth]
        now = self._now()
        if len(self._windows) > MOST_WINDOWS:
            self._windows = {key: one for key, one in self._windows.items() if one and one[-1] > now - WINDOW}
        window, searches = self._window(token, now), self._window(f"search/{token}", now)
        if self._blocked(token, faults):
            return Verdict("blocked", {})
        if "429" in faults:
            headers = self._headers(company, faults, limit, 0, now, window)
            return Verdict("burst", headers | _after(faults["429"].retry_after))
        if "burst" in faults and (full := _full(window, limit, searches if search else deque())) is not None:
            self._refused[token] += 1
            headers = self._headers(company, faults, limit, 0, now, full)
            return Verdict("burst", headers | _after(headers["x-ratelimit-reset"]))
        self._refused.pop(token, None)
        window.append(now)
        if search:
            searches.append(now)
        headers = self._headers(company, faults, limit, limit - len(window), now, window)
        if "daily" in faults or ("budget" in faults and self._left(company, faults) < cost):
            return Verdict("daily", _spent_headers(headers))
        self._spend(company, cost)
        if "x-daily-ratelimit-token-remaining" in headers:
            headers["x-daily-ratelimit-token-remaining"] = str(self._left_told(company, faults))
        return Verdict(None, headers)

    def _window(self, name: str, now: float) -> deque[float]:
        window = self._windows.setdefault(name, deque())
        while window and window[0] <= now - WINDOW:
            window.popleft()
        return window

    def _blocked(self, token: str, faults: Mapping[str, Fault]) -> bool:
        return "block" in faults and self._refused[token] >= (faults["block"].limit or HAMMERING)

    # The day's budget

    def _budget(self, company: Company, faults: Mapping[str, Fault]) -> int:
        own = faults["budget"].limit if "budget" in faults else None
        return own or 30_000 * MULTIPLIER[company.plan] * max(1, len(company.users))

    def _left(self, company: Company, faults: Mapping[str, Fault]) -> int:
        day, spent = self._spent.get(company.domain, ("", 0))
        return self._budget(company, faults) - (spent if day == company.clock.stamp()[:10] else 0)

    def _left_told(self, company: Company, faults: Mapping[str, Fault]) -> int:
        # Nothing left may be said only where it is enforced.
        return max(0 if "budget" in faults else 1, self._left(company, faults))

    def _spend(self, company: Company, cost: int) -> None:
        today = company.clock.stamp()[:10]
        day, spent = self._spent.get(company.domain, ("", 0))
        self._spent[company.domain] = (today, (spent if day == today else 0) + cost)

    # Headers

    def _headers(
        self,
        company: Company,
        faults: Mapping[str, Fault],
        limit: int,
        left: int,
        now: float,
        window: deque[float],
    ) -> dict[str, str]:
        wait = WINDOW - (now - window[0]) if window else WINDOW
        headers: dict[str, Any] = {
            "x-ratelimit-limit": limit,
            "x-ratelimit-remaining": max(0, left),
            "x-ratelimit-reset": max(1, -int(-wait // 1)),
        }
        if "no_daily_headers" not in faults:
            headers["x-daily-ratelimit-token-limit"] = self._budget(company, faults)
            headers["x-daily-ratelimit-token-remaining"] = self._left_told(company, faults)
        return {name: str(value) for name, value in headers.items()}


def _full(window: deque[float], limit: int, searches: deque[float]) -> deque[float] | None:
    """Give the window that is full, None if there is room."""
    if len(window) >= limit:
        return window
    return searches if len(searches) >= SEARCH_LIMIT else None


def _after(wait: str | None) -> dict[str, str]:
    return {"retry-after": wait} if wait else {}


def _spent_headers(headers: dict[str, str]) -> dict[str, str]:
    """Say that the day is spent, with a time to wait that misleads."""
    if "x-daily-ratelimit-token-remaining" in headers:
        headers["x-daily-ratelimit-token-remaining"] = "0"
    return headers | {"retry-after": "3"}
