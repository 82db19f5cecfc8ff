"""What people and the fuse do: park, release, retry, skip, pause, resume; and the proofs of reconciliations."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pipeflow.store.base import ALL, Dispatch, Pause, Proof, Run, RunFilter, Store
from tests.store.builders import COMPANY, NOW, add, dispatch, failing, finish, make_run, new_event


async def due(store: Store, now: float = NOW) -> list[int]:
    return [run.id for run in await store.due_runs(ALL, now, limit=100)]


async def shown(store: Store, run: Run) -> Run:
    (found,) = await store.runs(RunFilter(ids=(run.id,), include_skipped=True))
    return found


async def test_parked_run_holds_its_lane_until_it_is_released(store: Store) -> None:
    first, second, other = await make_run(store, 1), await make_run(store, 1), await make_run(store, 2)
    (parked,) = await store.park_runs([first.id, 10**9], ALL, NOW, reason="101 runs in a minute")
    assert (parked.id, parked.parked, parked.status, parked.error) == (
        first.id,
        True,
        "pending",
        "101 runs in a minute",
    )
    assert await due(store) == [other.id]
    assert await store.open_attempt(first.id, ALL, NOW) is None
    assert await store.park_runs([first.id], {(first.partition + 1) % 64: 0}, NOW, reason="") == []
    (released,) = await store.release_runs([first.id, other.id], NOW + 1)
    assert (released.id, released.parked, released.due_at, released.error) == (first.id, False, NOW + 1, None)
    following = await finish(store, first, now=NOW + 1)
    assert following is not None
    assert following.id == second.id


async def test_event_that_no_handler_wanted_is_dispatched_again(store: Store) -> None:
    unwanted, wanted = await add(store, new_event(1)), (await make_run(store, 2)).event_id
    await store.dispatch([Dispatch(unwanted, ("deal.updated",), "unmatched")], ALL, NOW)
    assert await store.dispatch_again([unwanted, wanted, 10**9]) == [unwanted]
    (waiting,) = await store.undispatched(ALL, limit=10)
    assert (waiting.id, waiting.status, waiting.dispatched_at) == (unwanted, "stored", None)


async def test_parked_runs_are_listed_apart(store: Store) -> None:
    first, _, third = await make_run(store, 1), await make_run(store, 2), await make_run(store, 3)
    await store.park_runs([first.id, third.id], ALL, NOW, reason="fuse")
    assert [run.id for run in await store.runs(RunFilter(parked=True))] == [third.id, first.id]
    await store.release_runs([third.id], NOW)
    assert [run.id for run in await store.runs(RunFilter(parked=True))] == [first.id]


async def test_run_parked_behind_another_waits_for_its_turn_and_its_release(store: Store) -> None:
    first, second = await make_run(store, 1), await make_run(store, 1)
    await store.park_runs([second.id], ALL, NOW, reason="fuse")
    assert await finish(store, first) is None
    assert await due(store) == []
    await store.release_runs([second.id], NOW)
    assert await due(store) == [second.id]


async def test_retry_makes_a_waiting_run_due_now(store: Store) -> None:
    run, behind = await make_run(store, 1), await make_run(store, 1)
    await store.open_attempt(run.id, ALL, NOW)
    await store.close_attempt(failing(run, NOW + 3600), ALL, NOW)
    assert [one.id for one in await store.retry_runs([run.id, behind.id], NOW + 1)] == [run.id]
    assert await due(store, NOW + 1) == [run.id]


async def test_skipping_the_first_run_lets_its_lane_go_on(store: Store) -> None:
    first, second, third = [await make_run(store, 1) for _ in range(3)]
    await store.open_attempt(first.id, ALL, NOW)
    assert [one.id for one in await store.skip_runs([first.id, second.id], NOW + 1, reason="by hand")] == [second.id]
    assert await due(store, NOW + 1) == []
    skipped = await shown(store, second)
    assert (skipped.status, skipped.error, skipped.finished_at) == ("skipped", "by hand", NOW + 1)
    await store.recover(ALL, NOW + 1)
    await store.skip_runs([first.id], NOW + 1, reason="by hand")
    assert await due(store, NOW + 1) == [third.id]


@pytest.mark.parametrize(
    "pause",
    [
        Pause("account", company=COMPANY, reason="holiday", paused_at=NOW),
        Pause("handler", handler="a.one", reason="broken", paused_at=NOW),
        Pause("record", company=COMPANY, kind="deal", record_id="1", reason="cleaning up", paused_at=NOW),
    ],
)
async def test_what_is_paused_does_not_start_until_it_is_resumed(store: Store, other: Store, pause: Pause) -> None:
    paused = await make_run(store, 1)
    elsewhere = await add(store, new_event(2, company=COMPANY + 1))
    (free,) = await dispatch(store, elsewhere, handlers=("a.two",), now=NOW + 1)
    await other.pause(pause)
    assert await store.pauses() == [pause]
    assert await due(store, NOW + 1) == [free.id]
    assert await store.next_due_at(ALL) == NOW + 1
    assert await store.open_attempt(paused.id, ALL, NOW) is None
    assert await store.open_attempt(free.id, ALL, NOW + 1) is not None
    assert await other.resume(replace(pause, reason="", paused_at=0.0)) is True
    assert await other.resume(pause) is False
    assert await due(store, NOW + 1) == [paused.id]


async def test_pause_of_a_record_spares_the_others(store: Store) -> None:
    await store.pause(Pause("record", company=COMPANY, kind="deal", record_id="1"))
    _, other = await make_run(store, 1), await make_run(store, 2)
    person = await make_run(store, 1, kind="person", ordered=False)
    assert await due(store) == [other.id, person.id]


async def test_owner_is_told_that_something_was_resumed(store: Store, other: Store) -> None:
    told = asyncio.Event()
    store.on_change(told.set)
    for change in (other.pause, other.resume):
        told.clear()
        await change(Pause("handler", handler="a.one"))
        await asyncio.wait_for(told.wait(), 5)


async def test_due_runs_leave_out_resting_companies_and_unknown_handlers(store: Store) -> None:
    event_id = await add(store, new_event(1))
    one, two = await dispatch(store, event_id, handlers=("a.one", "a.two"))
    elsewhere = await make_run(store, 2, company=COMPANY + 1, now=NOW + 1)

    async def given(**wanted: object) -> tuple[list[int], float | None]:
        runs = await store.due_runs(ALL, NOW + 1, limit=10, **wanted)  # type: ignore[arg-type]
        return [run.id for run in runs], await store.next_due_at(ALL, **wanted)  # type: ignore[arg-type]

    assert await given(handlers=["a.one", "a.three"]) == ([one.id, elsewhere.id], NOW)
    assert await given(resting={COMPANY}) == ([elsewhere.id], NOW + 1)
    assert await given(handlers=["a.two"], resting=[COMPANY + 1]) == ([two.id], NOW)
    assert await given(handlers=[]) == ([], None)


async def test_due_runs_leave_out_that_of_which_there_is_plenty_and_nothing_else(store: Store) -> None:
    one, two = await dispatch(store, await add(store, new_event(1)), handlers=("a.one", "a.two"))
    (bulk,) = await dispatch(store, await add(store, new_event(2, bulk=True)), handlers=("a.one",))
    elsewhere = await make_run(store, 3, company=COMPANY + 1, now=NOW + 1)
    for plenty, left in (
        ([(COMPANY, "a.one", 0)], [two, elsewhere, bulk]),
        ([(COMPANY, "a.one", 1), (COMPANY, "a.two", 0)], [one, elsewhere]),
    ):
        runs = await store.due_runs(ALL, NOW + 1, limit=10, plenty=plenty)
        assert [run.id for run in runs] == [run.id for run in left]


async def test_due_times_move_with_the_clock(store: Store) -> None:
    run, waiting, parked = await make_run(store, 1), await make_run(store, 2), await make_run(store, 3)
    behind = await make_run(store, 1)
    await store.open_attempt(waiting.id, ALL, NOW)
    await store.close_attempt(failing(waiting, NOW + 30), ALL, NOW)
    await store.park_runs([parked.id], ALL, NOW, reason="fuse")
    await store.move_due_times(ALL, -86_400.0)
    assert await due(store, NOW - 86_400.0) == [run.id]
    assert await store.next_due_at({waiting.partition: 0, run.partition: 0}) == NOW - 86_400.0
    assert (await shown(store, waiting)).due_at == NOW + 30 - 86_400.0
    assert (await shown(store, behind)).due_at is None


async def test_proofs_are_kept_newest_first(store: Store) -> None:
    first = Proof(COMPANY, ("deal", "person"), NOW - 1800, NOW, 37, 35, 2, NOW)
    second = Proof(COMPANY + 1, (), NOW, NOW, 0, 0, 0, NOW, error="403 Forbidden", tokens=40)
    ids = [await store.add_proof(proof) for proof in (first, second)]
    stored = [replace(first, id=ids[0]), replace(second, id=ids[1])]
    assert await store.proofs() == stored[::-1]
    assert await store.proofs(COMPANY) == stored[:1]
    assert await store.proofs(limit=1) == stored[1:]
    await store.purge(NOW + 1, limit=10)
    assert await store.proofs() == []
