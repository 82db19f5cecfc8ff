"""Keeps an account under Pipedrive's rate limits before they are hit, and counts what its calls cost. Imports errors
and the catalog; no I/O but waiting.

Pipedrive allows so many requests in any two seconds for each token (searches ten of them), and so many API tokens a
day for each company. One governor per account and process sees every request: it lets them out in the order they came,
those of background work last, and stops them all where Pipedrive says stop.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right, insort
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pipeflow import errors
from pipeflow.catalog import Operation

WINDOW = 2.0
SEARCHES = 10
LOWEST = 20
"""The smallest plan's burst limit: assumed until an answer tells the account's own."""
TRAVEL = 0.1
"""A request counts at Pipedrive at most so long after it was written, as far as that varies; a twentieth of a window.
Twice as long after each refusal that was not foreseen."""
LONGEST_TRAVEL = 0.8
REMEMBERED = 0.5
LONGEST_WAIT = 10.0
"""A burst refusal is waited out up to so many seconds, else raised."""
BLOCKED_SECONDS = 900.0
SPENT_SECONDS = 60.0
DAY = 86_400
SHARE = 4
"""Background work leaves a quarter of the burst window to handlers, and the last tenth of the day's tokens."""
RESERVE = 10
TICK = 0.001
IDLE_SECONDS = 3600.0
MANY = 1000

_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Governor]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of an account's limits now.

    `burst_limit` is how many requests Pipedrive allows in two seconds (None: it names none), `burst_left` how many of
    them could go now, `waiting` how many calls stand in line. `spent_today` counts the API tokens of this process's
    calls since midnight UTC; `daily_limit` and `daily_left` are the company's, where Pipedrive told them.
    `closed_for` is how many seconds nothing will be sent, because Pipedrive said so.
    """

    burst_limit: int | None
    burst_left: int | None
    waiting: int
    spent_today: int
    daily_limit: int | None
    daily_left: int | None
    closed_for: float


@dataclass(frozen=True, slots=True)
class Call:
    """What asks for its turn: `path` is filled in; `background` work yields to the rest."""

    operation: Operation
    path: str
    background: bool = False

    @property
    def is_search(self) -> bool:
        """Whether the stricter limit of searches holds as well."""
        return self.operation.path.endswith("/search") or "/itemSearch" in self.operation.path


class Window:
    """A rolling window: requests on their way, and those that Pipedrive has counted and not yet forgotten."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._flying = 0
        self._ends: list[float] = []
        self._others = 0
        self._others_end = 0.0

    def used(self, now: float) -> int:
        """Say how many requests are in the window, those of others with the same token included."""
        del self._ends[: bisect_right(self._ends, now - REMEMBERED)]
        others = self._others if now < self._others_end else 0
        return self._flying + len(self._ends) - bisect_right(self._ends, now) + others

    def pause(self, now: float, spare: int = 0) -> float:
        """Give the seconds until there may be room beside `spare`; infinite where only an answer can tell."""
        if self.limit is None or self.used(now) < max(1, self.limit - spare):
            return 0.0
        ends = self._ends[bisect_right(self._ends, now) :][:1]
        if now < self._others_end:
            ends.append(self._others_end)
        return min(ends) - now if ends else math.inf

    def start(self) -> None:
        """Let a request go."""
        self._flying += 1

    def count(self, at: float) -> None:
        """A request that was on its way counted at Pipedrive, at the latest then."""
        self._flying -= 1
        insort(self._ends, at + WINDOW)

    def recount(self, at: float, earlier: float) -> None:
        """A request counted earlier than thought."""
        position = bisect_right(self._ends, at + WINDOW) - 1
        if position >= 0 and self._ends[position] == at + WINDOW:
            del self._ends[position]
            insort(self._ends, earlier + WINDOW)

    def forget(self) -> None:
        """A request never left."""
        self._flying -= 1

    def compare(self, now: float, limit: int, left: int) -> None:
        """Take from an answer what the limit is, and how much of it others use."""
        self.limit = limit
        self.used(now)
        self._others = max(0, limit - left - self._flying - len(self._ends))
        self._others_end = now + WINDOW if self._others else 0.0


class Turn:
    """One request that may be sent now. Say when it `left`, and then that it was `answered` or is `over`."""

    __slots__ = ("_at", "_call", "_governor", "_windows")

    def __init__(self, governor: Governor, call: Call, windows: tuple[Window, ...]) -> None:
        self._governor = governor
        self._call = call
        self._windows = windows
        self._at: float | None = None

    def left(self) -> None:
        """The request was written whole: Pipedrive counts it within the time it travels."""
        if self._at is None:
            self._count(self._governor.clock() + self._governor.travel)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer is here, so that the request counted before."""
        now = self._governor.clock()
        if self._at is None:
            self._count(now)
        elif now < self._at:
            for window in self._windows:
                window.recount(self._at, now)
        self._governor.learn(self._call, status, headers)

    def over(self, *, sent: bool) -> None:
        """There will be no answer; `sent` is False where the request provably never left."""
        if self._at is not None:
            return
        if sent:
            self._count(self._governor.clock())
            return
        for window in self._windows:
            window.forget()
        self._governor.refund(self._call)

    def _count(self, at: float) -> None:
        self._at = at
        for window in self._windows:
            window.count(at)
        self._governor.wake()


class Governor:
    """Gives every request of one account its turn. `clock` (monotonic), `sleep` and `wall` are replaced by tests."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self.travel = TRAVEL
        self._wall = wall
        self._burst = Window(LOWEST)
        self._searches = Window(SEARCHES)
        self._lines = (asyncio.Lock(), asyncio.Lock())
        self._search_lines = (asyncio.Lock(), asyncio.Lock())
        self._waiting = 0
        self._handlers = 0
        self._resting: set[asyncio.Future[None]] = set()
        self._closed: tuple[float, errors.ResponseError] | None = None
        self._known = False
        self._day = -1
        self._spent = 0
        self._daily_limit: int | None = None
        self._daily_left: int | None = None
        self.used_at = clock()

    @property
    def limits(self) -> Limits:
        """What is known now."""
        now = self.clock()
        self._today()
        limit = self._burst.limit
        return Limits(
            burst_limit=limit,
            burst_left=None if limit is None else max(0, limit - self._burst.used(now)),
            waiting=self._waiting,
            spent_today=self._spent,
            daily_limit=self._daily_limit,
            daily_left=self._daily_left,
            closed_for=max(0.0, self._closed[0] - now) if self._closed else 0.0,
        )

    async def admit(self, call: Call) -> Turn:
        """Wait until the request may go.

        Raises RateLimited, DailyBudgetSpent or Blocked at once where Pipedrive has said that it may not for longer.
        """
        self._waiting += 1
        try:
            if not call.is_search:
                return await self._stand_in_line(call)
            # Searches wait for their own limit by themselves, so that they hold up nobody else.
            async with self._search_lines[call.background]:
                while (pause := self._searches.pause(self.clock())) > 0:
                    await self._rest(pause)
                return await self._stand_in_line(call)
        finally:
            self._waiting -= 1

    async def _stand_in_line(self, call: Call) -> Turn:
        self._handlers += not call.background
        try:
            async with self._lines[call.background]:
                while (pause := self._pause(call)) > 0:
                    await self._rest(pause)
                return self._enter(call)
        finally:
            self._handlers -= not call.background

    def close(self, error: errors.ResponseError, seconds: float) -> None:
        """Send nothing for so long: Pipedrive refused with `error`."""
        now, until = self.clock(), self.clock() + seconds
        known = self._closed if self._closed is not None and self._closed[0] > now else None
        if type(error) is errors.RateLimited:
            self._known = True  # that there is a limit
            if known is None:
                self.travel = min(2 * self.travel, LONGEST_TRAVEL)
        passing = known is not None and type(known[1]) is errors.RateLimited
        if known is None or known[0] < until or (passing and type(error) is not errors.RateLimited):
            self._closed = (until, error)
        if self._burst.limit is None:
            self._burst.limit = LOWEST

    def learn(self, call: Call, status: int, headers: Mapping[str, str]) -> None:
        """Read an answer's headers: the burst limit, what is left of it, and the day's budget."""
        limit, left = _number(headers, "x-ratelimit-limit"), _number(headers, "x-ratelimit-remaining")
        if limit and not call.is_search:
            self._burst.compare(self.clock(), limit, limit if left is None else left)
            self._known = True
        elif limit is None and not self._known and status < 300:
            self._burst.limit = None  # whoever answers there names no limit, so that it has none
        daily = _number(headers, "x-daily-ratelimit-token-limit")
        self._daily_limit = self._daily_limit if daily is None else daily
        daily_left = _number(headers, "x-daily-ratelimit-token-remaining")
        self._daily_left = self._daily_left if daily_left is None else daily_left
        self.wake()

    def refund(self, call: Call) -> None:
        """A request never left, so that it cost nothing."""
        self._spent = max(0, self._spent - call.operation.cost)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits for room look again."""
        for resting in self._resting:
            if not resting.done():
                resting.set_result(None)

    def _enter(self, call: Call) -> Turn:
        windows = (self._burst, self._searches) if call.is_search else (self._burst,)
        for window in windows:
            window.start()
        self.used_at = self.clock()
        self._today()
        self._spent += call.operation.cost
        if self._daily_left is not None:
            self._daily_left = max(0, self._daily_left - call.operation.cost)
        return Turn(self, call, windows)

    def _pause(self, call: Call) -> float:
        now = self.clock()
        closed = self._closed_for(call, now)
        if closed > 0:
            return closed
        if call.background and self._reserved():
            raise self._refusal(errors.DailyBudgetSpent, call, "the last of today's API tokens are left to handlers")
        spare = (self._burst.limit or 0) // SHARE + self._handlers if call.background else 0
        searches = self._searches.pause(now) if call.is_search else 0.0
        return max(self._burst.pause(now, spare), searches)

    def _closed_for(self, call: Call, now: float) -> float:
        if self._closed is None:
            return 0.0
        until, error = self._closed
        if until <= now:
            self._closed = None
            return 0.0
        if type(error) is errors.RateLimited and until - now <= LONGEST_WAIT:
            return until - now
        why = {
            errors.Blocked: "Cloudflare blocks this account",
            errors.DailyBudgetSpent: "today's API tokens are spent",
        }
        said = why.get(type(error), "this account has sent too many requests")
        raise self._refusal(
            type(error), call, f"{said}, and nothing is sent for {until - now:.0f} s", error, until - now
        )

    def _refusal(
        self,
        kind: type[errors.ResponseError],
        call: Call,
        why: str,
        like: errors.ResponseError | None = None,
        seconds: float | None = None,
    ) -> errors.ResponseError:
        method = call.operation.method
        details: dict[str, Any] = {"method": method, "path": call.path, "status": like.status if like else 429}
        if like is not None:
            details |= {"body": like.body, "headers": like.headers}
        if kind is errors.RateLimited:
            details["retry_after"] = seconds
        return kind(f"{method} {call.path} was not sent: {why}.", **details)

    def _reserved(self) -> bool:
        self._today()
        if self._daily_limit is None or self._daily_left is None:
            return False
        return self._daily_left * RESERVE < self._daily_limit

    def _today(self) -> None:
        """Begin a new count at midnight UTC; Pipedrive does not say whose midnight it takes."""
        day = int(self._wall() // DAY)
        if day != self._day:
            self._day, self._spent, self._daily_left = day, 0, None

    async def _rest(self, seconds: float) -> None:
        """Rest so long, or until something has changed."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.add(woken)
        waits: set[asyncio.Future[None]] = {woken}
        if seconds < math.inf:
            waits.add(asyncio.ensure_future(self.sleep(max(seconds, TICK))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._resting.discard(woken)
            for wait in waits:
                wait.cancel()


def governor_of(account: str) -> Governor:
    """Give the governor of an account, the same for all clients of this event loop."""
    known = _shared.setdefault(asyncio.get_running_loop(), {})
    governor = known.get(account)
    if governor is None:
        if len(known) >= MANY:
            _forget_idle(known)
        governor = known[account] = Governor()
    return governor


def _forget_idle(known: dict[str, Governor]) -> None:
    for account, governor in list(known.items()):
        if governor.clock() - governor.used_at > IDLE_SECONDS:
            del known[account]


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None
