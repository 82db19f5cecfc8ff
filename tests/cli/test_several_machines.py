"""What the commands say and do on PostgreSQL and on platforms without a disk that lasts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from .conftest import Command

KEY = "a secret key that all processes share"
TOKEN = {"PIPEDRIVE_API_TOKEN": "a-token", "PIPEFLOW_PUBLIC_URL": "https://hooks.example.com"}


def test_doctor_names_everything_that_a_platform_still_needs_at_once(command: Command) -> None:
    done = command("doctor", DYNO="web.1")
    assert done.returncode == 1
    for word in ("DATABASE_URL", "PIPEDRIVE_API_TOKEN", "PIPEFLOW_PUBLIC_URL", "PIPEFLOW_SECRET_KEY"):
        assert word in done.stdout.partition("What to do")[2]


def test_migrate_makes_everything_in_a_schema_of_its_own(command: Command, postgres_url: str) -> None:
    for _ in range(2):
        done = command("migrate", DATABASE_URL=postgres_url)
        assert done.returncode == 0, done.stderr
    with psycopg.connect(postgres_url) as db:
        schemas = db.execute(
            "SELECT DISTINCT table_schema FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    assert schemas == [("pipeflow",)]


def test_doctor_tells_of_the_workers(command: Command, postgres_url: str) -> None:
    done = command("doctor", DATABASE_URL=postgres_url, PIPEFLOW_SECRET_KEY=KEY, **TOKEN)
    assert "workers alive: 0" in done.stdout


@pytest.mark.parametrize("half", ["web", "worker"])
def test_half_of_a_product_needs_postgresql(command: Command, half: str) -> None:
    done = command("run", "recipes", "--only", half, **TOKEN)
    assert done.returncode == 2
    assert "needs PostgreSQL" in done.stderr


def test_postgresql_needs_a_key_that_all_processes_share(
    command: Command, recipe: Callable[[str], Path], postgres_url: str
) -> None:
    recipe("from pipeflow import Event, on\n\n\n@on('deal.added')\nasync def look(event: Event) -> None: ...\n")
    done = command("run", "recipes", "--only", "worker", DATABASE_URL=postgres_url, **TOKEN)
    assert done.returncode == 2
    assert "PIPEFLOW_SECRET_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_store_is_copied_and_told_of_on_both_sides(command: Command, postgres_url: str) -> None:
    assert command("migrate").returncode == 0
    done = command("store", "copy", "sqlite:///pipeflow.db", postgres_url)
    assert done.returncode == 0, done.stderr
    assert "in PostgreSQL" in done.stdout
    assert command("events", "--json", DATABASE_URL=postgres_url).returncode == 0
    assert command("store", "copy", postgres_url, "sqlite:///pipeflow.db").returncode == 2
