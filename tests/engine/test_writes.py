"""What is kept of each write: before it is sent, after its outcome, and whatever comes between."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeflow.client import Client
from pipeflow.client.v1.models import Note
from pipeflow.engine.writes import Ledger
from pipeflow.errors import Skip
from pipeflow.events import Event
from pipeflow.store.base import Write
from tests.engine.acting import COMPANY, Acting, acting, handler


async def one_write(house: Acting) -> Write:
    await house.change(1, value=10)
    await house.at_rest()
    (write,) = await house.store.writes()
    return write


async def test_write_keeps_record_values_before_and_after_and_its_run(tmp_path: Path) -> None:
    async def raises(event: Event[Any], client: Client) -> None:
        await client.deals.update_deal(event.record.id, value=12, title="Espresso")

    async with acting(tmp_path / "x.db", handler("a.raises", raises)) as house:
        write = await one_write(house)
        (run,) = await house.runs()
    assert (write.company, write.kind, write.record_id) == (COMPANY, "deal", "1")
    assert (write.run_id, write.handler, write.operation) == (run.id, "a.raises", "v2.DealsApi.updateDeal")
    assert dict(write.values) == {"value": 12, "title": "Espresso"}
    assert write.before is not None
    assert (write.before["value"], write.before["title"]) == (10, "Deal 1")
    assert (write.outcome, dict(write.answer or {})) == ("done", {"id": 1, "value": 12, "title": "Espresso"})
    assert write.settled_at is not None


async def test_creation_learns_its_record_from_the_answer(tmp_path: Path) -> None:
    async def notes(event: Event[Any], client: Client) -> None:
        note = await client.notes.add_note(content="Hello", deal_id=event.record.id)
        assert isinstance(note, Note)

    async with acting(tmp_path / "x.db", handler("a.notes", notes)) as house:
        write = await one_write(house)
    assert (write.kind, write.record_id, write.before) == ("note", "1000", None)
    assert dict(write.values) == {"content": "Hello", "deal_id": 1}


async def test_deletion_keeps_the_last_state(tmp_path: Path) -> None:
    async def deletes(event: Event[Any], client: Client) -> None:
        await client.deals.delete_deal(event.record.id)

    async with acting(tmp_path / "x.db", handler("a.deletes", deletes)) as house:
        write = await one_write(house)
    assert write.before is not None
    assert (write.record_id, write.before["title"]) == ("1", "Deal 1")


async def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    async def reads(event: Event[Any], client: Client) -> None:
        await client.deals.get_deal(event.record.id)

    async with acting(tmp_path / "x.db", handler("a.reads", reads)) as house:
        await house.change(1)
        await house.at_rest()
        assert await house.store.writes() == []


@pytest.mark.parametrize(("status", "outcome"), [(400, "refused"), (403, "refused"), (500, "unknown")])
async def test_outcome_says_whether_pipedrive_may_have_done_it(tmp_path: Path, status: int, outcome: str) -> None:
    async def notes(event: Event[Any], client: Client) -> None:
        try:
            await client.notes.add_note(content="Hello", deal_id=event.record.id)
        except Exception as error:
            raise Skip(str(error)) from error

    async with acting(tmp_path / "x.db", handler("a.notes", notes)) as house:
        house.stub.answers.append((status, {"success": False, "error": "no"}))
        write = await one_write(house)
    assert write.outcome == outcome


async def test_intent_is_stored_while_the_write_is_under_way_and_unknown_once_it_is_cut_off(tmp_path: Path) -> None:
    async def notes(event: Event[Any], client: Client) -> None:
        await client.notes.add_note(content="Hello", deal_id=event.record.id)

    async with acting(tmp_path / "x.db", handler("a.notes", notes, timeout=0.3)) as house:
        house.stub.silent = True
        await house.change(1)
        async with asyncio.timeout(10):
            while not house.stub.writes:
                await asyncio.sleep(0.01)
        (under_way,) = await house.store.writes()
        await house.until(lambda runs: runs[0].attempts == 1)
        (cut_off,) = await house.store.writes()
    assert (under_way.outcome, under_way.settled_at) == (None, None)
    assert cut_off.outcome == "unknown"


async def test_open_writes_of_a_dead_process_are_unknown_after_the_next_start(tmp_path: Path) -> None:
    async with acting(tmp_path / "x.db") as house:
        left = Write(
            0, 1, "a.dead", (), 1, COMPANY, "deal", "1", "v2.DealsApi.updateDeal", {"value": 1}, None, house.now
        )
        await house.store.add_write(left)
        await Ledger(house.store, lambda: house.now).begin()
        (write,) = await house.store.writes()
    assert write.outcome == "unknown"


async def test_files_and_passwords_are_not_kept(tmp_path: Path) -> None:
    async def sends(event: Event[Any], client: Client) -> None:
        await client.files.add_file(file=("offer.pdf", b"%PDF", "application/pdf"), deal_id=event.record.id)

    async with acting(tmp_path / "x.db", handler("a.sends", sends)) as house:
        write = await one_write(house)
    assert write.values == {"deal_id": "1", "file": "offer.pdf"}
