"""Events are stored once, given in order, and dispatched in one piece."""

from __future__ import annotations

import asyncio

from pipeflow.store.base import ALL, Dispatch, EventFilter, NewRun, RunFilter, Store
from tests.store.builders import (
    COMPANY,
    NOW,
    add,
    dispatch,
    finish,
    lane,
    make_run,
    new_event,
    new_tick,
    sqlite_only,
    state,
)


async def test_event_comes_back_as_it_was_stored(store: Store) -> None:
    event = new_event(raw=bytes(range(256)), record_id="ünïcôde", bulk=True, occurred_at=None, update_time=5.1)
    event_id = await add(store, event)
    (stored,) = await store.undispatched(ALL, limit=10)
    assert stored.id == event_id
    for name in ("company", "key", "name", "kind", "record_id", "action", "source", "raw", "received_at", "partition"):
        assert getattr(stored, name) == getattr(event, name)
    assert (stored.delivery_id, stored.occurred_at, stored.update_time) == (event.delivery_id, None, 5.1)
    assert (stored.actor_id, stored.bulk, stored.stale, stored.status) == (event.actor_id, True, False, "stored")
    assert (stored.names, stored.chain, stored.dispatched_at) == ((), (), None)


async def test_event_with_a_text_that_no_database_likes_is_stored_all_the_same(store: Store) -> None:
    event_id = await add(store, new_event("nul\u0000", raw=b"\x00\xff"))
    (stored,) = await store.undispatched(ALL, limit=10)
    assert (stored.id, stored.raw, stored.record_id[:3]) == (event_id, b"\x00\xff", "nul")


async def test_event_delivered_twice_is_stored_once(store: Store) -> None:
    event, another = new_event(), new_event()
    first = await store.add_events([event, event, another])
    assert first[1] is None
    assert [first[0], first[2]] == [one.id for one in await store.undispatched(ALL, limit=10)]
    assert await store.add_events([another, event]) == [None, None]
    assert (await store.counts())["events"] == 2


async def test_same_key_in_another_company_is_another_event(store: Store) -> None:
    event = new_event(key="2.0:same")
    assert None not in await store.add_events([event, new_event(key="2.0:same", company=COMPANY + 1)])


async def test_many_callers_at_once_get_the_ids_of_their_own_events(store: Store) -> None:
    events = [new_event(number) for number in range(300)]
    twice = [*events, *events]
    answers = await asyncio.gather(*(store.add_events([event]) for event in twice))
    ids = [event_id for (event_id,) in answers]
    assert sorted(one for one in ids if one is not None) == sorted(set(ids) - {None})
    stored = {one.id: one.record_id for one in await store.undispatched(ALL, limit=1_000)}
    assert len(stored) == 300
    for event, event_id in zip(twice, ids, strict=True):
        assert event_id is None or stored[event_id] == event.record_id


async def test_ids_are_never_given_twice_even_after_a_purge(store: Store) -> None:
    first = await add(store, new_event(received_at=1.0))
    await dispatch(store, first, handlers=())
    assert await store.purge(2.0, limit=10) == 1
    assert await add(store, new_event()) > first


async def test_undispatched_gives_the_oldest_first_from_behind_a_place(store: Store) -> None:
    ids = [await add(store, new_event(number)) for number in range(5)]
    assert [one.id for one in await store.undispatched(ALL, limit=3)] == ids[:3]
    assert [one.id for one in await store.undispatched(ALL, limit=3, after=ids[2])] == ids[3:]


async def test_undispatched_gives_only_the_partitions_asked_for(store: Store) -> None:
    mine = await add(store, new_event(partition=3))
    await add(store, new_event(partition=4))
    assert [one.id for one in await store.undispatched({3: 0}, limit=10)] == [mine]


async def test_large_bodies_come_in_bites_that_fit_into_memory(store: Store) -> None:
    large = [new_event(number, raw=bytes([number]) * 1_000_000) for number in range(20)]
    await store.add_events(large)
    found: list[bytes] = []
    after = 0
    while events := await store.undispatched(ALL, limit=100, after=after):
        assert len(events) < 20
        found += [one.raw for one in events]
        after = events[-1].id
    assert found == [one.raw for one in large]


async def test_unreadable_event_is_kept_and_never_dispatched(store: Store) -> None:
    event_id = await add(store, new_event(raw=b"\xff\x00", status="unreadable", name="unreadable", kind="unreadable"))
    assert await store.undispatched(ALL, limit=10) == []
    (shown,) = await store.events(EventFilter(status="unreadable"))
    assert (shown.id, shown.raw) == (event_id, b"\xff\x00")


async def test_dispatch_marks_the_event_and_makes_a_run_for_each_handler(store: Store) -> None:
    event_id = await add(store, new_event(7))
    decision = Dispatch(
        event_id,
        ("deal.updated", "deal.won"),
        "dispatched",
        stale=True,
        cause_run_id=77,
        chain=("a.one", "a.two"),
        runs=(NewRun("a.one", lane("a.one", 7)), NewRun("a.two", None)),
        record=state(7, 5.0),
    )
    one, two = await store.dispatch([decision], ALL, NOW)
    assert (one.handler, one.lane, one.status, one.due_at) == ("a.one", lane("a.one", 7), "pending", NOW)
    assert (two.handler, two.lane, two.event_id, two.record_id) == ("a.two", None, event_id, "7")
    assert await store.runs(RunFilter()) == [two, one]
    (event,) = await store.events(EventFilter())
    assert (event.status, event.names, event.stale) == ("dispatched", ("deal.updated", "deal.won"), True)
    assert (event.cause_run_id, event.chain, event.dispatched_at) == (77, ("a.one", "a.two"), NOW)
    assert await store.records([(COMPANY, "deal", "7")]) == {(COMPANY, "deal", "7"): state(7, 5.0)}
    assert await store.undispatched(ALL, limit=10) == []


async def test_event_is_dispatched_only_once(store: Store) -> None:
    event_id = await add(store, new_event())
    decision = Dispatch(event_id, ("deal.updated",), "dispatched", runs=(NewRun("a.one", None), NewRun("a.one", None)))
    assert len(await store.dispatch([decision, decision], ALL, NOW)) == 1
    assert await store.dispatch([decision], ALL, NOW) == []


async def test_dispatch_leaves_out_partitions_that_are_not_ours(store: Store) -> None:
    event_id = await add(store, new_event(partition=3))
    decision = Dispatch(event_id, (), "dispatched", runs=(NewRun("a.one", None),))
    assert await store.dispatch([decision], {4: 0}, NOW) == []
    assert len(await store.undispatched(ALL, limit=10)) == 1


async def test_bulk_changes_make_runs_of_lower_priority(store: Store) -> None:
    bulk = await make_run(store, 1, bulk=True, now=NOW)
    interactive = await make_run(store, 2, now=NOW + 1)
    assert (bulk.priority, interactive.priority) == (1, 0)
    assert [run.id for run in await store.due_runs(ALL, NOW + 1, limit=10)] == [interactive.id, bulk.id]


async def test_newer_tick_ends_the_older_ones_that_wait(store: Store) -> None:
    old, newer = await add(store, new_tick("a.job", 60.0)), await add(store, new_tick("a.job", 120.0))
    another = await add(store, new_tick("a.other", 60.0))
    (first,) = await dispatch(store, old, handlers=("a.job",))
    (second,) = await dispatch(store, newer, handlers=("a.job",), now=NOW + 1)
    (third,) = await dispatch(store, another, handlers=("a.other",))
    (shown,) = await store.runs(RunFilter(ids=(first.id,), include_skipped=True))
    assert (shown.status, shown.error, shown.finished_at) == ("skipped", "superseded by a newer tick", NOW + 1)
    assert [run.id for run in await store.due_runs(ALL, NOW + 1, limit=10)] == [third.id, second.id]


async def test_ticks_dispatched_together_leave_only_the_newest(store: Store) -> None:
    ids = [await add(store, new_tick("a.job", due_at)) for due_at in (60.0, 120.0, 180.0)]
    runs = await dispatch(store, *ids, handlers=("a.job",))
    assert [run.status for run in runs] == ["skipped", "skipped", "pending"]
    assert [run.id for run in await store.due_runs(ALL, NOW, limit=10)] == [runs[2].id]


async def test_newer_tick_waits_for_the_one_that_is_running(store: Store) -> None:
    (first,) = await dispatch(store, await add(store, new_tick("a.job", 60.0)), handlers=("a.job",))
    await store.open_attempt(first.id, ALL, NOW)
    (second,) = await dispatch(store, await add(store, new_tick("a.job", 120.0)), handlers=("a.job",))
    assert second.due_at is None
    assert await store.due_runs(ALL, NOW, limit=10) == []


async def test_record_state_never_goes_back_in_time(store: Store) -> None:
    async def tell(update_time: float | None, body: bytes, *, deleted: bool = False) -> None:
        decision = Dispatch(
            await add(store, new_event(1)), (), "unmatched", record=state(1, update_time, state=body, deleted=deleted)
        )
        await store.dispatch([decision], ALL, NOW)

    key = (COMPANY, "deal", "1")
    await tell(10.0, b"ten")
    await tell(9.0, b"nine")
    assert (await store.records([key]))[key].state == b"ten"
    await tell(None, b"unknown")
    assert (await store.records([key]))[key] == state(1, 10.0, state=b"unknown")
    await tell(11.0, b"gone", deleted=True)
    assert (await store.records([key]))[key] == state(1, 11.0, state=b"gone", deleted=True)


async def test_records_are_found_by_their_keys_and_others_left_out(store: Store) -> None:
    ids = [await add(store, new_event(number)) for number in range(3)]
    states = [state(0, 1.0, state=b"\xff\x00"), state(1, None, state=None), state(2, 3.0, state=b"")]
    await store.dispatch(
        [Dispatch(one, (), "unmatched", record=told) for one, told in zip(ids, states, strict=True)], ALL, NOW
    )
    keys = [(COMPANY, "deal", "1"), (COMPANY, "deal", "0"), (COMPANY, "person", "2"), (COMPANY, "deal", "2")]
    found = await store.records(keys)
    assert found == {keys[0]: states[1], keys[1]: states[0], keys[3]: states[2]}
    assert await store.records([]) == {}


async def test_window_that_polling_told_is_kept_with_the_record(store: Store) -> None:
    told = state(1, 20.5, source="poll", polled_from=5.25, polled_to=20.5)
    await store.dispatch([Dispatch(await add(store, new_event(1)), (), "unmatched", record=told)], ALL, NOW)
    key = (COMPANY, "deal", "1")
    assert (await store.records([key]))[key] == told
    await store.save_records([state(1, 21.0)])
    assert (await store.records([key]))[key] == state(1, 21.0, polled_from=5.25, polled_to=20.5)


async def test_saved_states_give_way_to_what_events_told_as_late(store: Store) -> None:
    told = state(1, 10.0, state=b"told")
    await store.dispatch([Dispatch(await add(store, new_event(1)), (), "unmatched", record=told)], ALL, NOW)
    await store.save_records([state(1, 10.0, state=b"listed"), state(2, 3.0, state=b"listed")])
    keys = [(COMPANY, "deal", "1"), (COMPANY, "deal", "2")]
    assert await store.records(keys) == {keys[0]: told, keys[1]: state(2, 3.0, state=b"listed")}


async def test_ids_of_living_records_are_listed_page_by_page(store: Store) -> None:
    await store.save_records([state(number, 1.0) for number in (10, 9, 3)] + [state(7, 1.0, deleted=True)])
    assert await store.record_ids(COMPANY, "deal", limit=2) == ["10", "3"]
    assert await store.record_ids(COMPANY, "deal", after="3", limit=2) == ["9"]
    assert await store.record_ids(COMPANY, "person", limit=2) == []


async def test_polled_event_is_stored_only_where_nothing_as_new_is_known(store: Store) -> None:
    event_id = await add(store, new_event(1))
    await store.dispatch([Dispatch(event_id, (), "unmatched", record=state(1, 100.0))], ALL, NOW)
    (older, same, newer) = await store.add_events(
        [new_event(1, source="poll", update_time=time) for time in (99.0, 100.0, 101.0)]
    )
    assert (older, same) == (None, None)
    assert newer is not None
    assert (await store.counts())["events"] == 2


async def test_polled_event_gives_way_to_a_delivery_that_waits_for_dispatch(store: Store) -> None:
    delivered, polled, fresh = await store.add_events(
        [
            new_event(1, update_time=100.0),
            new_event(1, source="poll", update_time=100.0),
            new_event(2, source="poll", update_time=100.0),
        ]
    )
    assert delivered is not None
    assert polled is None
    assert fresh is not None


async def test_polled_deletion_is_stored_once(store: Store) -> None:
    def deletion() -> object:
        return new_event(1, source="poll", action="deleted", name="deal.deleted", update_time=None)

    first, second = await store.add_events([deletion(), deletion()])
    assert first is not None
    assert second is None
    await store.dispatch([Dispatch(first, (), "unmatched", record=state(1, 5.0, deleted=True))], ALL, NOW)
    assert await store.add_events([deletion()]) == [None]


async def test_delivery_is_stored_although_polling_found_its_change_before(store: Store) -> None:
    found = await add(store, new_event(1, source="poll", update_time=100.0))
    await store.dispatch([Dispatch(found, (), "unmatched", record=state(1, 100.0, source="poll"))], ALL, NOW)
    late = await add(store, new_event(1, update_time=100.0))
    await store.dispatch([Dispatch(late, (), "twin")], ALL, NOW)
    assert [event.id for event in await store.events(EventFilter(status="twin"))] == [late]


@sqlite_only
async def test_worker_is_told_of_new_events_and_replays_only(store: Store) -> None:
    told = asyncio.Event()
    store.on_change(told.set)
    run = await make_run(store)
    await asyncio.wait_for(told.wait(), 5)
    await asyncio.sleep(0)
    told.clear()
    await finish(store, run)
    await store.save_watermark(COMPANY, "deal", 5.0, NOW)
    await asyncio.sleep(0)
    assert not told.is_set()
    await store.replay([run.id], NOW)
    await asyncio.wait_for(told.wait(), 5)


async def test_events_of_other_companies_are_found_past_those_of_one_that_has_many(store: Store) -> None:
    for number in range(30):
        await add(store, new_event(number))
    other = await add(store, new_event(1, company=7))
    await add(store, new_event(2))
    events, last = await store.undispatched_past(ALL, companies={COMPANY}, limit=5, after=0)
    assert [event.id for event in events] == [other]
    later = [await add(store, new_event(number, company=7)) for number in range(2, 8)]
    events, last = await store.undispatched_past(ALL, companies={COMPANY}, limit=5, after=max(last, other or 0))
    assert [event.id for event in events] == later[:5]
    events, last = await store.undispatched_past(ALL, companies={COMPANY}, limit=5, after=last)
    assert [event.id for event in events] == later[5:]
    assert (await store.undispatched_past(ALL, companies={COMPANY}, limit=5, after=10_000))[0] == []
