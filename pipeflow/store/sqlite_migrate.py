"""Bring a SQLite file's schema up to date from the numbered files in migrations/sqlite. Imports errors.

Each file runs in a transaction of its own together with the number it brings (`PRAGMA user_version`), so that a process
killed at any instant leaves the old schema or the new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files

from pipeflow.errors import SchemaOutdated, StoreError

APPLICATION_ID = 0x70697065  # "pipe": marks the file as ours


def migrations() -> dict[int, str]:
    """Give the SQL of each migration by its number, in order."""
    found = (entry for entry in files("pipeflow.store").joinpath("migrations", "sqlite").iterdir())
    numbered = {int(entry.name[:4]): entry.read_text("utf-8") for entry in found if entry.name.endswith(".sql")}
    return dict(sorted(numbered.items()))


def migrate(db: sqlite3.Connection, path: object) -> None:
    """Apply what is missing; safe in several processes at once.

    Raises SchemaOutdated where a newer release made the file, StoreError where another program did.
    """
    wanted = migrations()
    if _version(db, path, max(wanted)) == max(wanted):
        return
    for number, sql in wanted.items():
        db.execute("BEGIN IMMEDIATE")
        if _version(db, path, max(wanted)) < number:
            for statement in statements(sql):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")


def _version(db: sqlite3.Connection, path: object, newest: int) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables or version:
            raise StoreError(
                f"{path} is a SQLite file of another program; give another one in PIPEFLOW_DATABASE_URL, such as "
                "sqlite:///pipeflow.db."
            )
    if version > newest:
        raise SchemaOutdated(
            f"{path} was made by a newer release of pipeflow (its schema is {version}, this release knows {newest}); "
            "install that release here too."
        )
    return int(version)


def statements(sql: str) -> Iterator[str]:
    """Split a file into its statements."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
