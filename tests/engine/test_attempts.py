"""How attempts begin and end in the store: through its trouble, at the end of the process, and side by side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeflow.engine.attempts import BACK_OFF
from pipeflow.errors import StoreUnavailable
from pipeflow.events import Event
from pipeflow.store.base import Store

from .test_worker import House as House
from .test_worker import change, deliver, handler, working

pytestmark = pytest.mark.usefixtures("each_database")


def fail_at_first(monkeypatch: pytest.MonkeyPatch, store: Store, method: str) -> list[int]:
    """Have the first call of a store's method fail; gives a list that grows with each call."""
    calls: list[int] = []
    true = getattr(store, method)

    async def once(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise StoreUnavailable("the disk is full")
        return await true(*arguments, **more)

    monkeypatch.setattr(store, method, once)
    return calls


async def test_end_that_could_not_be_stored_is_stored_later_and_the_handler_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def works(event: Event[Any]) -> None:
        seen.append(event.record_id)

    monkeypatch.setattr("pipeflow.engine.attempts.BACK_OFF", BACK_OFF / 100)
    async with working(House(tmp_path / "x.db", handler("a.works", works))) as house:
        calls = fail_at_first(monkeypatch, house.store, "close_attempt")
        await deliver(house.store, change(1))
        await house.until(lambda runs: [run.status for run in runs] == ["succeeded"])
    assert seen == ["1"]
    assert len(calls) == 2


async def test_attempt_whose_beginning_could_not_be_stored_is_made_later_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    async def works(event: Event[Any]) -> None:
        seen.append(1)

    async with working(House(tmp_path / "x.db", handler("a.works", works))) as house:
        fail_at_first(monkeypatch, house.store, "open_attempt")
        await deliver(house.store, change(1))
        async with asyncio.timeout(10):
            while not seen:
                await house.advance(1)
                await asyncio.sleep(0.02)
        (run,) = await house.until(lambda runs: [run.status for run in runs] == ["succeeded"])
    assert (len(seen), run.attempts) == (1, 1)


async def test_process_that_ends_while_a_beginning_is_being_stored_hands_the_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    begun = asyncio.Event()

    async def works(event: Event[Any]) -> None:
        seen.append(1)

    async with working(House(tmp_path / "x.db", handler("a.works", works))) as house:
        true = house.store.open_attempt

        async def slowly(*arguments: Any, **more: Any) -> Any:
            begun.set()
            await asyncio.sleep(0.2)
            return await true(*arguments, **more)

        monkeypatch.setattr(house.store, "open_attempt", slowly)
        await deliver(house.store, change(1))
        await begun.wait()
        await house.engine.stop(0)
        (run,) = await house.runs()
    assert (seen, run.status, run.attempts) == ([], "pending", 0)


async def test_handlers_of_one_event_do_not_see_what_another_made_of_it(tmp_path: Path) -> None:
    titles: list[Any] = []

    async def changes(event: Event[Any]) -> None:
        titles.append(event.record.title)
        event.record.title = "mine now"
        event.before["stage_id"] = 99  # type: ignore[index]
        event.changes.clear()  # type: ignore[attr-defined]

    names = [f"a.changes_{number}" for number in range(3)]
    async with working(House(tmp_path / "x.db", *(handler(name, changes) for name in names))) as house:
        await deliver(house.store, change(1))
        await house.until(lambda runs: len(runs) == 3 and all(run.finished_at or run.error for run in runs))
    assert titles == ["Deal 1"] * 3
