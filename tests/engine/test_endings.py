"""Attempts end, whatever a handler does: it hangs, blocks a thread, exits, cancels itself, or cannot be stored."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeflow.client import Client
from pipeflow.engine.bounded import Bounded
from pipeflow.errors import Retry
from pipeflow.events import Event
from pipeflow.store.base import Run, RunFilter
from tests.engine.acting import acting, handler

pytestmark = pytest.mark.usefixtures("each_database")

EVENT = {"arguments": {"event": "event"}}


async def test_handler_that_hangs_fails_after_its_timeout(tmp_path: Path) -> None:
    async def hangs(event: Event[Any]) -> None:
        await asyncio.Event().wait()

    async with acting(tmp_path / "x.db", handler("a.hangs", hangs, timeout=0.05, **EVENT)) as house:
        await house.change(1)
        (run,) = await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
        (attempt,) = await house.store.attempts(run.id)
    assert "a.hangs was still at work after 0.05 s" in (attempt.error or "")


async def swallow() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


async def test_handler_that_swallows_its_cancellation_is_dropped() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01) as limit:
            await Bounded(swallow(), limit, patience=0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_handler_that_uses_timeouts_and_groups_of_its_own_is_left_alone() -> None:
    async def works() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        with suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                await asyncio.sleep(0)
                raise RuntimeError("ends the group")
        await asyncio.sleep(0.03)
        return "done"

    async with asyncio.timeout(60) as limit:
        assert await Bounded(works(), limit, patience=0.01) == "done"


async def test_plain_function_that_hangs_is_ended_in_its_thread_and_holds_no_slot(tmp_path: Path) -> None:
    ended = threading.Event()

    def hangs(event: Event[Any]) -> None:
        try:
            while event.record_id != "last":
                time.sleep(0.001)
        finally:
            ended.set()

    def works(event: Event[Any]) -> None: ...

    stuck = handler("a.hangs", hangs, timeout=0.05, **EVENT)
    async with acting(tmp_path / "x.db", stuck, handler("b.works", works, **EVENT)) as house:
        for deal in range(30):
            await house.change(deal)
        runs = await house.until(
            lambda runs: (
                len(runs) == 60
                and all(run.finished_at for run in runs if run.handler == "b.works")
                and all(run.attempts for run in runs if run.handler == "a.hangs")
            )
        )
        assert await asyncio.to_thread(ended.wait, 10)
    assert {run.status for run in runs if run.handler == "b.works"} == {"succeeded"}


@pytest.mark.parametrize("is_async", [True, False])
async def test_handler_that_exits_fails_its_run_alone(tmp_path: Path, is_async: bool) -> None:
    async def leaves(event: Event[Any]) -> None:
        raise SystemExit(3)

    def leaves_thread(event: Event[Any]) -> None:
        raise SystemExit(3)

    function: Any = leaves if is_async else leaves_thread
    async with acting(tmp_path / "x.db", handler("a.leaves", function, **EVENT)) as house:
        await house.change(1)
        (run,) = await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
    assert run.error == "SystemExit: 3"


async def test_handler_that_awaits_something_cancelled_fails_and_is_not_stuck(tmp_path: Path) -> None:
    async def cancels(event: Event[Any]) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    async with acting(tmp_path / "x.db", handler("a.cancels", cancels, **EVENT)) as house:
        await house.change(1)
        (run,) = await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
    assert run.status == "pending"


class _Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its text")


UNSPEAKABLE: dict[str, BaseException] = {
    "Broken": _Broken(),
    "half a character": ValueError("a \ud800"),
    "NUL": ValueError("a \0"),
    "endless": ValueError("x" * 1_000_000),
    "a group of them": ExceptionGroup("two", [_Broken(), ValueError("\udfff")]),
}


class _Outside(BaseException):
    """What is no Exception, as some libraries raise it to get past those who catch them all."""


@pytest.mark.parametrize("error", [_Outside("over it"), GeneratorExit()], ids=["of its own", "GeneratorExit"])
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_is_no_exception_still_ends_its_run(tmp_path: Path, error: BaseException, is_async: bool) -> None:
    async def raises(event: Event[Any]) -> None:
        raise error

    def raises_in_thread(event: Event[Any]) -> None:
        raise error

    function: Any = raises if is_async else raises_in_thread
    async with acting(tmp_path / "x.db", handler("a.raises", function, **EVENT)) as house:
        await house.change(1)
        (run,) = await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
    assert run.status == "pending"
    assert type(error).__name__ in (run.error or "")


@pytest.mark.parametrize("name", UNSPEAKABLE)
async def test_what_cannot_be_written_down_still_ends_its_run(tmp_path: Path, name: str) -> None:
    async def raises(event: Event[Any]) -> None:
        raise UNSPEAKABLE[name]

    async with acting(tmp_path / "x.db", handler("a.raises", raises, **EVENT)) as house:
        await house.change(1)
        (run,) = await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
        assert run.status == "pending"
        assert 0 < len(run.error or "") < 1100
        house.advance(5)
        await house.until(lambda runs: runs[0].attempts == 2)


@pytest.mark.parametrize("after", [float("nan"), float("inf"), "soon"])
async def test_retry_without_a_time_is_a_failure_that_says_so(tmp_path: Path, after: Any) -> None:
    async def again(event: Event[Any]) -> None:
        raise Retry(after=after)

    async with acting(tmp_path / "x.db", handler("a.again", again, **EVENT)) as house:
        await house.change(1)
        (run,) = await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
    assert "write seconds, such as Retry(after=60)" in (run.error or "")


async def test_poison_handler_is_dead_after_its_list_and_others_never_wait(tmp_path: Path) -> None:
    async def poison(event: Event[Any]) -> None:
        raise RecursionError("again")

    async def works(event: Event[Any]) -> None: ...

    both = handler("a.poison", poison, **EVENT), handler("b.works", works, **EVENT)
    async with acting(tmp_path / "x.db", *both) as house:
        await house.change(1)
        for number, delay in enumerate((5.0, 30.0), 1):
            await house.until(lambda runs, number=number: any(run.attempts == number for run in runs))
            house.advance(delay)
        runs = await house.at_rest()
    assert {run.handler: (run.status, run.attempts) for run in runs} == {
        "a.poison": ("dead", 3),
        "b.works": ("succeeded", 1),
    }


async def test_handler_runs_at_most_as_often_at_once_as_it_asked_for(tmp_path: Path) -> None:
    under_way, most = 0, 0
    go = asyncio.Event()

    async def counts(event: Event[Any]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go.wait()
        under_way -= 1

    async with acting(tmp_path / "x.db", handler("a.counts", counts, concurrency=2, **EVENT)) as house:
        for deal in range(10):
            await house.change(deal)
        await house.until(lambda runs: len(runs) == 10 and under_way == 2)
        go.set()
        await house.at_rest()
    assert most == 2


async def test_slow_handler_never_delays_another(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slow(event: Event[Any]) -> None:
        await go.wait()

    async def quick(event: Event[Any]) -> None: ...

    both = handler("a.slow", slow, **EVENT), handler("b.quick", quick, **EVENT)
    async with acting(tmp_path / "x.db", *both) as house:
        for deal in range(100):
            await house.change(deal)
        runs = await house.until(
            lambda runs: len(runs) == 200 and all(run.finished_at for run in runs if run.handler == "b.quick")
        )
        assert not any(run.finished_at for run in runs if run.handler == "a.slow")
        go.set()
        await house.at_rest()


async def test_what_was_done_once_is_not_done_again_by_a_retry(tmp_path: Path) -> None:
    tries: list[Any] = []

    async def once(event: Event[Any], client: Client, run: Run) -> None:
        made = await run.once("note", lambda: client.notes.add_note(content="Hello", deal_id=event.record.id))
        tries.append(made)
        if len(tries) == 1:
            raise RuntimeError("after the note")

    arguments = {"event": "event", "client": "client", "run": "run"}
    async with acting(tmp_path / "x.db", handler("a.once", once, arguments=arguments)) as house:
        await house.change(1)
        await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
        house.advance(5)
        await house.at_rest()
        assert [write[:2] for write in house.stub.writes] == [("POST", "/v1/notes")]
    assert [note.content for note in tries] == ["Hello", "Hello"]
    assert tries[0] == tries[1]


RESULTS: dict[str, tuple[Any, Any]] = {
    "a plain value": (5, 5),
    "odd keys": ({1: "a"}, {"1": "a"}),
    "a large number": (2**80, str(2**80)),
    "half a character": ("\ud800", "\ud800"),
    "records": ((SimpleNamespace(id=1),), ["namespace(id=1)"]),
    "a view": ({"a": 1}.keys(), ["a"]),
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_a_call_gave_is_not_called_again(tmp_path: Path, name: str, is_async: bool) -> None:
    result, kept = RESULTS[name]
    calls: list[int] = []
    given: list[Any] = []

    def call() -> Any:
        calls.append(1)
        return result

    async def call_later() -> Any:
        return call()

    async def once(event: Event[Any], run: Run) -> None:
        given.append(await run.once("thing", call_later if is_async else call))
        if len(given) == 1:
            raise RuntimeError("after it")

    arguments = {"event": "event", "run": "run"}
    async with acting(tmp_path / "x.db", handler("a.once", once, arguments=arguments)) as house:
        await house.change(1)
        await house.until(lambda runs: bool(runs) and runs[0].attempts == 1)
        house.advance(5)
        await house.at_rest()
    assert (len(calls), given[0], given[1]) == (1, result, kept)


async def test_replay_shares_nothing_with_what_it_replays(tmp_path: Path) -> None:
    async def once(event: Event[Any], client: Client, run: Run) -> None:
        await run.once("note", lambda: client.notes.add_note(content="Hello", deal_id=event.record.id))

    arguments = {"event": "event", "client": "client", "run": "run"}
    async with acting(tmp_path / "x.db", handler("a.once", once, arguments=arguments)) as house:
        await house.change(1)
        (run,) = await house.at_rest()
        await house.store.replay([run.id], house.now)
        house.advance(1)
        await house.until(lambda runs: len(runs) == 2 and all(run.finished_at for run in runs))
        assert len(house.stub.writes) == 2
        assert len(await house.store.runs(RunFilter(include_skipped=True))) == 2
