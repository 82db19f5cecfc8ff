"""A loop through another integration is stopped and shown; busy records are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeflow.client import Client
from pipeflow.events import Event
from pipeflow.store.base import Run
from tests.engine.acting import Acting, acting, handler

pytestmark = pytest.mark.usefixtures("each_database")

WORTH = [0]


async def writes(event: Event[Any], client: Client) -> None:
    WORTH[0] += 1
    await client.deals.update_deal(event.record.id, value=WORTH[0])


async def reads(event: Event[Any], client: Client) -> None:
    await client.deals.get_deal(event.record.id)


async def ping_pong(house: Acting, times: int, deal: int = 1, pause: float = 0.5) -> list[Run]:
    """Have another integration answer each of our writes."""
    for number in range(times):
        ended = len([run for run in await house.runs() if run.finished_at is not None])
        await house.change(deal, title=f"Answer {number}", source="api", user=9)
        await house.until(lambda runs, ended=ended: _has_moved(runs, ended))
        house.advance(pause)
    return await house.runs()


def _has_moved(runs: list[Run], ended: int) -> bool:
    return any(run.parked for run in runs) or len([run for run in runs if run.finished_at is not None]) > ended


async def test_lane_whose_every_write_is_answered_is_parked_and_said_loudly(tmp_path: Path) -> None:
    async with acting(tmp_path / "x.db", handler("a.writes", writes)) as house:
        runs = await ping_pong(house, 30)
        parked = [run for run in runs if run.parked]
        assert len(parked) == 1
        assert len(house.stub.writes) == 21
        assert any("parked" in notice and f"release {parked[0].id}" in notice for notice in house.notices)


async def test_parked_lane_waits_while_other_records_go_on(tmp_path: Path) -> None:
    async with acting(tmp_path / "x.db", handler("a.writes", writes)) as house:
        await ping_pong(house, 25)
        await house.change(2)
        runs = await house.until(lambda runs: any(run.record_id == "2" and run.finished_at for run in runs))
    assert all(
        run.status == "pending" for run in runs if run.record_id == "1" and run.id > 21 and run.finished_at is None
    )


async def test_released_lane_goes_on_where_it_stood(tmp_path: Path) -> None:
    async with acting(tmp_path / "x.db", handler("a.writes", writes)) as house:
        runs = await ping_pong(house, 25)
        (parked,) = [run for run in runs if run.parked]
        await house.store.release_runs([parked.id], house.now)
        house.advance(1)
        ended = await house.at_rest()
    assert {run.status for run in ended} == {"succeeded"}


async def test_slow_answers_and_handlers_that_only_read_blow_no_fuse(tmp_path: Path) -> None:
    async with acting(tmp_path / "x.db", handler("a.writes", writes), handler("b.reads", reads)) as house:
        runs = await ping_pong(house, 30, pause=4.0)
        assert not any(run.parked for run in runs)


async def test_burst_that_was_there_before_the_first_write_blows_no_fuse(tmp_path: Path) -> None:
    async with acting(tmp_path / "x.db", handler("a.writes", writes)) as house:
        await house.store.pause(_everything())
        for number in range(50):
            await house.change(1, title=f"Imported {number}")
        house.now += 1
        await house.store.resume(_everything())
        house.advance(1)
        runs = await house.until(lambda runs: len(runs) == 50 and all(run.finished_at for run in runs))
    assert {run.status for run in runs} == {"succeeded"}


def _everything() -> Any:
    from pipeflow.store.base import Pause

    return Pause("handler", handler="a.writes")
