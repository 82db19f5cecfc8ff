"""Accounts, webhooks, fields, writes, watermarks and memories, in SQL for SQLite. Imports the rows.

These are rare, so each is one plain statement or two. `many(…)` makes what the writer's thread carries out of them.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import wraps
from typing import Any, TypeVar

import orjson

from pipeflow.store.base import Account, Proof, Webhook, Write
from pipeflow.store.sqlite_rows import dumps

T = TypeVar("T")


def many(one: Callable[..., T]) -> Callable[[sqlite3.Connection, Sequence[tuple[Any, ...]]], list[T]]:
    """Make an operation carry out several calls, one after the other."""

    @wraps(one)
    def carry_out(db: sqlite3.Connection, calls: Sequence[tuple[Any, ...]]) -> list[T]:
        return [one(db, *call) for call in calls]

    return carry_out


# Memories ------------------------------------------------------------------------------------------------------------
def memory(db: sqlite3.Connection, run_id: int, key: str) -> bytes | None:
    """Read what `run.once` remembered."""
    row = db.execute("SELECT result FROM memories WHERE run_id = ? AND key = ?", (run_id, key)).fetchone()
    return None if row is None else bytes(row[0])


@many
def remember_many(db: sqlite3.Connection, run_id: int, key: str, result: bytes, now: float) -> None:
    """Keep a result; the first one stays."""
    db.execute("INSERT INTO memories VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (run_id, key, result, now))


# Accounts ------------------------------------------------------------------------------------------------------------
_ACCOUNT = (
    "id, company, user_id, mode, status, name, company_name, company_domain, api_domain, timezone, is_admin, acting, "
    "credentials, expires_at, last_used_at, paused_until, reason, connected_at, version"
)
_ACCOUNT_VALUES = _ACCOUNT.removeprefix("id, ").removesuffix(", version")


def accounts(db: sqlite3.Connection) -> list[Account]:
    """Read all accounts in the order in which they were connected."""
    rows = db.execute(f"SELECT {_ACCOUNT} FROM accounts ORDER BY connected_at, id").fetchall()
    return [Account(*(*row[:10], bool(row[10]), bool(row[11]), *row[12:])) for row in rows]


@many
def save_account_many(db: sqlite3.Connection, account: Account) -> Account | None:
    """Insert or update by compare and swap."""
    saved = _insert_account(db, account) if account.id == 0 else _update_account(db, account)
    if saved is not None and saved.acting:
        db.execute(
            "UPDATE accounts SET acting = 0, version = version + 1 WHERE company = ? AND id <> ? AND acting",
            (saved.company, saved.id),
        )
    return saved


def _insert_account(db: sqlite3.Connection, account: Account) -> Account:
    names = _ACCOUNT_VALUES.split(", ")
    updates = ", ".join(f"{name} = excluded.{name}" for name in names)
    ((account_id, version),) = db.execute(
        f"INSERT INTO accounts ({_ACCOUNT_VALUES}, version) VALUES ({', '.join('?' * len(names))}, 1) "
        f"ON CONFLICT (company, user_id, mode) DO UPDATE SET {updates}, version = accounts.version + 1 "
        "RETURNING id, version",
        astuple(account)[1:-1],
    ).fetchall()
    return replace(account, id=account_id, version=version)


def _update_account(db: sqlite3.Connection, account: Account) -> Account | None:
    updates = ", ".join(f"{name} = ?" for name in _ACCOUNT_VALUES.split(", "))
    done = db.execute(
        f"UPDATE accounts SET {updates}, version = version + 1 WHERE id = ? AND version = ?",
        (*astuple(account)[1:-1], account.id, account.version),
    )
    return replace(account, version=account.version + 1) if done.rowcount else None


# Webhooks and fields -------------------------------------------------------------------------------------------------
def webhooks(db: sqlite3.Connection, company: int | None) -> list[Webhook]:
    """Read webhooks as last seen."""
    rows = db.execute(
        "SELECT id, company, account_id, action, object, url, version, name, active, seen_at FROM webhooks "
        "WHERE ?1 IS NULL OR company = ?1 ORDER BY company, id",
        (company,),
    ).fetchall()
    return [Webhook(*(*row[:8], bool(row[8]), row[9])) for row in rows]


@many
def save_webhooks_many(db: sqlite3.Connection, company: int, webhooks: Sequence[Webhook]) -> None:
    """Replace the company's webhooks."""
    db.execute("DELETE FROM webhooks WHERE company = ?", (company,))
    db.executemany(
        "INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [astuple(replace(webhook, company=company)) for webhook in webhooks],
    )


def fields(db: sqlite3.Connection, company: int) -> dict[str, bytes]:
    """Read the company's field definitions."""
    rows = db.execute("SELECT kind, definitions FROM fields WHERE company = ? ORDER BY kind", (company,)).fetchall()
    return {kind: bytes(definitions) for kind, definitions in rows}


@many
def save_fields_many(db: sqlite3.Connection, company: int, kind: str, definitions: bytes, now: float) -> None:
    """Keep the field definitions of one kind."""
    db.execute(
        "INSERT INTO fields VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET definitions = excluded.definitions, "
        "saved_at = excluded.saved_at",
        (company, kind, definitions, now),
    )


# Writes and watermarks -----------------------------------------------------------------------------------------------
_WRITE = (
    'id, run_id, handler, chain, account_id, company, kind, record_id, operation, "values", before, intended_at, '
    "settled_at, outcome, answer"
)


@many
def add_write_many(db: sqlite3.Connection, write: Write) -> int:
    """Insert the intent of a write."""
    done = db.execute(
        f"INSERT INTO writes ({_WRITE.removeprefix('id, ')}) VALUES ({', '.join('?' * 14)})",
        (
            write.run_id,
            write.handler,
            dumps(list(write.chain)),
            write.account_id,
            write.company,
            write.kind,
            write.record_id,
            write.operation,
            dumps(dict(write.values)),
            _mapping(write.before),
            write.intended_at,
            write.settled_at,
            write.outcome,
            _mapping(write.answer),
        ),
    )
    return int(done.lastrowid or 0)


def _mapping(values: Mapping[str, Any] | None) -> bytes | None:
    return None if values is None else dumps(dict(values))


@many
def settle_write_many(
    db: sqlite3.Connection,
    write_id: int,
    outcome: str,
    now: float,
    record_id: str | None,
    answer: Mapping[str, Any] | None,
) -> None:
    """Write how a write ended."""
    db.execute(
        "UPDATE writes SET outcome = ?, settled_at = ?, record_id = coalesce(?, record_id), answer = ? WHERE id = ?",
        (outcome, now, record_id, _mapping(answer), write_id),
    )


def writes(
    db: sqlite3.Connection, company: int | None, kind: str | None, run_id: int | None, since: float
) -> list[Write]:
    """Read writes, oldest first."""
    conditions = ["intended_at >= :since"]
    for name, value in (("company", company), ("kind", kind), ("run_id", run_id)):
        if value is not None:
            conditions.append(f"{name} = :{name}")
    rows = db.execute(
        f"SELECT {_WRITE} FROM writes WHERE {' AND '.join(conditions)} ORDER BY intended_at, id",
        {"since": since, "company": company, "kind": kind, "run_id": run_id},
    ).fetchall()
    return [_write_of(row) for row in rows]


def _write_of(row: Sequence[Any]) -> Write:
    values = list(row)
    for place in (3, 9, 10, 14):
        values[place] = None if row[place] is None else orjson.loads(row[place])
    values[3] = tuple(values[3])
    return Write(*values)


def watermarks(db: sqlite3.Connection, company: int) -> dict[str, float]:
    """Read the company's watermarks."""
    return dict(db.execute("SELECT kind, value FROM watermarks WHERE company = ?", (company,)).fetchall())


@many
def save_watermark_many(db: sqlite3.Connection, company: int, kind: str, value: float, now: float) -> None:
    """Move a watermark forward."""
    db.execute(
        "INSERT INTO watermarks VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, "
        "moved_at = excluded.moved_at WHERE excluded.value > watermarks.value",
        (company, kind, value, now),
    )


# Proofs --------------------------------------------------------------------------------------------------------------
_PROOF = "company, kinds, since, until, changes, known, added, proven_at, error, tokens"


@many
def add_proof_many(db: sqlite3.Connection, proof: Proof) -> int:
    """Insert a proof."""
    company, kinds, *rest = astuple(proof)[:-1]
    done = db.execute(f"INSERT INTO proofs ({_PROOF}) VALUES ({', '.join('?' * 10)})", (company, dumps(kinds), *rest))
    return int(done.lastrowid or 0)


def proofs(db: sqlite3.Connection, company: int | None, limit: int) -> list[Proof]:
    """Read proofs, newest first."""
    rows = db.execute(
        f"SELECT {_PROOF}, id FROM proofs WHERE ?1 IS NULL OR company = ?1 ORDER BY id DESC LIMIT ?2",
        (company, limit or -1),
    ).fetchall()
    return [Proof(row[0], tuple(orjson.loads(row[1])), *row[2:]) for row in rows]


# Leases --------------------------------------------------------------------------------------------------------------
@many
def take_lease_many(db: sqlite3.Connection, name: str, holder: str, now: float, seconds: float) -> bool:
    """Insert, prolong or take over a lease; False while another holder has it."""
    done = db.execute(
        "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET holder = excluded.holder, "
        "ends_at = excluded.ends_at WHERE leases.holder = excluded.holder OR leases.ends_at <= ?",
        (name, holder, now + seconds, now),
    )
    return done.rowcount > 0


@many
def release_lease_many(db: sqlite3.Connection, name: str, holder: str) -> None:
    """Delete a lease of this holder."""
    db.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))
