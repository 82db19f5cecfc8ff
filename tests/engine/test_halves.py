"""What comes in two halves, or in two copies, is told once; what is remembered of a merged record follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeflow.events import Merge, build_event, normalise
from pipeflow.store.base import Pause
from tests.engine.watched import Watched, watched


def merged(house: Watched, *, delete_first: bool) -> tuple[str, str]:
    """Merge one person into another; give their ids."""
    loser, survivor = [one["id"] for one in house.sandbox.company.living("person")][:2]
    house.sandbox.act("merge", kind="person", id=loser, into=survivor, delete_first=delete_first)
    return str(loser), str(survivor)


@pytest.mark.parametrize("delete_first", [True, False])
async def test_merge_is_told_once_in_either_order(tmp_path: Path, delete_first: bool) -> None:
    async with watched(tmp_path, "person.merged") as house:
        loser, survivor = merged(house, delete_first=delete_first)
        halves = [one for one in house.changes if one.kind == "person"]
        for half in halves:
            await house.deliver(half)
        runs = await house.runs()
        events = {event.record_id: event for event in await house.events(kind="person")}
        told = [
            build_event(normalise(one.raw), id=one.id, source="delivery", company=1, occurred_at=0.0, raw=one.raw).merge
            for one in events.values()
        ]
    assert told == [Merge("person", loser, survivor)] * 2
    assert [run.record_id for run in runs] == [loser if delete_first else survivor]
    assert events[loser].name == "person.deleted"
    assert events[survivor].name == "person.updated"


async def test_halves_that_come_together_are_told_once(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.merged") as house:
        merged(house, delete_first=True)
        await house.deliver(*(one for one in house.changes if one.kind == "person"))
        assert len(await house.runs()) == 1


@pytest.mark.parametrize("lost", ["delete", "change"])
async def test_one_half_suffices(tmp_path: Path, lost: str) -> None:
    async with watched(tmp_path, "person.merged") as house:
        loser, _ = merged(house, delete_first=True)
        await house.deliver(*(one for one in house.changes if one.kind == "person" and one.action != lost))
        assert len(await house.runs()) == 1
        key = (house.company, "person", loser)
        assert (await house.store.records([key]))[key].deleted


async def test_merge_is_told_though_polling_found_both_records_before(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.merged", "person.deleted") as house:
        merged(house, delete_first=True)
        await house.look()
        await house.deliver(*(one for one in house.changes if one.kind == "person"))
        names = [event.names for event in await house.events() if "person.merged" in event.names]
    assert len(names) == 1


async def test_pause_of_a_record_holds_for_the_one_that_it_was_merged_into(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.*") as house:
        loser, survivor = merged(house, delete_first=True)
        await house.store.pause(Pause("record", house.company, kind="person", record_id=loser, reason="by hand"))
        await house.deliver(*(one for one in house.changes if one.kind == "person"))
        assert {pause.record_id for pause in await house.store.pauses()} == {loser, survivor}


async def test_copy_by_another_webhook_is_told_once_though_its_id_differs(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        added = house.sandbox.add("deal", title="New")
        house.pass_time(2)
        house.sandbox.change("deal", added["id"], title="Changed")
        house.pass_time(2)
        house.sandbox.delete("deal", added["id"])
        for number, change in enumerate(house.changes):
            await house.deliver(change)
            await house.deliver(change, event_id=f"copy-{number}")
        assert len(await house.runs()) == 3


async def test_same_state_told_twice_by_one_webhook_is_two_events(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        house.sandbox.change("deal", next(house.sandbox.company.living("deal"))["id"], title="Changed")
        (change,) = house.changes
        await house.deliver(change)
        await house.deliver(replace(change, event_id="another event of the same state"))
        assert len(await house.runs()) == 2


async def test_two_changes_of_one_second_are_both_told(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        house.sandbox.clock.scale = 0
        deal = next(house.sandbox.company.living("deal"))
        for title in ("There", "and back", "There"):
            house.sandbox.change("deal", deal["id"], title=title)
        await house.deliver(*house.changes)
        assert len(await house.runs()) == 3
