"""Connections to a PostgreSQL database, and what its errors mean. Imports errors; nothing else connects.

Nothing here leaves a state in a session, so that a pooler which gives each transaction another one (PgBouncer) does not
matter: where there is one, statements are not prepared, and nobody listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import psycopg
from psycopg import errors as told
from psycopg.pq import TransactionStatus

from pipeflow.errors import ConfigError, StoreError, StoreUnavailable

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.AsyncCursor[tuple[Any, ...]]
Row: TypeAlias = tuple[Any, ...]

POOL = 3
"""Connections for statements; one more listens, and one more tells that a worker lives: five a process."""
CONNECT_SECONDS = 3
PATIENCE = 3.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

# What PostgreSQL says to somebody who connects wrongly; psycopg gives it no code.
_NEVER = ("authentication failed", '" does not exist', "no password supplied")

log = logging.getLogger("pipeflow.store")


class Database:
    """A few connections that are opened when needed, and anew, with pauses that grow, after trouble.

    `pooled` says that a pooler stands between (known once one connection was made).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.pooled = False
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(POOL)
        self._open = False
        self._pause = FIRST_PAUSE
        self._rest_until = 0.0
        self._trouble = ""

    def __str__(self) -> str:
        """Write the database's address, without a password."""
        parts = urlsplit(self.url)
        return f"the database {parts.path.lstrip('/') or '?'} at {parts.hostname or 'this machine'}"

    async def open(self) -> None:
        """Connect once. Raises StoreUnavailable, ConfigError where the database would not keep what it commits."""
        self._open = True
        try:
            async with self.connection():
                pass
        except StoreUnavailable as error:
            await self.close()
            if any(sign in str(error) for sign in _NEVER):
                raise ConfigError(
                    f"{error} No waiting helps: correct PIPEFLOW_DATABASE_URL or DATABASE_URL."
                ) from error
            raise
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of all connections; those in use close when they are given back."""
        self._open = False
        idle, self._idle = self._idle, []
        for db in idle:
            await db.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode; errors of PostgreSQL leave the block as ours.

        Raises StoreUnavailable, at once while the database is known to be away, after `PATIENCE` seconds while all
        connections are in use.
        """
        if not self._open:
            raise StoreUnavailable(f"{self} is not open; open the store first.")
        await self._take_turn()
        db: Connection | None = None
        try:
            db = self._idle.pop() if self._idle else await self._connect()
            yield db
        except (psycopg.Error, OSError) as error:
            raise explain(error, self) from error
        finally:
            self._free.release()
            if db is not None:
                await self._give_back(db)

    async def _take_turn(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"All connections to {self} are busy; nothing was changed, try again.") from None

    async def _connect(self) -> Connection:
        now = asyncio.get_running_loop().time()
        if now < self._rest_until:
            raise StoreUnavailable(self._trouble)
        try:
            db = await connect(self.url)
        except (psycopg.Error, OSError) as error:
            explained = explain(error, self)
            self._trouble = str(explained)
            self._rest_until = asyncio.get_running_loop().time() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            raise explained from error
        self._pause, self._rest_until = FIRST_PAUSE, 0.0
        await self._prepare(db)
        return db

    async def _prepare(self, db: Connection) -> None:
        """See whether a pooler stands between, and that what is committed is kept."""
        ((pid, durable),) = await rows(db, "SELECT pg_backend_pid(), current_setting('synchronous_commit')")
        if pid != db.info.backend_pid and not self.pooled:
            log.info("A pooler stands in front of %s: looking for work every moment instead of listening.", self)
        self.pooled = pid != db.info.backend_pid
        if self.pooled:
            db.prepare_threshold = None
        if self.pooled and durable in ("off", "local"):
            raise ConfigError(
                f"synchronous_commit is {durable} at {self}, so a crash could lose what was acknowledged. "
                "ALTER DATABASE … SET synchronous_commit = on, then start again."
            )
        if durable in ("off", "local"):
            await db.execute("SET synchronous_commit = on")
        if not self.pooled:
            await db.execute(_SETTINGS)

    async def _give_back(self, db: Connection) -> None:
        idle = not db.closed and db.info.transaction_status == TransactionStatus.IDLE
        if idle and self._open:
            self._idle.append(db)
            return
        await db.close()
        if not idle:  # its siblings have met the same end, most likely
            others, self._idle = self._idle, []
            for other in others:
                await other.close()


# Every statement of ours finds its rows by an index, whatever the table's size was when it was planned. A process that
# is frozen in the middle of a transaction keeps the others waiting for so long at most.
_SETTINGS = b"""
SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '8s';
SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan
"""


async def connect(url: str) -> Connection:
    """Connect in autocommit mode; raises psycopg.OperationalError."""
    return await psycopg.AsyncConnection.connect(url, autocommit=True, **CONNECTING)


CONNECTING: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "pipeflow",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8_000,
}


async def rows(db: Connection, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
    """Execute a statement and give all of its rows."""
    cursor = await db.execute(sql.encode(), parameters or None, binary=True)
    return await cursor.fetchall()


async def pairs(db: Connection, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> dict[Any, Any]:
    """Execute a statement of two columns and give its rows as a mapping."""
    return {first: second for first, second in await rows(db, sql, parameters)}  # noqa: C416 - it checks that there are two


async def run(db: Connection, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> int:
    """Execute a statement and say how many rows it touched."""
    return (await db.execute(sql.encode(), parameters or None)).rowcount


_TRANSIENT = (
    told.DeadlockDetected,
    told.SerializationFailure,
    told.LockNotAvailable,
    told.QueryCanceled,
    told.TooManyConnections,
    told.DiskFull,
    told.OutOfMemory,
    told.ReadOnlySqlTransaction,
    told.CannotConnectNow,
    told.AdminShutdown,
    told.CrashShutdown,
)


def is_trouble(error: BaseException) -> bool:
    """Say whether the database is in trouble, rather than the statement wrong."""
    return isinstance(error, (StoreUnavailable, OSError, psycopg.OperationalError, psycopg.InterfaceError, *_TRANSIENT))


def explain(error: BaseException, where: object) -> StoreError | ConfigError:
    """Turn what psycopg raised into our errors; what it says never holds the password."""
    if isinstance(error, StoreError | ConfigError):
        return error
    text = " ".join(str(error).split())
    if is_trouble(error):
        return StoreUnavailable(f"{_capital(where)} does not answer ({text}); it is asked again by itself.")
    return StoreError(f"{_capital(where)} refused to store this: {type(error).__name__}: {text}")


def _capital(where: object) -> str:
    text = str(where)
    return text[:1].upper() + text[1:]
