"""The sandbox's time: it can run faster than ours, stand still and be moved. Imports nothing of ours."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Tell the sandbox's time and wake sleepers by it.

    `scale` is sandbox seconds per real second (0 stands still); `start` is the instant at which it begins.
    """

    def __init__(self, start: datetime | None = None, scale: float = 1.0) -> None:
        self._base = (start or datetime.now(UTC)).timestamp()
        self._real = time.monotonic()
        self._scale = scale
        self._moved = asyncio.Event()

    @property
    def scale(self) -> float:
        """Sandbox seconds per real second."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        if value < 0:
            raise ValueError("the clock's scale cannot be negative; give 0 to stop it")
        self._rebase(0.0)
        self._scale = value
        self._wake()

    def seconds(self) -> float:
        """Give the time as seconds since 1970."""
        return self._base + (time.monotonic() - self._real) * self._scale

    def now(self) -> datetime:
        """Give the time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.seconds(), UTC)

    def stamp(self) -> str:
        """Give the time as `2026-11-24T10:00:00.123Z`, the form in which the state keeps every time."""
        return stamp(self.now())

    def advance(self, seconds: float) -> None:
        """Move the clock on (or back) by `seconds`; whatever came due wakes at once."""
        self._rebase(seconds)
        self._wake()

    async def sleep(self, seconds: float) -> None:
        """Sleep `seconds` of sandbox time."""
        await self.sleep_until(self.seconds() + seconds)

    async def sleep_until(self, due: float) -> None:
        """Sleep until the sandbox's clock shows `due` (seconds since 1970)."""
        while (left := due - self.seconds()) > 0:
            moved = self._moved
            timeout = None if self._scale == 0 else left / self._scale
            try:
                await asyncio.wait_for(moved.wait(), timeout)
            except TimeoutError:
                continue

    def _rebase(self, by: float) -> None:
        self._base = self.seconds() + by
        self._real = time.monotonic()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def stamp(moment: datetime) -> str:
    """Write a moment in the state's form."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse(text: str) -> datetime:
    """Read any of Pipedrive's time forms as UTC; a ValueError says that it is none."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def shift(text: str, **by: float) -> str:
    """Move a time of the state by `by` (timedelta's arguments)."""
    return stamp(parse(text) + timedelta(**by))
