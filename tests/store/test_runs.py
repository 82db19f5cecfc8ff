"""Lanes keep their order, attempts are recorded, and what may start is found."""

from __future__ import annotations

import asyncio

from pipeflow.store.base import ALL, RunFilter, Store
from tests.store.builders import (
    NOW,
    add,
    closing,
    dispatch,
    failing,
    finish,
    make_run,
    new_event,
)


async def due(store: Store, now: float = NOW) -> list[int]:
    return [run.id for run in await store.due_runs(ALL, now, limit=100)]


async def test_only_the_first_run_of_a_lane_may_start(store: Store) -> None:
    first, second, third = [await make_run(store, 1) for _ in range(3)]
    assert [first.due_at, second.due_at, third.due_at] == [NOW, None, None]
    assert await due(store) == [first.id]
    assert await store.open_attempt(second.id, ALL, NOW) is None


async def test_runs_dispatched_together_keep_the_order_of_their_events(store: Store) -> None:
    ids = [await add(store, new_event(record)) for record in (1, 2, 1, 1)]
    runs = await dispatch(store, *ids)
    assert [run.due_at for run in runs] == [NOW, NOW, None, None]
    following = await finish(store, runs[0], now=NOW + 1)
    assert following is not None
    assert (following.id, following.due_at) == (runs[2].id, NOW + 1)


async def test_end_of_a_run_makes_the_next_of_its_lane_due(store: Store) -> None:
    first, second, third = [await make_run(store, 1) for _ in range(3)]
    other = await make_run(store, 2)
    for run, following in ((first, second), (second, third)):
        made_due = await finish(store, run, now=NOW + 5)
        assert made_due is not None
        assert made_due.id == following.id
        assert await due(store, NOW + 5) == [other.id, following.id]
    assert await finish(store, third, now=NOW + 5) is None


async def test_each_end_a_run_can_have_lets_the_lane_go_on(store: Store) -> None:
    for status, outcome in (("succeeded", "succeeded"), ("skipped", "skipped"), ("dead", "gave_up")):
        first, second = await make_run(store, status), await make_run(store, status)
        await store.open_attempt(first.id, ALL, NOW)
        following = await store.close_attempt(closing(first, status=status, outcome=outcome), ALL, NOW)
        assert following is not None
        assert following.id == second.id


async def test_run_that_waits_for_its_retry_holds_its_lane_and_no_other(store: Store) -> None:
    first, second, other = await make_run(store, 1), await make_run(store, 1), await make_run(store, 2)
    await store.open_attempt(first.id, ALL, NOW)
    assert await store.close_attempt(failing(first, NOW + 30), ALL, NOW) is None
    assert await due(store, NOW + 29) == [other.id]
    assert await due(store, NOW + 30) == [other.id, first.id]
    following = await finish(store, first, now=NOW + 30)
    assert following is not None
    assert following.id == second.id


async def test_unordered_runs_wait_for_nobody(store: Store) -> None:
    runs = [await make_run(store, 1, ordered=False) for _ in range(3)]
    assert await due(store) == [run.id for run in runs]
    assert await finish(store, runs[0]) is None


async def test_lanes_end_side_by_side(store: Store) -> None:
    firsts = [await make_run(store, number) for number in range(50)]
    seconds = [await make_run(store, number) for number in range(50)]
    await asyncio.gather(*(store.open_attempt(run.id, ALL, NOW) for run in firsts))
    following = await asyncio.gather(*(store.close_attempt(closing(run), ALL, NOW) for run in firsts))
    assert [run.id if run else None for run in following] == [run.id for run in seconds]


async def test_priority_never_changes_the_order_of_a_lane(store: Store) -> None:
    bulk, interactive = await make_run(store, 1, bulk=True), await make_run(store, 1)
    assert await due(store) == [bulk.id]
    following = await finish(store, bulk)
    assert following is not None
    assert following.id == interactive.id


async def test_due_runs_come_by_priority_then_time_then_id(store: Store) -> None:
    late = await make_run(store, 1, now=NOW + 2)
    bulk = await make_run(store, 2, now=NOW, bulk=True)
    early, same = await make_run(store, 3, now=NOW + 1), await make_run(store, 4, now=NOW + 1)
    assert await due(store, NOW + 2) == [early.id, same.id, late.id, bulk.id]
    assert await due(store, NOW + 1) == [early.id, same.id, bulk.id]
    assert [run.id for run in await store.due_runs(ALL, NOW + 2, limit=2)] == [early.id, same.id]


async def test_due_runs_are_those_of_the_partitions_asked_for(store: Store) -> None:
    mine, _ = await make_run(store, 1, partition=3), await make_run(store, 2, partition=4)
    assert [run.id for run in await store.due_runs({3: 0}, NOW, limit=10)] == [mine.id]
    assert await store.open_attempt(mine.id, {4: 0}, NOW) is None


async def test_next_due_time_is_that_of_the_first_run_which_waits_for_one(store: Store) -> None:
    assert await store.next_due_at(ALL) is None
    first, bulk = await make_run(store, 1), await make_run(store, 2, bulk=True)
    for run, due_at in ((first, NOW + 60), (bulk, NOW + 30)):
        await store.open_attempt(run.id, ALL, NOW)
        await store.close_attempt(failing(run, due_at), ALL, NOW)
    assert await store.next_due_at(ALL) == NOW + 30
    assert await store.next_due_at({first.partition: 0, bulk.partition: 0}) == NOW + 30


async def test_attempt_is_recorded_before_and_closed_after(store: Store) -> None:
    run = await make_run(store)
    attempt = await store.open_attempt(run.id, ALL, NOW + 1, alone=True)
    assert attempt is not None
    assert (attempt.number, attempt.started_at, attempt.finished_at, attempt.alone) == (1, NOW + 1, None, True)
    assert await store.attempts(run.id) == [attempt]
    (shown,) = await store.runs(RunFilter(status="running"))
    assert (shown.id, shown.due_at) == (run.id, None)
    failed = closing(run, outcome="failed", status="pending", due_at=NOW + 9, error="ValueError: no", traceback="…")
    await store.close_attempt(failed, ALL, NOW + 2)
    (closed,) = await store.attempts(run.id)
    assert (closed.finished_at, closed.outcome, closed.counted) == (NOW + 2, "failed", True)
    assert (closed.error, closed.traceback) == ("ValueError: no", "…")
    (shown,) = await store.runs(RunFilter())
    assert (shown.status, shown.attempts, shown.due_at, shown.error) == ("pending", 1, NOW + 9, "ValueError: no")


async def test_attempt_that_does_not_count_leaves_the_retry_list_alone(store: Store) -> None:
    run = await make_run(store)
    for outcome in ("paused", "released"):
        await store.open_attempt(run.id, ALL, NOW)
        await store.close_attempt(closing(run, outcome=outcome, status="pending", counted=False), ALL, NOW)
    (shown,) = await store.runs(RunFilter())
    assert (shown.attempts, shown.due_at) == (0, NOW)
    assert [attempt.number for attempt in await store.attempts(run.id)] == [1, 2]


async def test_finished_run_is_kept_with_its_error_and_end(store: Store) -> None:
    run = await make_run(store)
    await store.open_attempt(run.id, ALL, NOW)
    await store.close_attempt(closing(run, outcome="failed", status="dead", error="KeyError: 'x'"), ALL, NOW + 3)
    (shown,) = await store.runs(RunFilter(status="dead"))
    assert (shown.status, shown.finished_at, shown.due_at, shown.error) == ("dead", NOW + 3, None, "KeyError: 'x'")


async def test_attempt_opens_only_where_the_run_is_due(store: Store) -> None:
    run = await make_run(store, now=NOW + 10)
    assert await store.open_attempt(run.id, ALL, NOW) is None
    first, second = await asyncio.gather(*(store.open_attempt(run.id, ALL, NOW + 10) for _ in range(2)))
    assert (first is None) != (second is None)
    assert await store.open_attempt(run.id, ALL, NOW + 10) is None
    assert await store.open_attempt(10**9, ALL, NOW) is None


async def test_attempt_closes_only_once_and_only_for_its_owner(store: Store) -> None:
    first, second = await make_run(store, 1), await make_run(store, 1)
    assert await store.close_attempt(closing(first), ALL, NOW) is None
    await store.open_attempt(first.id, ALL, NOW)
    assert await store.close_attempt(closing(first), {(first.partition + 1) % 64: 0}, NOW) is None
    answers = await asyncio.gather(*(store.close_attempt(closing(first), ALL, NOW) for _ in range(3)))
    assert [run.id for run in answers if run] == [second.id]
    assert await store.close_attempt(closing(first, status="dead"), ALL, NOW) is None
    (shown,) = await store.runs(RunFilter(ids=(first.id,)))
    assert shown.status == "succeeded"


async def test_replay_is_a_new_run_at_the_end_of_its_lane(store: Store) -> None:
    first, second = await make_run(store, 1), await make_run(store, 1)
    await finish(store, first, status="dead")
    (again,) = await store.replay([first.id], NOW + 1)
    assert (again.replay_of, again.event_id, again.handler) == (first.id, first.event_id, first.handler)
    assert (again.status, again.due_at, again.attempts, again.created_at) == ("pending", None, 0, NOW + 1)
    following = await finish(store, second)
    assert following is not None
    assert following.id == again.id
    (old,) = await store.runs(RunFilter(ids=(first.id,)))
    assert old.status == "dead"


async def test_replays_start_in_the_order_asked_for_and_only_for_runs_that_exist(store: Store) -> None:
    runs = [await make_run(store, number, bulk=True) for number in range(3)]
    for run in runs:
        await finish(store, run)
    wanted = [runs[2].id, 10**9, runs[0].id, runs[2].id]
    replays = await store.replay(wanted, NOW + 1)
    assert [run.replay_of for run in replays] == [runs[2].id, runs[0].id]
    assert await due(store, NOW + 1) == [run.id for run in replays]
    assert await store.replay([runs[2].id], NOW + 1) != replays


async def test_run_once_remembers_the_first_result_and_replays_share_nothing(store: Store) -> None:
    run = await make_run(store)
    assert await store.once(run.id, "note") is None
    await store.remember(run.id, "note", b'{"id": 5}', NOW)
    await store.remember(run.id, "note", b'{"id": 6}', NOW)
    assert await store.once(run.id, "note") == b'{"id": 5}'
    assert await store.once(run.id, "another") is None
    (again,) = await store.replay([run.id], NOW)
    assert await store.once(again.id, "note") is None


async def test_runs_left_open_by_a_dead_owner_are_suspects_oldest_first(store: Store) -> None:
    runs = [await make_run(store, number) for number in range(3)]
    waiting = await make_run(store, 0)
    for run in reversed(runs):
        await store.open_attempt(run.id, ALL, NOW)
    suspects = await store.recover(ALL, NOW + 5)
    assert [run.id for run in suspects] == [run.id for run in runs]
    assert {(run.status, run.due_at, run.attempts, run.crashes) for run in suspects} == {("pending", NOW + 5, 0, 0)}
    (attempt,) = await store.attempts(runs[0].id)
    assert (attempt.outcome, attempt.counted, attempt.finished_at) == ("interrupted", False, NOW + 5)
    assert waiting.id not in await due(store, NOW + 5)


async def test_suspect_stays_one_until_an_attempt_of_it_ends_in_order(store: Store) -> None:
    run, other = await make_run(store, 1), await make_run(store, 2)
    for one in (run, other):
        await store.open_attempt(one.id, ALL, NOW)
    await store.recover(ALL, NOW)
    assert [one.id for one in await store.recover(ALL, NOW)] == [run.id, other.id]
    await finish(store, run)
    assert [one.id for one in await store.recover(ALL, NOW)] == [other.id]


async def test_run_that_kills_its_process_alone_three_times_is_dead_and_its_lane_goes_on(store: Store) -> None:
    poison, behind = await make_run(store, 1), await make_run(store, 1)
    await store.open_attempt(poison.id, ALL, NOW)
    await store.recover(ALL, NOW)
    for crashes in (1, 2):
        await store.open_attempt(poison.id, ALL, NOW, alone=True)
        (suspect,) = await store.recover(ALL, NOW)
        assert (suspect.crashes, suspect.attempts) == (crashes, crashes)
    await store.open_attempt(poison.id, ALL, NOW, alone=True)
    assert await store.recover(ALL, NOW + 9) == []
    (dead,) = await store.runs(RunFilter(status="dead"))
    assert (dead.id, dead.crashes, dead.finished_at) == (poison.id, 3, NOW + 9)
    assert dead.error is not None
    assert "died 3 times" in dead.error
    assert await due(store, NOW + 9) == [behind.id]


async def test_recovery_leaves_partitions_of_others_alone(store: Store) -> None:
    mine, theirs = await make_run(store, 1, partition=3), await make_run(store, 2, partition=4)
    for run in (mine, theirs):
        await store.open_attempt(run.id, ALL, NOW)
    assert [run.id for run in await store.recover({3: 0}, NOW)] == [mine.id]
    assert [run.id for run in await store.runs(RunFilter(status="running"))] == [theirs.id]
