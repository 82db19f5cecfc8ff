"""What was not delivered is found: once, with what changed, within a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson

from pipeflow.engine.asking import Asking, Purse
from pipeflow.engine.look import Look
from pipeflow.engine.reconcile import describe
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.followers import add_follower, remove_follower
from tests.engine.watched import watched


async def test_change_that_nobody_delivered_is_found_with_what_changed(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        deal = next(house.sandbox.company.living("deal"))
        other = next(one for one in house.sandbox.company.living("stage") if one["id"] != deal["stage_id"])
        house.sandbox.change("deal", deal["id"], stage_id=other["id"])
        proof = await house.look()
        (event,) = await house.polled()
    assert (proof.changes, proof.known, proof.added, proof.error) == (1, 0, 1, None)
    assert (event.name, event.record_id, event.status) == ("deal.updated", str(deal["id"]), "dispatched")
    assert "deal.stage_changed" in event.names
    assert orjson.loads(event.raw)["previous"]["stage_id"] == deal["stage_id"]


async def test_what_was_delivered_is_known_and_told_once(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        deal = next(house.sandbox.company.living("deal"))
        house.sandbox.change("deal", deal["id"], title="Told")
        house.sandbox.add("deal", title="Told too")
        await house.deliver(*house.changes)
        proof = await house.look()
        assert await house.polled() == []
    assert (proof.changes, proof.known, proof.added) == (2, 2, 0)


async def test_delivery_that_comes_after_its_change_was_found_makes_no_run(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        deal = next(house.sandbox.company.living("deal"))
        house.sandbox.change("deal", deal["id"], title="First")
        house.pass_time(5)
        house.sandbox.change("deal", deal["id"], title="Second")
        added = house.sandbox.add("deal", title="New")
        gone = house.sandbox.add("deal", title="Gone")
        house.sandbox.delete("deal", gone["id"])
        await house.look()
        found = await house.runs()
        await house.deliver(*house.changes)
        assert await house.runs() == found
        late = await house.events(source="delivery")
    assert {event.status for event in late} == {"twin"}
    assert sorted((run.record_id) for run in found) == sorted(str(one["id"]) for one in (deal, added, gone))


async def test_change_after_the_one_that_was_found_is_told_though_in_the_same_second(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        house.sandbox.clock.scale = 0
        deal = next(house.sandbox.company.living("deal"))
        house.sandbox.change("deal", deal["id"], title="Found")
        await house.look()
        house.sandbox.change("deal", deal["id"], title="Delivered")
        await house.deliver(*house.changes)
        statuses = [event.status for event in await house.events(source="delivery")]
    assert statuses == ["twin", "dispatched"]


async def test_new_and_deleted_deals_are_found(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        old = next(house.sandbox.company.living("deal"))
        new = house.sandbox.add("deal", title="New", status="won")
        house.sandbox.delete("deal", old["id"])
        await house.look()
        events = {(event.name, event.record_id): event for event in await house.polled()}
    assert set(events) == {("deal.added", str(new["id"])), ("deal.deleted", str(old["id"]))}
    assert "deal.won" in events["deal.added", str(new["id"])].names
    assert orjson.loads(events["deal.deleted", str(old["id"])].raw)["previous"]["title"] == old["title"]


async def test_second_look_finds_nothing_that_the_first_one_told(tmp_path: Path) -> None:
    async with watched(tmp_path, "*") as house:
        for kind in ("deal", "person", "organization", "activity", "product", "note", "stage", "pipeline", "user"):
            record = next(house.sandbox.company.living(kind))
            name = {"deal": "title", "activity": "subject", "note": "content"}.get(kind, "name")
            house.sandbox.change(kind, record["id"], **{name: "Changed"})
        first = await house.look()
        house.pass_time(30)
        second = await house.look()
        kinds = sorted(event.kind for event in await house.polled())
    assert kinds == ["activity", "deal", "note", "organization", "person", "pipeline", "product", "stage", "user"]
    assert first.error is None
    assert (first.added, second.added) == (9, 0)


async def test_change_that_is_delivered_after_the_deletion_revives_no_record(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.*") as house:
        person = next(house.sandbox.company.living("person"))["id"]
        house.sandbox.change("person", person, name="Last name")
        house.pass_time(5)
        house.sandbox.delete("person", person)
        await house.deliver(house.changes[-1])
        await house.deliver(house.changes[0])
        key = (house.company, "person", str(person))
        assert (await house.store.records([key]))[key].deleted
        assert [event.stale for event in await house.events()] == [False, True]


async def test_created_record_that_is_delivered_after_its_change_is_stale(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        deal = house.sandbox.add("deal", title="New")["id"]
        house.pass_time(5)
        house.sandbox.change("deal", deal, title="Newer")
        await house.deliver(house.changes[1], house.changes[0])
        assert [(event.name, event.stale) for event in await house.events()] == [
            ("deal.updated", False),
            ("deal.added", True),
        ]


async def test_backlog_gives_way_to_what_is_delivered_meanwhile(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.*") as house:
        for number in range(120):
            house.sandbox.add("person", name=f"Person {number}")
        await house.look()
        assert {event.bulk for event in await house.polled()} == {True}
        house.pass_time(100)
        house.sandbox.add("person", name="One alone")
        await house.look()
        assert not (await house.polled())[-1].bulk


async def test_archiving_and_taking_back_are_found(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.archived", "deal.unarchived") as house:
        deal = next(house.sandbox.company.living("deal"))
        house.sandbox.change("deal", deal["id"], is_archived=True)
        await house.look()
        house.pass_time(100)
        house.sandbox.change("deal", deal["id"], is_archived=False)
        await house.look()
        names = [name for event in await house.polled() for name in event.names[1:]]
    assert names == ["deal.archived", "deal.unarchived"]


async def test_records_deleted_without_a_list_of_deletions_are_found_by_their_absence(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.deleted") as house:
        person = next(house.sandbox.company.living("person"))
        house.sandbox.delete("person", person["id"])
        await house.look()
        await house.look()
        (event,) = await house.polled()
    assert (event.name, event.record_id) == ("person.deleted", str(person["id"]))


async def test_only_what_handlers_want_is_asked_for(tmp_path: Path) -> None:
    async with watched(tmp_path, "person.added") as house:
        person = next(house.sandbox.company.living("person"))
        house.sandbox.change("person", person["id"], name="Not asked for")
        house.sandbox.journal.clear()
        await house.look()
        asked = {request["path"] for request in house.sandbox.journal.listed()}
        assert await house.polled() == []
    assert asked == {"/api/v2/persons"}


async def test_looking_ends_where_the_budget_does_and_goes_on_when_there_is_more(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "person.*", reconcile_tokens=100) as house:
        person = next(house.sandbox.company.living("person"))
        house.sandbox.change("person", person["id"], name="Late")
        proofs = [await house.look() for _ in range(3)]
        spent = sum(proof.tokens for proof in await house.store.proofs(limit=0))
        assert spent <= 100
        assert any("want of tokens" in (proof.error or "") for proof in proofs)
        house.pass_time(90_000)
        await house.look()
        assert [event.name for event in await house.polled()] == ["person.updated"]


async def test_each_source_is_looked_at_every_quarter_of_an_hour(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.updated") as house:
        await house.look()
        house.pass_time(880)
        assert await house.reconciler.step() == []
        house.pass_time(30)
        assert len(await house.reconciler.step()) == 1


async def test_small_budget_makes_the_looks_rarer(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.updated", reconcile_tokens=960) as house:
        deals = next(source for source in house.reconciler.sources if source.name == "deal")
        assert house.reconciler.every(deals) == 2700.0


async def test_list_that_a_plan_does_not_have_is_named_and_the_others_are_looked_at(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "lead.*") as house:
        house.sandbox.faults.add(kind="answer", path="/v1/leads", status=403, body={"error": "no leads here"})
        deal = next(house.sandbox.company.living("deal"))
        house.sandbox.change("deal", deal["id"], title="Found")
        proof = await house.look()
    assert proof.added == 1
    assert proof.error is not None


async def test_unreachable_pipedrive_leaves_the_watermarks_and_is_asked_again_soon(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        deal = next(house.sandbox.company.living("deal"))
        house.sandbox.change("deal", deal["id"], title="Found later")
        house.sandbox.faults.add(kind="503", count=3)
        proof = await house.look()
        assert proof.error is not None
        house.pass_time(60)
        await house.reconciler.step()
        assert [event.record_id for event in await house.polled()] == [str(deal["id"])]


async def test_proof_says_what_was_looked_at_since_the_last_one(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*") as house:
        first = await house.look()
        deal = next(house.sandbox.company.living("deal"))
        house.pass_time(1740)
        house.sandbox.change("deal", deal["id"], title="Missed")
        proof = await house.look()
        assert await house.store.proofs(house.company, limit=1) == [replace(proof, id=3)]
    assert proof.since == first.until
    assert describe(proof).endswith(": 1 change, 0 known, 1 added")


async def test_polling_is_a_source_of_its_own_at_the_pace_that_was_asked_for(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "deal.won", poll=60.0) as house:
        deal = next(one for one in house.sandbox.company.living("deal") if one["status"] == "open")
        house.sandbox.change("deal", deal["id"], status="won")
        house.pass_time(60)
        await house.reconciler.step()
        await house.dispatch()
        (event,) = await house.polled()
        assert "deal.won" in event.names
        for _ in range(10):
            house.pass_time(60)
            await house.reconciler.step()
        assert len(await house.polled()) == 1
        assert len(await house.store.proofs()) == 2


async def test_what_no_webhook_tells_is_found_where_a_handler_asks(tmp_path: Path) -> None:
    async with watched(tmp_path, "activityType.*", "file.*", "follower.*") as house:
        company, admin = house.sandbox.company, house.sandbox.company.admin["id"]
        deal = next(company.living("deal"))
        kind_of_activity = next(company.living("activityType"))
        house.sandbox.change("activityType", kind_of_activity["id"], name="Site visit")
        house.sandbox.add("file", name="offer.pdf", file_name="offer.pdf", deal_id=deal["id"], user_id=admin)
        add_follower(company, "deal", deal["id"], admin, Actor(admin))
        await house.look()
        house.pass_time(120)
        remove_follower(company, "deal", deal["id"], admin, Actor(admin))
        await house.look()
        await house.look()
        told = [(event.name, event.record_id) for event in await house.polled()]
    follower = f"deal:{deal['id']}:{admin}"
    assert sorted(told) == [
        ("activityType.updated", str(kind_of_activity["id"])),
        ("file.added", "1"),
        ("follower.added", follower),
        ("follower.deleted", follower),
    ]


async def test_what_only_polling_tells_is_not_asked_for_by_a_handler_of_everything(tmp_path: Path) -> None:
    async with watched(tmp_path, "*") as house:
        kinds = {source.kind for source in house.reconciler.sources}
    assert kinds >= {"deal", "lead", "note", "user", "stage"}
    assert not kinds & {"activityType", "file", "mail", "follower"}


async def test_deleted_activity_type_is_missing_in_the_list(tmp_path: Path) -> None:
    async with watched(tmp_path, "activityType.deleted") as house:
        gone = next(house.sandbox.company.living("activityType"))
        house.sandbox.delete("activityType", gone["id"])
        await house.look()
        await house.look()
        assert [(event.name, event.record_id) for event in await house.polled()] == [
            ("activityType.deleted", str(gone["id"]))
        ]


async def test_clock_that_is_set_back_does_not_put_the_next_look_off(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.updated") as house:
        await house.look()
        house.clock.now -= 86_400
        assert len(await house.reconciler.step()) == 1
        assert await house.reconciler.step() == []


async def test_poll_that_comes_a_little_early_is_not_left_out(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", poll=2.0) as house:
        await house.look()
        house.pass_time(1.95)
        assert len(await house.reconciler.step()) == 1
        house.pass_time(1)
        assert await house.reconciler.step() == []


async def test_second_change_within_a_second_is_found_where_polling_is_all_there_is(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", poll=1.0) as house:
        house.sandbox.clock.scale = 0
        deal = next(house.sandbox.company.living("deal"))
        for title in ("First", "Second", "Third"):
            house.sandbox.change("deal", deal["id"], title=title)
            await house.look()
            await house.look()
        titles = [orjson.loads(event.raw)["data"]["title"] for event in await house.polled()]
        assert titles == ["First", "Second", "Third"]
        house.pass_time(2)
        house.sandbox.change("deal", deal["id"], title="Later")
        await house.look()
        assert [event.stale for event in await house.polled()] == [False] * 4


async def test_list_that_was_refused_is_asked_for_again_a_day_later(tmp_path: Path) -> None:
    async with watched(tmp_path, "lead.*") as house:
        house.sandbox.faults.add(kind="answer", path="/v1/leads", status=403, body={"error": "no leads here"})
        assert (await house.look()).error is not None
        house.pass_time(3600)
        assert await house.reconciler.step() == []
        house.pass_time(86_400)
        assert len(await house.reconciler.step()) == 1


async def test_note_that_an_offset_leaves_out_is_found_at_the_next_look(tmp_path: Path) -> None:
    async with watched(tmp_path, "note.*") as house:
        deal = next(house.sandbox.company.living("deal"))["id"]
        notes = []
        for number in range(510):
            notes.append(house.sandbox.add("note", content=f"Note {number}", deal_id=deal)["id"])
            house.sandbox.clock.advance(1)
        asked = []

        async def before_each_page() -> None:
            asked.append(1)
            if len(asked) == 2:
                house.sandbox.change("note", notes[0], content="Moves to the end while the list is read")

        (account,) = await house.accounts.connected()
        asking = Asking(house.accounts.client_for(account), Purse(None), alive=before_each_page)
        sources = [source for source in house.reconciler.sources if source.name == "note"]
        needs = {("*", "note")}
        for _ in range(2):
            await Look(house.store, asking, house.company, needs, house.clock()).at(sources)
        await house.dispatch()
        told = {event.record_id for event in await house.polled()}
    assert told == {str(note) for note in notes}


async def test_archived_project_is_not_taken_for_a_deleted_one(tmp_path: Path) -> None:
    async with watched(tmp_path, "project.*", "phase.*", "board.*") as house:
        sandbox, admin = house.sandbox, house.sandbox.company.admin["id"]
        board = sandbox.add("board", name="Roll-outs")["id"]
        phase = sandbox.add("phase", name="Kick-off", board_id=board)["id"]
        kept, gone = (
            sandbox.add("project", title=title, board_id=board, phase_id=phase, owner_id=admin)["id"]
            for title in ("Kept", "Gone")
        )
        await house.look()
        house.pass_time(100)
        sandbox.change("project", kept, archive_time=sandbox.clock.stamp())
        sandbox.delete("project", gone)
        sandbox.change("phase", phase, name="Start")
        await house.look()
        told = [(event.name, event.record_id) for event in await house.polled()]
    assert told == [
        ("project.added", str(kept)),
        ("project.added", str(gone)),
        ("board.added", str(board)),
        ("phase.added", str(phase)),
        ("project.updated", str(kept)),
        ("project.deleted", str(gone)),
        ("phase.updated", str(phase)),
    ]
