"""Clocks are set: forward by a day, back by a day. Nothing waits a day for it, and nothing is tried at once for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeflow.events import Event
from tests.engine.test_worker import House, change, deliver, handler, working

pytestmark = pytest.mark.usefixtures("each_database")

DAY = 86400.0


@pytest.mark.parametrize("jump", [-DAY, DAY])
async def test_run_that_waits_for_its_retry_runs_on_time_though_the_clock_jumps(tmp_path: Path, jump: float) -> None:
    starts: list[str] = []

    async def fails_once(event: Event[Any]) -> None:
        starts.append(event.record_id)
        if len(starts) == 1:
            raise RuntimeError("no")

    house = House(tmp_path / "x.db", handler("a.h", fails_once))
    house.now = 10 * DAY
    async with working(house):
        await deliver(house.store, change(1))
        await house.until(lambda runs: len(starts) == 1 and runs[0].status == "pending")
        await house.advance(jump)
        await house.until(lambda runs: (runs[0].due_at or 0) <= house.now + 5)
        await house.advance(5)
        await house.until(lambda runs: runs[0].status == "succeeded")
    assert len(starts) == 2
