"""Limits the time of a handler, and drops a coroutine which swallows its cancellation. Imports nothing of ours.

A timeout cancels a handler once. One that catches that and goes on would hold its slot and its lane for ever; so it is
asked a second time, and then never stepped again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar, cast

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds a handler has to end once its time is up."""


class Limit:
    """A time limit on a coroutine; its timer is set when that first waits, as many a handler never does."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = asyncio.get_running_loop().time() + seconds
        self._timeout: asyncio.Timeout | None = None

    def expired(self) -> bool:
        """Say whether the time is up."""
        return self._timeout is not None and self._timeout.expired()

    async def hold(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await the coroutine; raises TimeoutError once its time is up."""
        try:
            waited_for = coroutine.send(None)
        except StopIteration as done:
            return cast("T", done.value)
        async with asyncio.timeout_at(self._ends_at) as self._timeout:
            return cast("T", await _Rest(coroutine, waited_for))


class _Rest:
    """Awaits a coroutine that has begun already and waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waited_for: Any) -> None:
        self._coroutine = coroutine
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waited_for = self._waited_for
        while True:
            error: BaseException | None = None
            try:
                yield waited_for
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - it is the coroutine's, which gets it
                error = raised
            try:
                waited_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as done:
                return done.value


class Bounded:
    """Awaits a coroutine under a timeout that it cannot ignore.

    async with asyncio.timeout(300) as limit:
        await Bounded(handler(), limit)
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], limit: asyncio.Timeout | Limit, *, patience: float = PATIENCE
    ) -> None:
        self._coroutine = coroutine
        self._limit = limit
        self._patience = patience
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._given_up = False

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        try:
            while True:
                try:
                    waited_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
                except StopIteration as done:
                    return done.value
                except GeneratorExit as left:
                    raise RuntimeError("it raised GeneratorExit") from left
                error = None
                try:
                    yield waited_for
                except asyncio.CancelledError as cancelled:
                    error = cancelled
                    self._count()
                except BaseException as raised:  # noqa: BLE001 - it is the coroutine's, which gets it
                    error = raised
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _count(self) -> None:
        """Ask again in a while where the time is up; raises CancelledError where that has been tried."""
        if self._given_up:
            if self._task is not None:
                self._task.uncancel()
            with suppress(Exception):
                self._coroutine.close()
            raise asyncio.CancelledError
        if self._limit.expired() and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        self._given_up = True
        if self._task is not None:
            self._task.cancel()
