"""What a person does beside a running pipeflow: steer runs, pause and resume, replay, rehearse, export."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from pipeflow.cli.times import iso
from pipeflow.errors import ConfigError, PipeflowError
from pipeflow.registry import load
from pipeflow.store import open_store
from pipeflow.store.base import ALL, Dispatch, NewEvent, NewRun, Store, Write
from pipeflow.testing import read_event

from .conftest import COMPANY, NOW, Command, History, event_of, moved, write_history

Listed = Callable[..., list[dict[str, Any]]]
Pipeflow = Callable[..., Result]


def in_store(work: Callable[[Store], Any]) -> Any:
    """Do something in `pipeflow.db` as its owner."""

    async def do() -> Any:
        store = open_store("sqlite:///pipeflow.db")
        await store.open(owner=True)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(do())


def run_of(listed: Listed, run_id: int) -> dict[str, Any]:
    (run,) = listed("runs", str(run_id))
    return run


# Steering runs ----------------------------------------------------------------------------------------------------
def test_retry_makes_a_waiting_run_due_now(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    in_store(lambda store: store.move_due_times(ALL, 10**10))
    before = run_of(listed, history.waiting)["next_attempt_at"]
    assert "1 run is tried again now." in pipeflow("runs", "retry", str(history.waiting)).output
    assert run_of(listed, history.waiting)["next_attempt_at"] < before


def test_retry_says_what_to_do_about_a_dead_run(history: History, pipeflow: Pipeflow) -> None:
    result = pipeflow("runs", "retry", str(history.dead[0]))
    assert isinstance(result.exception, PipeflowError)
    assert f"`pipeflow replay {history.dead[0]}`" in str(result.exception)


def test_skip_ends_waiting_runs_and_keeps_the_reason(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    result = pipeflow("runs", "skip", "--handler", "late.answer", "--reason", "known", "--yes")
    assert "1 run is left out." in result.output
    run = run_of(listed, history.waiting)
    assert (run["status"], run["error"]) == ("skipped", "known")


def test_release_lets_parked_lanes_go_on(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    in_store(lambda store: store.park_runs([history.waiting], ALL, NOW, reason="fuse: a loop"))
    (parked,) = listed("runs", "--parked")
    assert (parked["id"], parked["error"]) == (history.waiting, "fuse: a loop")
    assert run_of(listed, history.waiting)["parked"] is True
    (released,) = listed("runs", "release", "--all", "--yes")
    assert released["id"] == history.waiting
    assert listed("runs", "--parked") == []


def test_many_runs_are_asked_about_first(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    result = pipeflow("runs", "skip", "--all", answer="n\n")
    assert "late.answer" in result.output
    assert run_of(listed, history.waiting)["status"] == "pending"


@pytest.mark.parametrize("arguments", [(), ("12", "--all"), ("12", "--handler", "late.answer")])
def test_which_runs_are_meant_must_be_said_once(
    history: History, pipeflow: Pipeflow, arguments: tuple[str, ...]
) -> None:
    assert isinstance(pipeflow("runs", "retry", *arguments).exception, ConfigError)


def test_unknown_run_is_refused(history: History, pipeflow: Pipeflow) -> None:
    assert "there is no run 999" in str(pipeflow("runs", "skip", "999").exception)


def test_run_says_what_it_waits_for(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    async def behind(store: Store) -> int:
        (event_id,) = await store.add_events([event_of(moved(5, 9), NOW)])
        assert event_id is not None
        run = NewRun("late.answer", f"late.answer|{COMPANY}|deal|5")
        await store.dispatch([Dispatch(event_id, ("deal.updated",), "dispatched", runs=(run,))], ALL, NOW)
        return event_id

    assert run_of(listed, history.succeeded)["waits_for"] is None
    event_id = in_store(behind)
    assert run_of(listed, history.waiting)["waits_for"].startswith("its turn: it is due")
    (later,) = listed("runs", "--event", str(event_id))
    assert later["lane"] == run_of(listed, history.waiting)["lane"]
    assert run_of(listed, later["id"])["waits_for"] == f"run {history.waiting} of the same lane"
    pipeflow("pause", "handler", "late.answer")
    assert run_of(listed, history.waiting)["waits_for"] == "`pipeflow resume`: Handler late.answer is paused"
    pipeflow("resume", "handler", "late.answer")
    in_store(lambda store: store.park_runs([history.waiting], ALL, NOW, reason="fuse"))
    assert run_of(listed, history.waiting)["waits_for"] == f"a person: `pipeflow runs release {history.waiting}`"


def test_doctor_names_what_waits_for_a_person(history: History, pipeflow: Pipeflow) -> None:
    pipeflow("pause", "handler", "late.answer", "--reason", "holidays")
    in_store(lambda store: store.park_runs([history.waiting], ALL, NOW, reason="fuse"))
    told = pipeflow("doctor").output
    assert "Handler late.answer is paused: holidays" in told
    assert "1 of the lanes; `pipeflow runs --parked`" in told


# Pausing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "row"),
    [
        (("account", str(COMPANY)), {"what": "account", "company": COMPANY}),
        (("handler", "late.answer"), {"what": "handler", "handler": "late.answer"}),
        (("record", "deal", "5"), {"what": "record", "company": COMPANY, "kind": "deal", "record_id": "5"}),
    ],
)
def test_account_handler_and_record_wait_until_they_are_resumed(
    history: History, listed: Listed, pipeflow: Pipeflow, target: tuple[str, ...], row: dict[str, Any]
) -> None:
    async def due(store: Store) -> list[int]:
        return [run.id for run in await store.due_runs(ALL, NOW + 10**6, limit=10)]

    assert in_store(due) == [history.waiting]
    assert pipeflow("pause", *target, "--reason", "holidays").exit_code == 0
    assert in_store(due) == []
    (paused,) = listed("pause")
    assert row.items() <= paused.items()
    assert paused["reason"] == "holidays"
    assert pipeflow("resume", *target).exit_code == 0
    assert in_store(due) == [history.waiting]
    assert listed("pause") == []


def test_resuming_what_is_not_paused_says_so(history: History, pipeflow: Pipeflow) -> None:
    assert "is not paused" in str(pipeflow("resume", "handler", "late.answer").exception)


def test_pausing_an_unknown_company_names_those_that_are_connected(history: History, pipeflow: Pipeflow) -> None:
    assert str(COMPANY) in str(pipeflow("pause", "account", "99").exception)


def test_pausing_what_nobody_knows_is_refused_or_said(history: History, pipeflow: Pipeflow) -> None:
    assert "no records of the kind dael" in str(pipeflow("pause", "record", "dael", "5").exception)
    strange = NewEvent(COMPANY, "2.0:strange", "dael.added", "dael", "5", "added", "delivery", b"{}", NOW, 1)
    in_store(lambda store: store.add_events([strange]))
    assert pipeflow("pause", "record", "dael", "5").exit_code == 0
    assert "It has never run here" in pipeflow("pause", "handler", "late.anwser").output
    assert "never" not in pipeflow("pause", "handler", "late.answer").output


# Replaying --------------------------------------------------------------------------------------------------------
def replayed(listed: Listed) -> list[int]:
    return sorted(run["replay_of"] for run in listed("runs", "--limit", "0") if run["replay_of"])


def test_replay_by_event_handler_and_time_takes_ended_runs_once_each(
    history: History, listed: Listed, pipeflow: Pipeflow
) -> None:
    event = run_of(listed, history.dead[0])["event_id"]
    assert "1 new run made." in pipeflow("replay", "--event", str(event), "--yes").output
    assert replayed(listed) == [history.dead[0]]
    assert "1 new run made." in pipeflow("replay", "--handler", "follow_up.call", "--yes").output
    assert replayed(listed) == sorted([history.dead[0], history.succeeded])
    until = str(iso(NOW + 1000))
    assert "4 runs would be made." in pipeflow("replay", "--since", str(iso(NOW)), "--until", until, "--dry-run").output


def test_replay_dry_run_counts_and_makes_no_run(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    _write_recipe()
    result = pipeflow("replay", "--handler", "follow_up.call", "--dry-run")
    assert "1 run would be made." in result.output
    assert replayed(listed) == []


def test_replay_dry_run_shows_what_the_handler_would_write_and_sends_nothing(
    history: History, listed: Listed, pipeflow: Pipeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_recipe()
    monkeypatch.setenv("PIPEDRIVE_API_URL", "http://127.0.0.1:9")
    in_store(_with_credentials)
    result = pipeflow("replay", str(history.succeeded), "--dry-run")
    assert "not sent: v2.deals.update_deal 1 value=7" in result.output, result.output
    assert listed("writes") == []


def _write_recipe() -> None:
    folder = Path("recipes")
    folder.mkdir(exist_ok=True)
    (folder / "follow_up.py").write_text(
        "from pipeflow import Client, Event, on\n"
        "from pipeflow.records import Deal\n"
        "@on('deal.updated')\n"
        "async def call(event: Event[Deal], client: Client) -> None:\n"
        "    made = await client.deals.update_deal(event.record.id, value=7)\n"
        "    assert made.value == 7\n"
    )


async def _with_credentials(store: Store) -> None:
    from dataclasses import replace

    from pipeflow.settings import Settings
    from pipeflow.vault import open_vault

    vault = open_vault(Settings.load())
    (account,) = await store.accounts()
    await store.save_account(replace(account, credentials=vault.encrypt(b"token"), acting=True))


# Writes, events ---------------------------------------------------------------------------------------------------
def test_writes_are_listed_and_shown_with_their_run(history: History, listed: Listed) -> None:
    values, before = {"value": 7}, {"value": 6}
    write = Write(
        0,
        history.succeeded,
        "follow_up.call",
        (),
        1,
        COMPANY,
        "deal",
        "1",
        "v2.DealsApi.updateDeal",
        values,
        before,
        NOW,
    )
    in_store(lambda store: store.add_write(write))
    (row,) = listed("writes", "--handler", "follow_up.call", "--record", "1")
    assert (row["operation"], row["values"], row["before"]) == ("v2.deals.update_deal", values, before)
    assert [one["id"] for one in run_of(listed, history.succeeded)["writes"]] == [row["id"]]
    assert listed("writes", "--record", "2") == []


def test_event_that_no_handler_wanted_is_shown_with_the_one_to_write(
    history: History, listed: Listed, pipeflow: Pipeflow, tmp_path: Path
) -> None:
    async def unmatched(store: Store) -> int:
        (event_id,) = await store.add_events([event_of(moved(77), NOW)])
        assert event_id is not None
        await store.dispatch([Dispatch(event_id, ("deal.updated", "deal.stage_changed"), "unmatched")], ALL, NOW)
        return event_id

    event_id = in_store(unmatched)
    (event,) = listed("events", str(event_id))
    assert '@on("deal.stage_changed")' in pipeflow("events", str(event_id)).output
    folder = tmp_path / "suggested"
    folder.mkdir()
    (folder / "new.py").write_text(event["suggestion"])
    assert list(load(folder).handlers) == ["new.on_deal_stage_changed"]


def test_event_that_no_handler_wanted_is_tried_and_then_dispatched_again_for_one_that_was_written(
    history: History, listed: Listed, pipeflow: Pipeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unmatched(store: Store) -> int:
        (event_id,) = await store.add_events([event_of(moved(77), NOW)])
        assert event_id is not None
        await store.dispatch([Dispatch(event_id, ("deal.updated", "deal.stage_changed"), "unmatched")], ALL, NOW)
        return event_id

    event_id = str(in_store(unmatched))
    _write_recipe()
    monkeypatch.setenv("PIPEDRIVE_API_URL", "http://127.0.0.1:9")
    in_store(_with_credentials)
    tried = pipeflow("replay", "--event", event_id, "--dry-run").output
    assert "not sent: v2.deals.update_deal 77 value=7" in tried
    assert "1 event that no handler had wanted: dispatched." in pipeflow("replay", "--event", event_id).output
    (event,) = listed("events", event_id)
    assert event["status"] == "stored"


def person(**values: Any) -> bytes:
    meta = {"action": "change", "entity": "person", "entity_id": "8", "company_id": str(COMPANY), "id": "person-8"}
    meta |= {"timestamp": "2026-11-03T09:41:22.057Z", "version": "2.0", "host": "acme-1a2b3c.pipedrive.com"}
    meta |= {"permitted_user_ids": ["5521002"], "user_id": "5521007"}
    hash_key = "a" * 40
    data = {
        "id": 8,
        "name": "Ann Lee",
        "emails": [{"label": "work", "value": "ann@acme.test", "primary": True}],
        "phones": [{"label": "mobile", "value": "+372 5550100", "primary": True}],
        "add_time": "2026-11-24T13:18:55Z",
        "visible_to": "3",
        "custom_fields": {hash_key: {"type": "varchar", "value": "her secret"}, "b" * 40: {"type": "enum", "id": 17}},
        **values,
    }
    previous = {"name": "Ann Smith", "custom_fields": {hash_key: {"type": "varchar", "value": "older secret"}}}
    return json.dumps({"meta": meta, "data": data, "previous": previous}).encode()


def exported(pipeflow: Pipeflow, raw: bytes) -> str:
    (event_id,) = in_store(lambda store: store.add_events([event_of(raw, NOW)]))
    result = pipeflow("events", "export", str(event_id))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_export_masks_personal_data_wherever_it_stands(history: History, pipeflow: Pipeflow) -> None:
    text = exported(pipeflow, person(birthday="1984-05-06", notes="<b>calls at night</b>", new_field="Ann's dog"))
    for told in ("Ann", "Lee", "Smith", "acme", "5550100", "secret", "1984", "night", "5521002"):
        assert told not in text


def test_export_keeps_what_a_test_needs(history: History, pipeflow: Pipeflow, tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    path.write_text(exported(pipeflow, person()))
    event = read_event(path)
    assert (event.name, event.record_id, event.company) == ("person.updated", "8", COMPANY)
    assert set(event.changes) == {"name", "a" * 40}
    assert event.changes["name"].old != event.changes["name"].new == event.record.name
    assert event.record.add_time.year == 2026
    assert event.record.custom["b" * 40].id == 17


def test_export_into_a_file_says_how_to_use_it(history: History, pipeflow: Pipeflow) -> None:
    (event_id,) = in_store(lambda store: store.add_events([event_of(moved(78), NOW)]))
    result = pipeflow("events", "export", str(event_id), "--to", "moved.json")
    assert "read_event('moved.json')" in result.output
    assert read_event("moved.json").names == ("deal.updated", "deal.stage_changed")


def test_what_has_no_delivery_is_not_exported(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    (unreadable,) = listed("events", "--status", "unreadable")
    assert "could be a fixture" in str(pipeflow("events", "export", str(unreadable["id"])).exception)


# Beside the owner -------------------------------------------------------------------------------------------------
async def test_every_command_works_while_another_process_owns_the_store(folder: Path, command: Command) -> None:

    store = open_store(f"sqlite:///{folder}/pipeflow.db")
    await store.open(owner=True)
    try:
        history = await write_history(store)
        await store.park_runs([history.waiting], ALL, NOW, reason="fuse")
        for arguments in (
            ("runs", "release", str(history.waiting)),
            ("runs", "skip", str(history.waiting)),
            ("pause", "handler", "late.answer"),
            ("pause", "--json"),
            ("resume", "handler", "late.answer"),
            ("replay", "--dead", "--yes"),
            ("writes", "--json"),
            ("events", "export", "1"),
        ):
            done = await asyncio.to_thread(command, *arguments)
            assert done.returncode == 0, (arguments, done.stderr)
    finally:
        await store.close()


def test_handler_that_ignores_its_end_does_not_keep_the_process(recipe: Any, start: Any) -> None:
    recipe(
        "import asyncio\n"
        "from pipeflow import every\n"
        "@every('1 second')\n"
        "async def stubborn() -> None:\n"
        "    print('at work', flush=True)\n"
        "    while True:\n"
        "        try:\n"
        "            await asyncio.sleep(60)\n"
        "        except asyncio.CancelledError:\n"
        "            continue\n"
    )
    running = start("--sandbox", "--rate", "0", PIPEFLOW_GRACE_SECONDS="0")
    running.wait_for("at work")
    running.send(signal.SIGTERM)
    assert running.ended() == 0
