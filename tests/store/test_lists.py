"""Listings say what there is, newest first; retention and counts."""

from __future__ import annotations

import pytest

from pipeflow.store.base import ALL, Closing, Dispatch, EventFilter, RunFilter, Store
from tests.store.builders import COMPANY, NOW, add, dispatch, finish, make_run, new_event


async def ids(store: Store, **wanted: object) -> list[int]:
    return [event.id for event in await store.events(EventFilter(**wanted))]  # type: ignore[arg-type]


async def run_ids(store: Store, **wanted: object) -> list[int]:
    return [run.id for run in await store.runs(RunFilter(**wanted))]  # type: ignore[arg-type]


async def test_events_are_listed_newest_first_up_to_the_limit(store: Store) -> None:
    added = [await add(store, new_event(number, received_at=NOW + number)) for number in range(5)]
    assert await ids(store) == added[::-1]
    assert await ids(store, limit=2) == added[:2:-1]
    assert await ids(store, limit=2, since=NOW) == added[:2:-1]


async def test_listing_without_a_limit_gives_everything(store: Store) -> None:
    added = await store.add_events([new_event(number) for number in range(1_201)])
    assert await ids(store, limit=0) == added[::-1]
    assert await ids(store, limit=0, since=NOW) == added[::-1]
    assert await ids(store, limit=700) == added[: 1_201 - 701 : -1]


async def test_events_that_a_run_caused_are_listed_apart(store: Store) -> None:
    ours, theirs = await add(store, new_event(1)), await add(store, new_event(2))
    await store.dispatch(
        [
            Dispatch(ours, ("deal.updated",), "echo", cause_run_id=7, chain=("a.b",)),
            Dispatch(theirs, ("deal.updated",), "unmatched"),
        ],
        ALL,
        NOW,
    )
    assert await ids(store, caused=True) == [ours]


async def test_events_are_found_by_each_of_their_sides(store: Store) -> None:
    deal = await add(store, new_event(1, received_at=100.0))
    person = await add(
        store, new_event(1, kind="person", name="person.added", received_at=200.0, company=COMPANY + 1, source="poll")
    )
    await store.dispatch([Dispatch(deal, ("deal.updated", "deal.won"), "unmatched")], ALL, NOW)
    for wanted, found in (
        ({"status": "unmatched"}, [deal]),
        ({"status": "stored"}, [person]),
        ({"status": "dispatched"}, []),
        ({"name": "deal.updated"}, [deal]),
        ({"name": "deal.won"}, [deal]),
        ({"name": "deal.wo"}, []),
        ({"name": "person.added"}, [person]),
        ({"company": COMPANY + 1}, [person]),
        ({"kind": "deal"}, [deal]),
        ({"record_id": "1"}, [person, deal]),
        ({"kind": "person", "record_id": "1"}, [person]),
        ({"kind": "deal", "record_id": "1", "company": COMPANY}, [deal]),
        ({"kind": "deal", "record_id": "1", "company": COMPANY + 1}, []),
        ({"source": "poll"}, [person]),
        ({"since": 200.0}, [person]),
        ({"until": 200.0}, [deal]),
        ({"since": 100.0, "until": 200.0, "status": "unmatched"}, [deal]),
        ({"ids": (deal,)}, [deal]),
        ({"ids": ()}, []),
    ):
        assert await ids(store, **wanted) == found, wanted


async def test_runs_are_found_by_each_of_their_sides(store: Store) -> None:
    event_id = await add(store, new_event(1))
    one, two = await dispatch(store, event_id, handlers=("a.one", "a.two"), now=100.0)
    other = await make_run(store, 2, now=200.0, company=COMPANY + 1)
    await finish(store, one, now=100.0)
    (again,) = await store.replay([one.id], 300.0)
    await store.open_attempt(two.id, ALL, 100.0)
    await store.close_attempt(Closing(two.id, "gave_up", "dead", error="GiveUp: no owner"), ALL, 100.0)
    for wanted, found in (
        ({}, [again.id, other.id, two.id, one.id]),
        ({"limit": 1}, [again.id]),
        ({"status": "dead"}, [two.id]),
        ({"status": "succeeded"}, [one.id]),
        ({"status": "pending"}, [again.id, other.id]),
        ({"status": "running"}, []),
        ({"handler": "a.two"}, [two.id]),
        ({"handler": "a.one", "limit": 2}, [again.id, other.id]),
        ({"event_id": event_id}, [again.id, two.id, one.id]),
        ({"kind": "deal", "record_id": "1"}, [again.id, two.id, one.id]),
        ({"kind": "deal", "record_id": "2", "company": COMPANY}, []),
        ({"company": COMPANY + 1}, [other.id]),
        ({"error": "no owner"}, [two.id]),
        ({"since": 200.0}, [again.id, other.id]),
        ({"until": 200.0}, [two.id, one.id]),
        ({"until": 200.0, "status": "dead"}, [two.id]),
        ({"ids": (one.id, other.id)}, [other.id, one.id]),
    ):
        assert await run_ids(store, **wanted) == found, wanted


async def test_skipped_runs_are_listed_only_where_asked_for(store: Store) -> None:
    run = await make_run(store)
    await finish(store, run, status="skipped")
    assert await run_ids(store) == []
    assert await run_ids(store, status="skipped") == [run.id]
    assert await run_ids(store, include_skipped=True) == [run.id]


async def test_counts_follow_what_happens(store: Store) -> None:
    assert await store.counts() == {"events": 0, "undispatched": 0, "pending": 0, "running": 0, "dead": 0}
    event = new_event(1)
    await store.add_events([event, event, new_event(2)])
    await make_run(store, 3)
    running, dead = await make_run(store, 4), await make_run(store, 5, ordered=False)
    await store.open_attempt(running.id, ALL, NOW)
    await finish(store, dead, status="dead")
    assert await store.counts() == {"events": 5, "undispatched": 2, "pending": 1, "running": 1, "dead": 1}


async def test_retention_deletes_old_events_with_all_that_hangs_on_them(store: Store) -> None:
    run = await make_run(store, 1, received_at=100.0)
    await store.remember(run.id, "note", b"1", NOW)
    await finish(store, run)
    (again,) = await store.replay([run.id], NOW)
    await finish(store, again)
    kept = await make_run(store, 2, received_at=200.0)
    await finish(store, kept)
    assert await store.purge(200.0, limit=10) == 1
    assert await run_ids(store) == [kept.id]
    assert await ids(store) == [kept.event_id]
    assert await store.attempts(run.id) == []
    assert await store.once(run.id, "note") is None
    assert (await store.counts())["events"] == 1
    assert await store.purge(200.0, limit=10) == 0


@pytest.mark.parametrize("what", ["undispatched", "pending", "running", "replayed"])
async def test_retention_spares_what_is_not_finished(store: Store, what: str) -> None:
    if what == "undispatched":
        await add(store, new_event(received_at=100.0))
    else:
        run = await make_run(store, received_at=100.0)
        if what == "running":
            await store.open_attempt(run.id, ALL, NOW)
        if what == "replayed":
            await finish(store, run)
            await store.replay([run.id], NOW)
    assert await store.purge(200.0, limit=10) == 0
    assert len(await ids(store)) == 1


async def test_retention_goes_in_bites_oldest_first(store: Store) -> None:
    added = [await add(store, new_event(received_at=100.0 + number)) for number in range(3)]
    await dispatch(store, *added, handlers=())
    assert await store.purge(200.0, limit=2) == 2
    assert await ids(store) == [added[2]]


async def test_event_is_known_no_more_once_retention_took_it(store: Store) -> None:
    event = new_event(received_at=100.0)
    await dispatch(store, await add(store, event), handlers=())
    await store.purge(200.0, limit=10)
    assert await store.add_events([event]) != [None]
