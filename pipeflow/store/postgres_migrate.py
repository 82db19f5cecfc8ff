"""Bring a PostgreSQL database's schema up to date from migrations/postgres, and procrastinate's with it.

All in one transaction that holds a lock on the table of migrations: no state of a session, so that it works through a
pooler, and many processes may try at once. Imports errors and connections.
"""

from __future__ import annotations

import re
from importlib import metadata
from importlib.resources import files

import psycopg
from psycopg import errors as told

from pipeflow.errors import SchemaOutdated
from pipeflow.store.postgres_link import Connection, Database, pairs, rows, run

_READABLE_FROM = re.compile(r"readable from (\d+)")


def migrations() -> dict[int, str]:
    """Give the SQL of each migration by its number, in order; its first line says from which number it is readable."""
    found = (entry for entry in files("pipeflow.store").joinpath("migrations", "postgres").iterdir())
    numbered = {int(entry.name[:4]): entry.read_text("utf-8") for entry in found if entry.name.endswith(".sql")}
    return dict(sorted(numbered.items()))


async def migrate(database: Database) -> None:
    """Apply what is missing; safe in several processes at once, and beside processes of the release before.

    Raises SchemaOutdated where a newer release made a schema that this one cannot read.
    """
    async with database.connection() as db:
        if await _is_current(db, database):
            return
        await _make_home(db)
        async with db.transaction():
            await run(db, "SET LOCAL lock_timeout = 0")  # who comes second waits for whatever the first one does
            await run(db, "LOCK TABLE pipeflow.migrations IN ACCESS EXCLUSIVE MODE")
            applied = await _applied(db, database)
            for number, sql in migrations().items():
                if number not in applied:
                    await db.execute(sql.encode())
                    await run(
                        db,
                        "INSERT INTO pipeflow.migrations (number, readable_from) VALUES (%s, %s)",
                        (number, _readable_from(sql, number)),
                    )
            await _migrate_procrastinate(db)


def _readable_from(sql: str, number: int) -> int:
    found = _READABLE_FROM.search(sql.partition("\n")[0])
    return int(found[1]) if found else number


async def _is_current(db: Connection, database: Database) -> bool:
    try:
        applied = await _applied(db, database)
        return set(applied) >= set(migrations()) and await _procrastinate_version(db) >= _installed()
    except (told.UndefinedTable, told.InvalidSchemaName):
        return False


async def _make_home(db: Connection) -> None:
    for _ in range(5):
        try:
            await run(db, "CREATE SCHEMA IF NOT EXISTS pipeflow")
            await run(
                db,
                "CREATE TABLE IF NOT EXISTS pipeflow.migrations (number integer PRIMARY KEY, "
                "readable_from integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            )
            await run(db, "CREATE TABLE IF NOT EXISTS pipeflow.procrastinate (version text, last_migration text)")
            return
        except (told.UniqueViolation, told.DuplicateObject):  # another process is making it at this moment
            continue


async def _applied(db: Connection, database: Database) -> dict[int, int]:
    applied: dict[int, int] = await pairs(db, "SELECT number, readable_from FROM pipeflow.migrations")
    newest_here = max(migrations())
    too_new = [number for number, readable_from in applied.items() if readable_from > newest_here]
    if too_new:
        raise SchemaOutdated(
            f"The schema in {database} was made by a newer release of pipeflow (it is {max(too_new)}, this release "
            f"knows {newest_here}); install that release here too."
        )
    return applied


# procrastinate -------------------------------------------------------------------------------------------------------
Version = tuple[int, ...]


def _installed() -> Version:
    return _version(metadata.version("procrastinate"))


def _version(text: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


async def _procrastinate_version(db: Connection) -> Version:
    found = await rows(db, "SELECT version FROM pipeflow.procrastinate")
    return _version(found[0][0]) if found else ()


async def _migrate_procrastinate(db: Connection) -> None:
    """Make procrastinate's tables in our schema, or bring them up to date."""
    if await _procrastinate_version(db) >= _installed():
        return
    from procrastinate.schema import SchemaManager

    folder = files("procrastinate.sql").joinpath("migrations")
    scripts = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(".sql")}
    found = await rows(db, "SELECT last_migration FROM pipeflow.procrastinate")
    await run(db, "SET LOCAL search_path TO pipeflow, pg_catalog")
    if found:
        for name in sorted(name for name in scripts if name > found[0][0]):
            await db.execute(scripts[name].read_text("utf-8").encode())
    else:
        await db.execute(SchemaManager.get_schema().encode())
    await run(db, "DELETE FROM pipeflow.procrastinate")
    await run(
        db,
        "INSERT INTO pipeflow.procrastinate VALUES (%s, %s)",
        (metadata.version("procrastinate"), max(scripts)),
    )
    await _bind_functions(db)


async def _bind_functions(db: Connection) -> None:
    """Let procrastinate's functions find their tables by themselves: through a pooler, no session has a search path."""
    found = await rows(
        db,
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'pipeflow'::regnamespace "
        "AND p.proname LIKE 'procrastinate%%'",
        {},
    )
    for (name,) in found:
        await db.execute(
            psycopg.sql.SQL("ALTER FUNCTION {} SET search_path = pipeflow, pg_catalog").format(psycopg.sql.SQL(name))
        )
