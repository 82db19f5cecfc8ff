"""Accounts, webhooks, fields, writes, watermarks, memories, proofs and leases, in SQL for PostgreSQL.

These are rare, so each is one plain statement or two. Imports the rows.
"""

# ruff: noqa: S608 - SQL is put together of constants only; every value travels as a parameter
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import orjson

from pipeflow.store.base import Account, Proof, Webhook, Write
from pipeflow.store.postgres_batches import Operation, Work, each
from pipeflow.store.postgres_link import Connection, Row, pairs, rows
from pipeflow.store.postgres_rows import clean
from pipeflow.store.sqlite_rows import dumps


# Memories ------------------------------------------------------------------------------------------------------------
async def memory(db: Connection, run_id: int, key: str) -> bytes | None:
    """Read what `run.once` remembered."""
    found = await rows(db, "SELECT result FROM pipeflow.memories WHERE run_id = %s AND key = %s", (run_id, clean(key)))
    return found[0][0] if found else None


async def _remember(work: Work, run_id: int, key: str, result: bytes, now: float) -> None:
    await work.run(
        "INSERT INTO pipeflow.memories VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", run_id, clean(key), result, now
    )


remember = Operation(each(_remember))


# Accounts ------------------------------------------------------------------------------------------------------------
_ACCOUNT = (
    "id, company, user_id, mode, status, name, company_name, company_domain, api_domain, timezone, is_admin, acting, "
    "credentials, expires_at, last_used_at, paused_until, reason, connected_at, version"
)
_ACCOUNT_VALUES = _ACCOUNT.removeprefix("id, ").removesuffix(", version")
_ACCOUNT_NAMES = _ACCOUNT_VALUES.split(", ")


async def accounts(db: Connection) -> list[Account]:
    """Read all accounts in the order in which they were connected."""
    found = await rows(db, f"SELECT {_ACCOUNT} FROM pipeflow.accounts ORDER BY connected_at, id")
    return [Account(*row) for row in found]


async def _save_account(work: Work, account: Account) -> Account | None:
    """Insert or update by compare and swap."""
    saved = await (_insert_account(work, account) if account.id == 0 else _update_account(work, account))
    if saved is not None and saved.acting:
        await work.run(
            "UPDATE pipeflow.accounts SET acting = false, version = version + 1 "
            "WHERE company = %s AND id <> %s AND acting",
            saved.company,
            saved.id,
        )
    return saved


async def _insert_account(work: Work, account: Account) -> Account:
    updates = ", ".join(f"{name} = excluded.{name}" for name in _ACCOUNT_NAMES)
    ((account_id, version),) = await work.rows(
        f"INSERT INTO pipeflow.accounts AS a ({_ACCOUNT_VALUES}, version) "
        f"VALUES ({', '.join(['%s'] * len(_ACCOUNT_NAMES))}, 1) "
        f"ON CONFLICT (company, user_id, mode) DO UPDATE SET {updates}, version = a.version + 1 RETURNING id, version",
        *_account_values(account),
    )
    return replace(account, id=account_id, version=version)


async def _update_account(work: Work, account: Account) -> Account | None:
    updates = ", ".join(f"{name} = %s" for name in _ACCOUNT_NAMES)
    done = await work.rows(
        f"UPDATE pipeflow.accounts SET {updates}, version = version + 1 WHERE id = %s AND version = %s RETURNING id",
        *_account_values(account),
        account.id,
        account.version,
    )
    return replace(account, version=account.version + 1) if done else None


def _account_values(account: Account) -> list[Any]:
    return [clean(value) for value in astuple(account)[1:-1]]


save_account = Operation(each(_save_account))


# Webhooks and fields -------------------------------------------------------------------------------------------------
async def webhooks(db: Connection, company: int | None) -> list[Webhook]:
    """Read webhooks as last seen."""
    found = await rows(
        db,
        "SELECT id, company, account_id, action, object, url, version, name, active, seen_at FROM pipeflow.webhooks "
        "WHERE company = coalesce(%s, company) ORDER BY company, id",
        (company,),
    )
    return [Webhook(*row) for row in found]


async def _save_webhooks(work: Work, company: int, given: Sequence[Webhook]) -> None:
    """Replace the company's webhooks."""
    await work.run("DELETE FROM pipeflow.webhooks WHERE company = %s", company)
    for webhook in given:
        await work.run(
            f"INSERT INTO pipeflow.webhooks VALUES ({', '.join(['%s'] * 10)})",
            *map(clean, astuple(replace(webhook, company=company))),
        )


save_webhooks = Operation(each(_save_webhooks))


async def fields(db: Connection, company: int) -> dict[str, bytes]:
    """Read the company's field definitions."""
    return await pairs(db, "SELECT kind, definitions FROM pipeflow.fields WHERE company = %s ORDER BY kind", (company,))


async def _save_fields(work: Work, company: int, kind: str, definitions: bytes, now: float) -> None:
    await work.run(
        "INSERT INTO pipeflow.fields VALUES (%s, %s, %s, %s) ON CONFLICT (company, kind) "
        "DO UPDATE SET definitions = excluded.definitions, saved_at = excluded.saved_at",
        company,
        kind,
        definitions,
        now,
    )


save_fields = Operation(each(_save_fields))

# Writes and watermarks -----------------------------------------------------------------------------------------------
_WRITE = (
    'id, run_id, handler, chain, account_id, company, kind, record_id, operation, "values", before, intended_at, '
    "settled_at, outcome, answer"
)


async def _add_write(work: Work, write: Write) -> int:
    """Insert the intent of a write."""
    ((write_id,),) = await work.rows(
        f"INSERT INTO pipeflow.writes ({_WRITE.removeprefix('id, ')}) VALUES ({', '.join(['%s'] * 14)}) RETURNING id",
        write.run_id,
        write.handler,
        dumps(list(write.chain)).decode(),
        write.account_id,
        write.company,
        write.kind,
        clean(write.record_id),
        write.operation,
        dumps(dict(write.values)),
        _mapping(write.before),
        write.intended_at,
        write.settled_at,
        write.outcome,
        _mapping(write.answer),
    )
    return int(write_id)


add_write = Operation(each(_add_write))


def _mapping(values: Mapping[str, Any] | None) -> bytes | None:
    return None if values is None else dumps(dict(values))


async def _settle_write(
    work: Work, write_id: int, outcome: str, now: float, record_id: str | None, answer: Mapping[str, Any] | None
) -> None:
    await work.run(
        "UPDATE pipeflow.writes SET outcome = %s, settled_at = %s, record_id = coalesce(%s, record_id), answer = %s "
        "WHERE id = %s",
        outcome,
        now,
        clean(record_id),
        _mapping(answer),
        write_id,
    )


settle_write = Operation(each(_settle_write))


async def writes(
    db: Connection, company: int | None, kind: str | None, run_id: int | None, since: float
) -> list[Write]:
    """Read writes, oldest first."""
    conditions = ["intended_at >= %(since)s"]
    for name, value in (("company", company), ("kind", kind), ("run_id", run_id)):
        if value is not None:
            conditions.append(f"{name} = %({name})s")
    found = await rows(
        db,
        f"SELECT {_WRITE} FROM pipeflow.writes WHERE {' AND '.join(conditions)} ORDER BY intended_at, id",
        {"since": since, "company": company, "kind": kind, "run_id": run_id},
    )
    return [_write_of(row) for row in found]


def _write_of(row: Row) -> Write:
    values = list(row)
    for place in (3, 9, 10, 14):
        values[place] = None if row[place] is None else orjson.loads(row[place])
    values[3] = tuple(values[3])
    return Write(*values)


async def watermarks(db: Connection, company: int) -> dict[str, float]:
    """Read the company's watermarks."""
    return await pairs(db, "SELECT kind, value FROM pipeflow.watermarks WHERE company = %s", (company,))


async def _save_watermark(work: Work, company: int, kind: str, value: float, now: float) -> None:
    """Move a watermark forward."""
    await work.run(
        "INSERT INTO pipeflow.watermarks AS w VALUES (%s, %s, %s, %s) ON CONFLICT (company, kind) "
        "DO UPDATE SET value = excluded.value, moved_at = excluded.moved_at WHERE excluded.value > w.value",
        company,
        kind,
        value,
        now,
    )


save_watermark = Operation(each(_save_watermark))

# Proofs --------------------------------------------------------------------------------------------------------------
_PROOF = "company, kinds, since, until, changes, known, added, proven_at, error, tokens"


async def _add_proof(work: Work, proof: Proof) -> int:
    """Insert a proof."""
    company, kinds, *rest = astuple(proof)[:-1]
    ((proof_id,),) = await work.rows(
        f"INSERT INTO pipeflow.proofs ({_PROOF}) VALUES ({', '.join(['%s'] * 10)}) RETURNING id",
        company,
        dumps(kinds).decode(),
        *map(clean, rest),
    )
    return int(proof_id)


add_proof = Operation(each(_add_proof))


async def proofs(db: Connection, company: int | None, limit: int) -> list[Proof]:
    """Read proofs, newest first."""
    found = await rows(
        db,
        f"SELECT {_PROOF}, id FROM pipeflow.proofs WHERE company = coalesce(%s, company) ORDER BY id DESC LIMIT %s",
        (company, limit or None),
    )
    return [Proof(row[0], tuple(orjson.loads(row[1])), *row[2:]) for row in found]


# Leases --------------------------------------------------------------------------------------------------------------
async def _take_lease(work: Work, name: str, holder: str, now: float, seconds: float) -> bool:
    """Insert, prolong or take over a lease; False while another holder has it."""
    taken = await work.rows(
        "INSERT INTO pipeflow.leases AS l VALUES (%s, %s, %s) ON CONFLICT (name) "
        "DO UPDATE SET holder = excluded.holder, ends_at = excluded.ends_at "
        "WHERE l.holder = excluded.holder OR l.ends_at <= %s RETURNING name",
        name,
        holder,
        now + seconds,
        now,
    )
    return bool(taken)


async def _release_lease(work: Work, name: str, holder: str) -> None:
    await work.run("DELETE FROM pipeflow.leases WHERE name = %s AND holder = %s", name, holder)


take_lease = Operation(each(_take_lease))
release_lease = Operation(each(_release_lease))
