"""Rate limits: the rolling 2 seconds of a token, and a company's daily budget of API tokens.

The burst window runs on real time, however fast the sandbox's clock runs; the day is the sandbox's.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from pipeflow.sandbox.company import Company
from pipeflow.sandbox.faults import Fault

WINDOW: Final = 2.0
BURST: Final = {"lite": (20, 80), "growth": (40, 160), "premium": (100, 400), "ultimate": (120, 480)}
MULTIPLIER: Final = {"lite": 1, "growth": 2, "premium": 5, "ultimate": 7}
SEARCH_LIMIT: Final = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request passes (`refused` is None, `burst` or `daily`), and the headers that tell of the limits."""

    refused: str | None
    headers: dict[str, str]


class Limits:
    """Counts requests per token and API tokens per company."""

    def __init__(self) -> None:
        self._windows: dict[str, deque[float]] = {}
        self._spent: dict[str, tuple[str, int]] = {}

    def check(
        self, company: Company, token: str, cost: int, faults: dict[str, Fault], *, oauth: bool, search: bool
    ) -> Verdict:
        """Count a request, or refuse it where a fault says that limits are enforced."""
        limit = (faults["burst"].limit if "burst" in faults else None) or BURST[company.plan][oauth]
        window, now = self._window(token), time.monotonic()
        while window and window[0] <= now - WINDOW:
            window.popleft()
        full = len(window) >= limit or (search and self._search_full(token, now))
        if full and "burst" in faults:
            reset = WINDOW - (now - window[0]) if window else WINDOW
            return Verdict(
                "burst", self._headers(company, faults, limit, 0) | {"retry-after": f"{max(1, round(reset))}"}
            )
        window.append(now)
        if search:
            self._window(f"search/{token}").append(now)
        if "daily" in faults or ("budget" in faults and self._left(company, faults) < cost):
            return Verdict("daily", self._spent_headers(company, faults, limit, len(window)))
        self._spend(company, cost)
        return Verdict(None, self._headers(company, faults, limit, limit - len(window)))

    def _window(self, token: str) -> deque[float]:
        return self._windows.setdefault(token, deque())

    def _search_full(self, token: str, now: float) -> bool:
        window = self._window(f"search/{token}")
        while window and window[0] <= now - WINDOW:
            window.popleft()
        return len(window) >= SEARCH_LIMIT

    def _budget(self, company: Company, faults: dict[str, Fault]) -> int:
        own = faults["budget"].limit if "budget" in faults else None
        return own or 30_000 * MULTIPLIER[company.plan] * max(1, len(company.users))

    def _left(self, company: Company, faults: dict[str, Fault]) -> int:
        day, spent = self._spent.get(company.domain, ("", 0))
        if day != company.clock.stamp()[:10]:
            spent = 0
        return self._budget(company, faults) - spent

    def _spend(self, company: Company, cost: int) -> None:
        today = company.clock.stamp()[:10]
        day, spent = self._spent.get(company.domain, ("", 0))
        self._spent[company.domain] = (today, (spent if day == today else 0) + cost)

    def _headers(self, company: Company, faults: dict[str, Fault], limit: int, left: int) -> dict[str, str]:
        headers: dict[str, Any] = {
            "x-ratelimit-limit": limit,
            "x-ratelimit-remaining": max(0, left),
            "x-ratelimit-reset": int(WINDOW),
        }
        if "no_daily_headers" not in faults:
            # Nothing left may be said only where it is enforced.
            left_today = max(0 if "budget" in faults else 1, self._left(company, faults))
            headers["x-daily-ratelimit-token-limit"] = self._budget(company, faults)
            headers["x-daily-ratelimit-token-remaining"] = left_today
        return {name: str(value) for name, value in headers.items()}

    def _spent_headers(self, company: Company, faults: dict[str, Fault], limit: int, used: int) -> dict[str, str]:
        headers = self._headers(company, faults, limit, limit - used) | {"retry-after": "3"}
        if "x-daily-ratelimit-token-remaining" in headers:
            headers["x-daily-ratelimit-token-remaining"] = "0"
        return headers
