"""What `run` refuses, how it says so, and with which exit code."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeflow.store import open_store
from pipeflow.store.base import Account

from .conftest import Command, Running

FINE = "from pipeflow import Event, on\n\n\n@on('deal.added')\nasync def look(event: Event) -> None: ...\n"
TOKEN = {"PIPEDRIVE_API_TOKEN": "a-token", "PIPEFLOW_PUBLIC_URL": "https://hooks.example.com"}


def test_without_credentials_it_says_what_to_set_and_that_there_is_a_sandbox(command: Command) -> None:
    done = command("run", "recipes")
    assert done.returncode == 2
    for word in ("PIPEDRIVE_API_TOKEN", "PIPEFLOW_PUBLIC_URL", "--sandbox"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_with_a_token_but_no_public_url_it_says_which_is_missing(command: Command) -> None:
    done = command("run", "recipes", PIPEDRIVE_API_TOKEN="a-token")
    assert done.returncode == 2
    assert "PIPEFLOW_PUBLIC_URL" in done.stderr
    assert "a-token" not in done.stderr + done.stdout


def test_a_broken_recipe_is_named_with_its_file_and_line(command: Command, recipe: Callable[[str], Path]) -> None:
    path = recipe("from pipeflow import on\n\n\n@on('deal.exploded')\nasync def look(): ...\n")
    done = command("run", "recipes", **TOKEN)
    assert done.returncode == 2
    assert str(path.name) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_recipes_that_is_not_there_is_refused(command: Command) -> None:
    done = command("run", "nowhere/", **TOKEN)
    assert done.returncode == 2
    assert "nowhere/" in done.stderr


def test_a_setting_that_cannot_be_is_named(command: Command) -> None:
    done = command("run", "recipes", **TOKEN, PIPEFLOW_CONCURRENCY="many")
    assert done.returncode == 2
    assert "PIPEFLOW_CONCURRENCY" in done.stderr


def test_a_port_that_is_taken_is_named_with_what_to_do(command: Command, recipe: Callable[[str], Path]) -> None:
    recipe(FINE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("run", "recipes", "--port", str(port), **TOKEN)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "--port" in done.stderr


def test_halves_need_a_database_that_both_can_reach(command: Command) -> None:
    done = command("run", "recipes", "--only", "web", **TOKEN)
    assert done.returncode == 2
    assert "PostgreSQL" in done.stderr


def test_an_unreachable_pipedrive_ends_a_first_start_with_a_sentence(
    command: Command, recipe: Callable[[str], Path]
) -> None:
    recipe(FINE)
    nowhere = {"PIPEDRIVE_API_URL": "http://127.0.0.1:9", "PIPEFLOW_PORT": "0"}
    done = command("run", "recipes", **TOKEN, **nowhere)
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_run_on_the_same_store_is_refused_and_names_the_first(
    command: Command, start: Callable[..., Running], recipe: Callable[[str], Path]
) -> None:
    recipe(FINE)
    first = start("recipes", "--sandbox", "--rate", "0")
    first.wait_for("Ctrl-C ends it.")
    done = command("run", "recipes", "--sandbox", "--rate", "0", PIPEFLOW_PORT="0")
    assert done.returncode == 1
    assert str(first.process.pid) in done.stderr


def test_sample_data_is_not_mixed_with_real_data(command: Command, recipe: Callable[[str], Path], folder: Path) -> None:
    async def connect_a_real_company() -> None:
        store = open_store("sqlite:///pipeflow.db")
        await store.open()
        await store.save_account(Account(id=0, company=77, user_id=1, mode="token", company_name="Real Ltd"))
        await store.close()

    asyncio.run(connect_a_real_company())
    recipe(FINE)
    done = command("run", "--sandbox", PIPEFLOW_PORT="0", PIPEFLOW_DATABASE_URL="sqlite:///pipeflow.db")
    assert done.returncode == 1
    assert "Real Ltd" in done.stderr


def test_an_unknown_command_is_refused_as_wrong_usage(command: Command) -> None:
    assert command("fly").returncode == 2


def test_a_file_that_cannot_be_written_is_named(command: Command, folder: Path) -> None:
    (folder / ".sandbox").write_text("a file where a folder should be")
    for arguments in (("run", "--sandbox", "--port", "0"), ("new", ".sandbox/mine.py")):
        done = command(*arguments)
        assert done.returncode != 0
        assert ".sandbox" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_key_file_that_holds_no_key_is_named(command: Command, recipe: Callable[[str], Path], folder: Path) -> None:
    recipe(FINE)
    (folder / "pipeflow.db.key").write_text("short")
    done = command("run", "recipes", **TOKEN)
    assert done.returncode == 2
    assert "the keys are in pipeflow.db.key, as PIPEFLOW_SECRET_KEY is not set" in done.stderr


def test_a_store_that_is_none_says_what_to_do(command: Command, folder: Path) -> None:
    (folder / "other.db").write_text("no database")
    done = command("runs", PIPEFLOW_DATABASE_URL="sqlite:///other.db")
    assert done.returncode == 1
    assert "name another file in PIPEFLOW_DATABASE_URL" in done.stderr


def test_migrating_beside_a_sandbox_makes_no_store_that_would_hide_it(command: Command, folder: Path) -> None:
    (folder / ".sandbox").mkdir()
    command("migrate", PIPEFLOW_DATABASE_URL="sqlite:///.sandbox/pipeflow.db")
    assert "sqlite:///.sandbox/pipeflow.db is up to date" in command("migrate").stdout
    assert not (folder / "pipeflow.db").exists()


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant(
    command: Command, start: Callable[..., Running], recipe: Callable[[str], Path], folder: Path
) -> None:
    recipe(FINE)
    (folder / ".env").write_text("PIPEFLOW_RETENTIN_DAYS=3\n")
    meant = "PIPEFLOW_RETENTIN_DAYS is no setting, so it has no effect. Did you mean PIPEFLOW_RETENTION_DAYS?"
    assert meant in command("doctor", "--sandbox").stdout.replace("\n", " ")
    start("recipes", "--sandbox", "--rate", "0").wait_for("PIPEFLOW_RETENTION_DAYS?")


@pytest.mark.parametrize("what", ["runs", "events"])
@pytest.mark.parametrize("wrong", ["abc", "9" * 20])
def test_what_is_no_id_is_refused_as_wrong_usage(command: Command, what: str, wrong: str) -> None:
    done = command(what, wrong)
    assert done.returncode == 2
    assert "is no id" in done.stderr or "Invalid value for 'ID'" in done.stderr
    assert "Traceback" not in done.stderr
