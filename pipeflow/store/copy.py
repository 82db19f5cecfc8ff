"""Move a whole store from a SQLite file into a PostgreSQL database. Imports errors and the store's own files.

Everything moves in one transaction, table by table and row by row as it is, so that a copy is whole or did not happen.
A second copy replaces the first.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql

from pipeflow.errors import StoreError
from pipeflow.store.postgres import PostgresStore
from pipeflow.store.postgres_link import CONNECTING, Database, explain
from pipeflow.store.postgres_rows import clean
from pipeflow.store.sqlite import SQLiteStore
from pipeflow.store.sqlite_connection import connect

TABLES = (
    "accounts",
    "webhooks",
    "fields",
    "events",
    "bodies",
    "records",
    "runs",
    "attempts",
    "memories",
    "writes",
    "watermarks",
    "pauses",
    "proofs",
)
_ORDERED_BY = {
    "events": "id",
    "bodies": "id",
    "runs": "id",
    "attempts": "run_id, number",
}

Target = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows of a table there are on both sides."""

    table: str
    there: int
    here: int


async def copy_store(source: Path, target_url: str, tell: Callable[[str], None]) -> list[Copied]:
    """Copy everything in the SQLite file `source` into the database at `target_url`, and count both sides.

    `tell` hears what is being copied. Raises StoreError where somebody works the file, or the database holds what the
    file does not know or was worked already; then nothing was changed.
    """
    store = SQLiteStore(source)
    await store.open(owner=True)  # nobody may work it meanwhile
    try:
        target = PostgresStore(target_url)
        await target.open()
        await target.close()
        return _copy(source, target_url, tell)
    finally:
        await store.close()


def _copy(source: Path, target_url: str, tell: Callable[[str], None]) -> list[Copied]:
    rows = connect(source)
    try:
        with psycopg.connect(target_url, **CONNECTING) as db:
            _refuse_if_used(rows, db, target_url)
            names = sql.SQL(", ").join(sql.Identifier("pipeflow", table) for table in (*TABLES, "counters"))
            db.execute(sql.SQL("TRUNCATE {}").format(names))
            for table in TABLES:
                tell(table)
                _copy_table(rows, db, table)
            _go_on_counting(rows, db)
            copied = [Copied(table, _count(rows, table), _count_there(db, table)) for table in TABLES]
            if any(one.there != one.here for one in copied):
                db.rollback()
            return copied
    except psycopg.Error as error:
        raise explain(error, Database(target_url)) from error
    finally:
        rows.close()


def _refuse_if_used(rows: sqlite3.Connection, db: Target, target_url: str) -> None:
    where = Database(target_url)
    ((worked,),) = db.execute(b"SELECT count(*) FROM pipeflow.partitions WHERE epoch > 0").fetchall()
    if worked:
        raise StoreError(
            f"Runs in {where} were worked since; a copy would undo that. To begin anew, DROP SCHEMA pipeflow CASCADE."
        )
    with db.cursor(name="theirs") as cursor:
        cursor.execute(b"SELECT digest FROM pipeflow.events")
        for (digest,) in cursor:
            if not rows.execute("SELECT 1 FROM events WHERE digest = ?", (digest.bytes,)).fetchone():
                raise StoreError(
                    f"There are events in {where} that the file does not know; a copy would delete them. "
                    "Copy into an empty database."
                )


def _copy_table(rows: sqlite3.Connection, db: Target, table: str) -> None:
    types: dict[str, str] = dict(
        db.execute(
            b"SELECT column_name, coalesce(domain_name, udt_name) FROM information_schema.columns "
            b"WHERE table_schema = 'pipeflow' AND table_name = %s",
            (table,),
        ).fetchall()
    )
    columns = [row[1] for row in rows.execute(f"PRAGMA table_info({table})")]
    unknown = [column for column in columns if column not in types]
    if unknown:
        raise StoreError(f"The column {unknown[0]} of {table} has no place in PostgreSQL; this is a fault of pipeflow.")
    make = [_CONVERSIONS.get(types[column], _same) for column in columns]
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier("pipeflow", table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with db.cursor() as cursor, cursor.copy(into) as copy:
        for row in _rows(rows, table):
            copy.write_row([None if value is None else of(value) for of, value in zip(make, row, strict=True)])


def _rows(rows: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    order = f" ORDER BY {_ORDERED_BY[table]}" if table in _ORDERED_BY else ""
    yield from rows.execute(f"SELECT * FROM {table}{order}")  # noqa: S608 - a table of ours


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return str(clean(value.decode() if isinstance(value, bytes) else value))


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "int4": int,
    "int8": int,
    "float8": float,
    "text": _text,
    "_text": lambda value: clean(orjson.loads(value)),
    "uuid": lambda value: uuid.UUID(bytes=value),
    "bytea": lambda value: value.encode() if isinstance(value, str) else value,
}


def _go_on_counting(rows: sqlite3.Connection, db: Target) -> None:
    """Let ids and counts go on behind those that were copied, and behind those that are gone."""
    ((events, purged, run_id),) = rows.execute("SELECT events, purged_event_id, run_id FROM counters").fetchall()
    ((newest,),) = rows.execute("SELECT coalesce(max(id), 0) FROM events").fetchall()
    db.execute(b"INSERT INTO pipeflow.counters VALUES ('copied', %s)", (events,))
    db.execute(
        b"SELECT setval('pipeflow.event_ids', %s), setval('pipeflow.run_ids', %s)",
        (
            max(newest, purged, 1),
            max(run_id, 1),
        ),
    )
    for table in ("accounts", "writes", "proofs"):
        db.execute(
            sql.SQL(
                "SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {}), false)"
            ).format(sql.Literal(f"pipeflow.{table}"), sql.Identifier("pipeflow", table))
        )


def _count(rows: sqlite3.Connection, table: str) -> int:
    ((number,),) = rows.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - a table of ours
    return int(number)


def _count_there(db: Target, table: str) -> int:
    ((number,),) = db.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("pipeflow", table))).fetchall()
    return int(number)
