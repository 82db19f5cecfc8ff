"""`events`, `runs`, `replay`, `doctor`, `migrate` and `new`, over a store with history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from pipeflow.cli.times import iso, parse_since
from pipeflow.errors import ConfigError, PipeflowError
from pipeflow.registry import load

from .conftest import COMPANY, NOW, Command, History

Listed = Callable[..., list[dict[str, Any]]]
Pipeflow = Callable[..., Result]

EVENT_KEYS = [
    *("id", "name", "names", "company", "kind", "record_id", "action", "source", "delivery_id", "occurred_at"),
    *("received_at", "stale", "status"),
]
RUN_KEYS = [
    *("id", "event_id", "handler", "lane", "company", "kind", "record_id", "status", "attempts", "next_attempt_at"),
    *("error", "replay_of", "created_at", "finished_at"),
]


def test_events_have_the_promised_keys_newest_first(history: History, listed: Listed) -> None:
    events = listed("events")
    assert [list(event) for event in events] == [EVENT_KEYS] * 6
    assert [event["id"] for event in events] == sorted((event["id"] for event in events), reverse=True)
    oldest = events[-1]
    assert oldest["names"] == ["deal.updated", "deal.stage_changed"]
    assert (oldest["company"], oldest["source"], oldest["delivery_id"]) == (COMPANY, "delivery", "moved-1-3")
    assert oldest["occurred_at"] == "2026-11-03T09:41:22.057Z"


def test_runs_have_the_promised_keys_and_leave_skipped_ones_out(history: History, listed: Listed) -> None:
    runs = listed("runs")
    assert [list(run) for run in runs] == [RUN_KEYS] * 4
    assert [run["id"] for run in runs] == [history.waiting, *reversed(history.dead), history.succeeded]
    assert runs[0]["next_attempt_at"] == iso(NOW + 3600)
    assert runs[-1]["next_attempt_at"] is None
    assert [run["id"] for run in listed("runs", "--status", "skipped")] == [history.skipped]


@pytest.mark.parametrize(("command", "known"), [("runs", "pending, running"), ("events", "stored, dispatched")])
def test_a_status_that_nothing_has_is_refused_with_those_there_are(
    history: History, pipeflow: Callable[..., Result], command: str, known: str
) -> None:
    refused = pipeflow(command, "--status", "failed").exception
    assert isinstance(refused, ConfigError)
    assert known in str(refused)


def test_listings_are_filtered(history: History, listed: Listed) -> None:
    assert {run["id"] for run in listed("runs", "--status", "dead")} == set(history.dead)
    assert [run["id"] for run in listed("runs", "--handler", "late.answer")] == [history.waiting]
    assert [run["id"] for run in listed("runs", "--record", "1", "--kind", "deal")] == [history.succeeded]
    assert [run["id"] for run in listed("runs", "--error", "phone")] == [history.dead[0]]
    assert len(listed("runs", "--limit", "2")) == 2
    assert len(listed("runs", "--limit", "0")) == 4
    assert [event["status"] for event in listed("events", "--status", "unreadable")] == ["unreadable"]
    assert [event["record_id"] for event in listed("events", "--handler", "picky.look")] == ["4"]
    assert [event["record_id"] for event in listed("events", "--name", "deal.stage_changed", "--limit", "1")] == ["5"]
    since = iso(NOW + 240)
    assert len(listed("runs", "--since", str(since))) == 1
    assert len(listed("events", "--since", str(since))) == 3


def test_an_event_in_full_has_its_changes_payload_and_runs(history: History, listed: Listed) -> None:
    first = listed("events")[-1]
    (event,) = listed("events", str(first["id"]))
    assert list(event)[: len(EVENT_KEYS)] == EVENT_KEYS
    assert event["changes"] == {"stage_id": {"old": 2, "new": 3}}
    assert event["payload"]["data"]["title"] == "Deal 1"
    assert [run["id"] for run in event["runs"]] == [history.succeeded]


def test_an_unreadable_event_shows_its_body(history: History, listed: Listed) -> None:
    (unreadable,) = listed("events", "--status", "unreadable")
    (event,) = listed("events", str(unreadable["id"]))
    assert event["payload"] == "no JSON"


def test_a_run_in_full_has_its_attempts(history: History, listed: Listed, pipeflow: Pipeflow) -> None:
    (run,) = listed("runs", str(history.dead[0]))
    (attempt,) = run["attempts_made"]
    assert (attempt["number"], attempt["outcome"], attempt["error"]) == (1, "failed", "KeyError: 'phone'")
    shown = pipeflow("runs", str(history.dead[0])).stdout
    assert "Traceback: line 12" in shown
    assert f"pipeflow replay {history.dead[0]}" in shown


def test_tables_are_for_people(history: History, pipeflow: Pipeflow) -> None:
    shown = pipeflow("runs").stdout
    assert "broken.first" in shown
    assert "KeyError: 'phone'" in shown
    assert "{" not in shown
    assert "No such runs." in pipeflow("runs", "--handler", "nobody").stdout


def test_what_is_not_there_is_a_sentence(history: History, pipeflow: Pipeflow) -> None:
    for arguments in (("events", "999"), ("runs", "999"), ("replay", "999", "--yes")):
        result = pipeflow(*arguments)
        assert isinstance(result.exception, PipeflowError)
        assert "999" in str(result.exception)


def test_a_folder_without_a_store_is_told_apart_from_an_empty_one(pipeflow: Pipeflow) -> None:
    result = pipeflow("runs", "--json")
    assert isinstance(result.exception, PipeflowError)
    assert "pipeflow run" in str(result.exception)
    assert pipeflow("migrate").exit_code == 0
    assert pipeflow("runs", "--json").stdout == ""


def test_replay_makes_new_runs_linked_to_the_old(history: History, pipeflow: Pipeflow, listed: Listed) -> None:
    assert pipeflow("replay", str(history.succeeded), str(history.skipped), "--yes").exit_code == 0
    newest, second = listed("runs", "--limit", "2")
    assert {newest["replay_of"], second["replay_of"]} == {history.succeeded, history.skipped}
    assert newest["status"] == "pending"


def test_replay_of_the_dead_asks_first_and_takes_each_once(
    history: History, pipeflow: Pipeflow, listed: Listed
) -> None:
    refused = pipeflow("replay", "--dead", answer="n\n")
    assert "Replay 2 runs?" in refused.output
    assert len(listed("runs")) == 4
    assert pipeflow("replay", "--dead", answer="y\n").exit_code == 0
    assert [run["replay_of"] for run in listed("runs", "--limit", "2")] == list(reversed(history.dead))
    assert "Nothing to replay." in pipeflow("replay", "--dead", "--yes").stdout


def test_replay_of_the_dead_can_be_narrowed(history: History, pipeflow: Pipeflow, listed: Listed) -> None:
    assert pipeflow("replay", "--dead", "--handler", "broken.second", "--yes").exit_code == 0
    assert [run["handler"] for run in listed("runs", "--status", "pending")] == ["broken.second", "late.answer"]


def test_replay_without_saying_which_is_refused(history: History, pipeflow: Pipeflow) -> None:
    assert isinstance(pipeflow("replay", "--yes").exception, ConfigError)
    assert isinstance(pipeflow("replay", "1", "--dead", "--yes").exception, ConfigError)


def test_doctor_shows_every_setting_and_hides_secrets(
    history: History, pipeflow: Pipeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPEDRIVE_API_TOKEN", "a-very-secret-token")
    result = pipeflow("doctor")
    assert result.exit_code == 1
    assert "a-very-secret-token" not in result.output
    assert "PIPEFLOW_GRACE_SECONDS" in result.output
    for hint in ("PIPEFLOW_PUBLIC_URL is not set", "2 runs are dead", "recipes"):
        assert hint in result.output


def test_doctor_is_content_when_all_is_well(pipeflow: Pipeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPEDRIVE_API_TOKEN", "a-token")
    monkeypatch.setenv("PIPEFLOW_PUBLIC_URL", "https://hooks.example.com")
    pipeflow("new", "follow_up")
    result = pipeflow("doctor")
    assert "All is well." in result.output
    assert result.exit_code == 0


def test_a_new_recipe_loads_and_is_never_overwritten(pipeflow: Pipeflow, folder: Path) -> None:
    assert pipeflow("new", "follow_up").exit_code == 0
    assert list(load(folder / "recipes").handlers) == ["follow_up.on_stage_move"]
    assert isinstance(pipeflow("new", "follow_up").exception, ConfigError)
    for name in ("2nd", "with space", "class", "../up", "_hidden"):
        assert isinstance(pipeflow("new", name).exception, ConfigError)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259200), ("1w", 604800), ("1.5 h", 5400), ("2 hours", 7200)],
)
def test_since_takes_durations(text: str, seconds: float) -> None:
    assert parse_since(text, NOW) == NOW - seconds


def test_since_takes_iso_times_and_refuses_the_rest() -> None:
    assert iso(parse_since("2026-11-03T09:41:22.057Z", NOW)) == "2026-11-03T09:41:22.057Z"
    assert iso(parse_since("2026-11-03T12:00:00+03:00", NOW)) == "2026-11-03T09:00:00.000Z"
    for text in ("", "yesterday", "2h ago", "-3d", "9999999999999d9"):
        with pytest.raises(ConfigError, match="duration"):
            parse_since(text, NOW)


def test_help_names_every_command(command: Command) -> None:
    shown = command("--help").stdout
    for name in ("run", "new", "events", "runs", "replay", "webhooks", "doctor", "migrate", "sandbox"):
        assert f"  {name}" in shown
