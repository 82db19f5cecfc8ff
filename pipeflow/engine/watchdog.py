"""Notices when something holds the event loop, and says which line of which recipe does. Imports the registry.

An `async def` that computes for long, or calls what blocks, stops everything else in the process while it does: other
handlers, and the deliveries that Pipedrive waits ten seconds for. Nothing can take the loop from it; it can be named.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeflow.registry import Registry

PATIENCE = 1.0
SURE = 5.0

log = logging.getLogger("pipeflow.engine")


@contextmanager
def watching(registry: Registry, patience: float = PATIENCE) -> Iterator[None]:
    """Watch the running loop from a thread: whoever holds it for more than `patience` seconds is named, once each time.

    with watching(registry):
        ...
    """
    files = {handler.file for handler in registry.handlers.values()} | {job.file for job in registry.jobs.values()}
    watch = _Watch(files, patience)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class _Watch:
    """The loop notes that it goes round; the thread looks whether it has."""

    def __init__(self, files: set[str], patience: float) -> None:
        self._files = files
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._round_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="pipeflow-watchdog", daemon=True)

    def start(self) -> None:
        self._go_round()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def _go_round(self) -> None:
        self._round_at = time.monotonic()
        self._timer = self._loop.call_later(self._patience / 4, self._go_round)

    def _look(self) -> None:
        told = 0.0
        while not self._ended.wait(self._patience / 4):
            round_at = self._round_at
            late = time.monotonic() - round_at
            if round_at == told or late < self._patience:
                continue
            who = self._who()
            # Without a recipe in sight it may as well be a busy machine, for a while.
            if who or late > SURE * self._patience:
                told = round_at
                log.warning(
                    "%s has held the event loop for %.3g s: no handler runs meanwhile, no delivery is taken. "
                    "Write `def` instead of `async def`, or await what takes long.",
                    who or "Something",
                    late,
                )

    def _who(self) -> str:
        frames = _outwards(sys._current_frames().get(self._loop_thread))
        recipe = next((one for one in frames if one.f_code.co_filename in self._files), None)
        if recipe is None:
            return ""
        return f"{Path(recipe.f_code.co_filename).name}:{recipe.f_lineno} ({recipe.f_code.co_name})"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
