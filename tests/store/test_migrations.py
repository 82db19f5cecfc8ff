"""Migrations bring an old file up to date, whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

from pipeflow.store import open_store, sqlite_migrate
from tests.store.builders import add, new_event


def schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return sorted(db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall())


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = list(sqlite_migrate.migrations())
    assert numbers == list(range(1, len(numbers) + 1))


def test_each_migration_leaves_its_number(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    sqlite_migrate.migrate(db, "x.db")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    assert version == max(sqlite_migrate.migrations())
    before = schema(db)
    sqlite_migrate.migrate(db, "x.db")
    assert schema(db) == before


async def test_each_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    newest = sqlite3.connect(tmp_path / "newest.db", isolation_level=None)
    sqlite_migrate.migrate(newest, "newest.db")
    for number in sqlite_migrate.migrations():
        path = tmp_path / f"{number}.db"
        old = sqlite3.connect(path, isolation_level=None)
        for older, sql in sqlite_migrate.migrations().items():
            if older <= number:
                old.executescript(sql)
        old.execute(f"PRAGMA application_id = {sqlite_migrate.APPLICATION_ID}")
        old.execute(f"PRAGMA user_version = {number}")
        old.close()
        store = open_store(f"sqlite:///{path}")
        await store.open()
        await add(store, new_event())
        await store.close()
        with sqlite3.connect(path) as db:
            assert schema(db) == schema(newest)


def test_many_processes_may_open_an_empty_database_at_once(database_url: str) -> None:
    opening = "import asyncio, sys; from pipeflow.store import open_store; asyncio.run(open_store(sys.argv[1]).open())"
    processes = [subprocess.Popen([sys.executable, "-c", opening, database_url]) for _ in range(4)]
    assert [process.wait(30) for process in processes] == [0, 0, 0, 0]


def test_migrations_are_found_inside_a_zip(tmp_path: Path) -> None:
    package = Path(sqlite_migrate.__file__).parents[1]
    with zipfile.ZipFile(tmp_path / "pipeflow.zip", "w") as archive:
        for path in package.rglob("*"):
            if path.suffix in (".py", ".sql") and "client" not in path.parts:
                archive.write(path, path.relative_to(package.parent))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from pipeflow.store import sqlite_migrate; print(*sqlite_migrate.migrations())"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, tmp_path / "pipeflow.zip"], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(number) for number in sqlite_migrate.migrations()], done.stderr
