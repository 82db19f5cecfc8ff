"""How slots are shared: between companies, between handlers, and with little memory."""

from __future__ import annotations

from itertools import count

from pipeflow.engine.lanes import AHEAD, MOST, PLENTY, ROOM, Ready
from pipeflow.store.base import Run

numbers = count(1)


def run(company: int = 1, handler: str = "a.one", due_at: float = 0.0, priority: int = 0) -> Run:
    number = next(numbers)
    return Run(
        id=number,
        event_id=number,
        handler=handler,
        lane=f"{handler}|{number}",
        company=company,
        kind="deal",
        record_id=str(number),
        partition=0,
        status="pending",
        attempts=0,
        due_at=due_at,
        error=None,
        replay_of=None,
        created_at=0.0,
        finished_at=None,
        priority=priority,
    )


def started(ready: Ready, most: int = 100) -> list[Run]:
    """Take what may start now."""
    taken = [ready.take() for _ in range(most)]
    return [one for one in taken if one is not None]


def test_runs_start_by_priority_then_due_time() -> None:
    ready = Ready(10, {"a.one": None})
    bulk, late, early = run(priority=1), run(due_at=2.0), run(due_at=1.0)
    for one in (bulk, late, early):
        ready.offer(one)
    assert started(ready) == [early, late, bulk]


def test_a_company_with_fewer_slots_in_use_comes_first() -> None:
    ready = Ready(8, {"a.one": None})
    for _ in range(100):
        ready.offer(run(company=1))
    others = [run(company=2, due_at=9.0), run(company=3, due_at=9.0)]
    for other in others:
        ready.offer(other)
    first = started(ready)
    assert len(first) == 8
    assert set(others) <= set(first[:4])


def test_an_import_leaves_slots_to_companies_that_have_none() -> None:
    ready = Ready(20, {"a.one": None})
    for company in (2, 3, 4):
        ready.offer(run(company=company))
    for one in started(ready):
        ready.release(one)
    for _ in range(100):
        ready.offer(run(company=1))
    assert len(started(ready)) == 17
    quick = run(company=3, due_at=99.0)
    ready.offer(quick)
    assert ready.take() is quick


def test_an_import_leaves_slots_to_companies_that_had_no_run_yet() -> None:
    ready = Ready(20, {"a.one": None})
    ready.know([1, 2, 3, 4])
    for _ in range(100):
        ready.offer(run(company=1))
    assert len(started(ready)) == 17


def test_a_company_of_which_many_runs_wait_is_busy_until_few_are_left() -> None:
    ready = Ready(1, {"a.one": None, "a.two": None})
    for number in range(AHEAD):
        ready.offer(run(handler=f"a.{('one', 'two')[number % 2]}"))
        ready.offer(run(company=number + 2))
    assert ready.busy() == {1}
    ready.release(ready.take() or run())
    assert ready.busy() == set()


def test_a_company_alone_has_all_slots() -> None:
    ready = Ready(20, {"a.one": None})
    for _ in range(100):
        ready.offer(run())
    assert len(started(ready)) == 20


def test_a_handler_that_has_slots_leaves_one_to_a_handler_that_has_none() -> None:
    ready = Ready(4, {"slow.one": None, "quick.one": None})
    for _ in range(10):
        ready.offer(run(handler="slow.one"))
    assert len(started(ready)) == 3
    quick = run(handler="quick.one")
    ready.offer(quick)
    assert ready.take() is quick


def test_an_import_fills_its_own_room_and_nobody_elses() -> None:
    ready = Ready(1, {"a.one": None})
    for _ in range(ROOM):
        assert ready.offer(run(company=1))
    assert not ready.offer(run(company=1))
    assert ready.offer(run(company=2))
    assert ready.plenty() == {(1, "a.one", 0): ROOM}


def test_more_is_fetched_once_few_of_those_that_fit_are_left() -> None:
    ready = Ready(ROOM, {"a.one": None})
    assert ready.hungry()
    for _ in range(ROOM + 1):
        ready.offer(run())
    started(ready, ROOM - PLENTY)
    assert not ready.hungry()
    started(ready, 1)
    assert ready.hungry()


def test_what_is_not_fetched_as_enough_of_it_waits_is_fetched_once_few_are_left() -> None:
    ready = Ready(ROOM, {"a.one": None, "a.two": None})
    for _ in range(PLENTY):
        ready.offer(run(priority=1))
    ready.offer(run())
    ready.offer(run(handler="a.two"))
    assert ready.plenty() == {(1, "a.one", 1): PLENTY}
    assert not ready.hungry()
    started(ready, 3)
    assert ready.hungry()


def test_memory_is_bounded_and_every_company_gets_in() -> None:
    ready = Ready(1, {"a.one": None})
    companies = MOST // ROOM
    for company in range(companies):
        for _ in range(ROOM):
            ready.offer(run(company=company))
    assert len(ready) == MOST
    assert ready.offer(run(company=companies))
    assert not ready.offer(run(company=companies))


def test_dropped_runs_can_be_offered_again() -> None:
    ready = Ready(1, {"a.one": None})
    mine, other = run(company=1), run(company=2)
    ready.offer(mine)
    ready.offer(other)
    ready.drop(1)
    assert len(ready) == 1
    assert ready.offer(mine)


def test_of_a_thousand_waiting_companies_each_gets_a_slot_before_any_gets_two() -> None:
    ready = Ready(50, {"a.one": None})
    for number in range(2000):
        ready.offer(run(company=number % 1000))
    seen: list[int] = []
    while len(seen) < 1000:
        batch = started(ready)
        seen += [one.company for one in batch]
        for one in batch:
            ready.release(one)
    assert len(set(seen[:1000])) == 1000
