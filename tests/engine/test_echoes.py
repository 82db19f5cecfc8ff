"""No handler hears what it wrote, every other change is heard: in every order of answer, event and crash."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeflow.errors import ConnectionFailed, ResponseError, TimedOut
from pipeflow.registry import Registry
from pipeflow.store import open_store
from pipeflow.store.base import EventFilter
from tests.engine.echo_world import Attempted, World, handler

BOTH = {"a.writes", "b.listens"}
OTHERS = {"b.listens"}


def recipes(*more: Any) -> Registry:
    registry = Registry()
    for one in (handler("a.writes"), handler("b.listens"), *more):
        registry.add(one)
    return registry


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    on_postgres = request.param == "postgres"
    store = open_store(request.getfixturevalue("postgres_url") if on_postgres else f"sqlite:///{tmp_path}/x.db")
    await store.open(owner=True)
    there = World(store, recipes())
    await there.open()
    yield there
    await store.close()


async def known_deal(world: World) -> int:
    """Let a person add a deal, and forget that it woke anybody."""
    deal = world.add({"title": "Espresso"}, source="app", user=3)
    await world.deliver()
    await world.dispatch()
    return deal


async def last_woken(world: World) -> set[str]:
    await world.finish()
    event = (await world.events())[-1]
    return (await world.woken())[str(event.delivery_id)]


async def test_what_a_handler_wrote_wakes_others_and_not_itself(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    assert await last_woken(world) == OTHERS


async def test_what_a_handler_added_wakes_others_and_not_itself(world: World) -> None:
    await world.write(None, {"title": "Roastery"})
    assert await last_woken(world) == OTHERS


async def test_event_names_the_run_and_the_chain_that_caused_it(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5}, run=31, chain=("c.began",))
    await world.finish()
    event = (await world.events())[-1]
    assert (event.cause_run_id, event.chain) == (31, ("c.began", "a.writes"))


async def test_nobody_in_the_chain_is_woken_and_the_event_is_listed_as_an_echo(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5}, chain=("b.listens",))
    assert await last_woken(world) == set()
    assert (await world.events())[-1].status == "echo"


async def test_handler_that_wants_to_hear_itself_does(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    await store.open(owner=True)
    world = World(store, recipes(handler("c.counts", ignore_self=False)))
    await world.open()
    deal = await known_deal(world)
    await world.write(deal, {"value": 5}, handler="c.counts")
    assert await last_woken(world) == BOTH | {"c.counts"}
    await store.close()


async def test_another_integration_is_heard_though_it_acts_as_the_same_user(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    world.change(deal, {"title": "Changed elsewhere"})
    assert await last_woken(world) == BOTH


async def test_another_integration_is_heard_when_it_changes_the_same_field(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    world.change(deal, {"value": 6})
    assert await last_woken(world) == BOTH


async def test_another_integration_is_heard_when_it_puts_the_same_value_back(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    world.change(deal, {"value": 6})
    world.change(deal, {"value": 5})
    assert await last_woken(world) == BOTH


async def test_another_integration_is_heard_though_our_write_changed_nothing(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 0})
    world.now += 3
    world.change(deal, {"value": 6})
    world.change(deal, {"value": 0})
    assert await last_woken(world) == BOTH


async def test_person_in_the_app_is_heard_whatever_they_change(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    await world.deliver()
    world.change(deal, {"value": 0}, source="app")
    world.change(deal, {"value": 5}, source="app")
    assert await last_woken(world) == BOTH


async def test_another_user_is_heard_though_the_change_is_the_same(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    world.undelivered.clear()
    world.change(deal, {"value": 0}, source="app", user=3)
    world.change(deal, {"value": 5}, user=9)
    assert await last_woken(world) == BOTH


async def test_persons_edit_of_many_records_is_heard_though_it_comes_through_the_api(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    (raw,) = world.undelivered
    world.undelivered = [raw.replace(b'"version":"2.0"', b'"version":"2.0","is_bulk_edit":true')]
    assert await last_woken(world) == BOTH


async def test_side_effects_of_a_write_belong_to_it(world: World) -> None:
    deal = await known_deal(world)
    write = await world.intend(deal, {"status": "won"})
    write.values = {"status": "won", "won_time": "2026-11-03T09:41:22Z", "probability": 100}
    world.carry_out(write)
    await world.learn(write)
    assert await last_woken(world) == OTHERS


async def test_event_waits_for_the_outcome_of_a_write_that_may_have_caused_it(world: World) -> None:
    deal = await known_deal(world)
    write = await world.intend(deal, {"value": 5})
    world.carry_out(write)
    await world.deliver()
    await world.dispatch()
    assert [event.status for event in await world.events()][1:] == ["stored"]
    assert world.dispatcher.wake_at == world.now + 10
    await world.learn(write)
    assert await last_woken(world) == OTHERS


async def test_event_waits_ten_seconds_at_most_and_holds_no_other_record(world: World) -> None:
    deal, other = await known_deal(world), await known_deal(world)
    await world.intend(deal, {"value": 5})
    world.change(deal, {"title": "Somebody else's"})
    world.change(other, {"title": "Another record's"})
    await world.deliver()
    await world.dispatch()
    assert [event.status for event in await world.events()][2:] == ["stored", "dispatched"]
    world.now += 10
    await world.dispatch()
    assert [event.status for event in await world.events()][2:] == ["dispatched", "dispatched"]


async def test_later_events_of_a_record_do_not_overtake_one_that_waits(world: World) -> None:
    deal = await known_deal(world)
    write = await world.intend(deal, {"value": 5})
    world.carry_out(write)
    world.change(deal, {"value": 9}, source="app", user=3)
    await world.deliver()
    await world.dispatch()
    assert [event.status for event in await world.events()][1:] == ["stored", "stored"]


async def test_refused_and_unsent_writes_cause_nothing(world: World) -> None:
    deal = await known_deal(world)
    for error in (ResponseError("no", status=400), ConnectionFailed("no", sent=False)):
        write = await world.intend(deal, {"value": 5})
        await world.learn(write, error)
    world.change(deal, {"value": 5})
    assert await last_woken(world) == BOTH


async def test_write_whose_answer_was_lost_still_causes_what_it_caused(world: World) -> None:
    deal = await known_deal(world)
    write = await world.intend(deal, {"value": 5})
    world.carry_out(write)
    await world.learn(write, TimedOut("late"))
    assert await last_woken(world) == OTHERS


async def test_write_that_was_cut_off_and_made_again_causes_one_event_and_no_more(world: World) -> None:
    deal = await known_deal(world)
    write = await world.intend(deal, {"value": 5})
    world.carry_out(write)
    await world.deliver()
    world.now += 5
    world.restart()
    await world.write(deal, {"value": 5})
    world.now += 5
    world.change(deal, {"value": 6})
    world.change(deal, {"value": 5})
    await world.finish()
    assert list((await world.woken()).values())[1:] == [OTHERS, BOTH, BOTH]


async def test_copy_of_an_echo_through_a_second_webhook_wakes_nobody(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    (raw,) = world.undelivered
    world.undelivered.append(
        raw.replace(b'"id":"event-', b'"id":"copy-').replace(b'"webhook_id":"1"', b'"webhook_id":"2"')
    )
    await world.finish()
    assert list((await world.woken()).values())[1:] == [OTHERS, set()]


async def test_old_deliveries_find_the_writes_of_their_time(world: World) -> None:
    deal = await known_deal(world)
    await world.write(deal, {"value": 5})
    await world.deliver()
    world.now += 86_400
    world.restart()
    await world.dispatch()
    assert await last_woken(world) == OTHERS


async def test_own_write_that_polling_found_is_an_echo(world: World) -> None:
    deal = await known_deal(world)
    world.now += 60
    await world.write(deal, {"value": 5})
    world.now += 900
    await world.deliver(source="poll")
    assert await last_woken(world) == OTHERS


async def test_writes_of_two_handlers_that_polling_found_together_are_heard_by_each_other_and_end_there(
    world: World,
) -> None:
    deal = await known_deal(world)
    world.now += 60
    await world.write(deal, {"value": 5})
    await world.write(deal, {"title": "Of b.listens"}, handler="b.listens")
    world.undelivered = [world.undelivered[1].replace(b'"previous":{', b'"previous":{"value":0,')]
    await world.deliver(source="poll")
    assert await last_woken(world) == BOTH
    assert set((await world.events())[-1].chain) == BOTH


async def test_two_writes_of_one_handler_that_polling_found_together_are_its_echo(world: World) -> None:
    deal = await known_deal(world)
    world.now += 60
    await world.write(deal, {"value": 5})
    await world.write(deal, {"title": "Mine too"})
    world.undelivered = [world.undelivered[1].replace(b'"previous":{', b'"previous":{"value":0,')]
    await world.deliver(source="poll")
    assert await last_woken(world) == OTHERS


async def test_change_of_somebody_else_that_polling_found_with_ours_is_heard(world: World) -> None:
    deal = await known_deal(world)
    world.now += 60
    world.change(deal, {"title": "Somebody else's"}, source="app", user=3)
    await world.write(deal, {"value": 5})
    world.undelivered = [world.undelivered[1].replace(b'"previous":{', b'"previous":{"title":"Espresso",')]
    await world.deliver(source="poll")
    assert await last_woken(world) == BOTH


async def test_record_that_we_added_and_somebody_else_changed_is_heard_where_polling_found_it(world: World) -> None:
    made = await world.write(None, {"title": "Roastery"})
    world.now += 60
    world.change(made, {"title": "Changed"}, source="app", user=3)
    world.undelivered = [world.undelivered[1].replace(b'"action":"change"', b'"action":"create"')]
    await world.deliver(source="poll")
    assert await last_woken(world) == BOTH


async def test_change_of_somebody_else_that_polling_found_is_heard(world: World) -> None:
    deal = await known_deal(world)
    world.now += 60
    await world.write(deal, {"value": 5})
    world.undelivered.clear()
    world.now += 60
    world.change(deal, {"value": 6}, source="app", user=3)
    await world.deliver(source="poll")
    assert await last_woken(world) == BOTH


# Every order ------------------------------------------------------------------------------------------------------
Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "intend",
                "carry out",
                "learn",
                "lose",
                "other",
                "retitle",
                "app",
                "deliver",
                "dispatch",
                "crash",
                "tick",
            ]
        ),
        st.integers(0, 5),
        st.integers(1, 4),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory() as there:
        yield Path(there)


async def _play(world: World, steps: list[Step]) -> None:
    """Let things happen in this order; a write goes on where it is when its turn comes."""
    deals = [world.add({}, source="app", user=3), world.add({}, source="app", user=3)]
    await world.deliver()
    await world.dispatch()
    open_writes: list[Attempted] = []
    carried: list[Attempted] = []
    for what, which, value in steps:
        deal = deals[which % 2]
        if what == "intend":
            # One in four adds a deal; the values are ours alone, as `value` tells writes of the same second apart.
            added = which == 5
            values = {"title": f"ours {value}"} if added else {"value": 100 * (which + 1) + value}
            open_writes.append(await world.intend(None if added else deal, values))
        elif what == "carry out" and open_writes:
            write = open_writes.pop(which % len(open_writes))
            world.carry_out(write)
            carried.append(write)
        elif what == "learn" and carried:
            await world.learn(carried.pop(which % len(carried)))
        elif what == "lose" and carried:
            await world.learn(carried.pop(which % len(carried)), TimedOut("late"))
        elif what == "other":
            world.change(deal, {"value": value, "label": which})
        elif what == "retitle":
            world.change(deal, {"title": f"theirs {value}"})
        elif what == "app":
            world.change(deal, {"value": 100 * (which + 1) + value}, source="app", user=3)
        elif what == "deliver" and world.undelivered:
            await world.deliver(which)
        elif what == "dispatch":
            await world.dispatch()
        elif what == "crash":
            open_writes, carried = [], []
            world.restart()
        elif what == "tick":
            world.now += value
    await world.finish()


@pytest.mark.parametrize("apart", [False, True], ids=["one process", "two processes"])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_in_every_order_own_writes_are_echoes_and_everything_else_is_heard(
    folder: Path, apart: bool, steps: list[Step]
) -> None:
    async def play() -> tuple[dict[str, set[str]], set[str], list[str]]:
        # A store of its own for each example: the world's clock begins anew, and old writes would lie in its future.
        store = open_store(f"sqlite:///{folder}/{uuid4()}.db")
        await store.open(owner=True)
        try:
            world = World(store, recipes(), apart=apart)
            await world.open()
            await _play(world, steps)
            left = [event.name for event in await store.events(EventFilter(status="stored"))]
            return await world.woken(), world.ours, left
        finally:
            await store.close()

    woken, ours, left = asyncio.run(play())
    assert not left
    assert {event: handlers for event, handlers in woken.items() if event in ours} == dict.fromkeys(
        ours & woken.keys(), OTHERS
    )
    assert all(handlers == BOTH for event, handlers in woken.items() if event not in ours)
