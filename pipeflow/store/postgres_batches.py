"""Group commit on PostgreSQL: what arrives during a commit is the next transaction. Imports errors and connections.

Whatever changes lanes goes through here. A transaction first locks the partitions that its operations touch, all at
once and in their order, and reads their epochs: nobody else changes these lanes until it ends, and two transactions
never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pipeflow.store.base import Owned
from pipeflow.store.postgres_link import Connection, Cursor, Database, Row, explain, is_trouble, pairs, rows

MOST_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Work:
    """A transaction: its connection, and the epochs of what it has locked, where an operation looks at them."""

    db: Connection
    epochs: dict[int, int]

    async def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """Execute a statement and give all of its rows."""
        return await rows(self.db, sql, parameters)

    async def send(self, sql: str, *parameters: Any) -> Cursor:
        """Send a statement without waiting for it; its rows are there once the transaction has ended."""
        return await self.db.execute(sql.encode(), parameters, binary=True)

    async def run(self, sql: str, *parameters: Any) -> None:
        """Send a statement whose answer is of no interest."""
        await self.send(sql, *parameters)

    def owns(self, owned: Owned, partition: int) -> bool:
        """Say whether a partition still is the caller's: nobody has taken it since."""
        return partition in owned and self.epochs.get(partition) == owned[partition]


Later: TypeAlias = Callable[[], Awaitable[Sequence[Any]]]


def _nothing(*_: Any) -> Iterable[int]:
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """Carries out several calls of one sort in a transaction. The other three say what a call touches.

    What `sends` does not wait for the answers to its statements: it gives a function, which is called once the
    transaction has ended. `plain`: it is a single statement, which commits by itself.
    """

    carry_out: Callable[[Work, Sequence[Any]], Awaitable[Sequence[Any] | Later]]
    runs: Callable[..., Iterable[int]] = _nothing
    events: Callable[..., Iterable[int]] = _nothing
    partitions: Callable[..., Iterable[int]] = _nothing
    sends: bool = False
    plain: bool = False


def each(one: Callable[..., Awaitable[Any]]) -> Callable[[Work, Sequence[Any]], Awaitable[Sequence[Any]]]:
    """Make an operation carry out several calls, one after the other."""

    async def carry_out(work: Work, calls: Sequence[Any]) -> Sequence[Any]:
        return [await one(work, *call) for call in calls]

    return carry_out


@dataclass(slots=True, eq=False)
class _Wanted:
    """A call somebody waits for. `wakes`: its commit gives a worker something to do."""

    operation: Operation
    arguments: Sequence[Any]
    wakes: bool
    future: asyncio.Future[Any]


class Batches:
    """Commits calls in batches, one transaction at a time.

    `committed` is called after each that wakes. Where the connection breaks during a commit, nobody knows whether it
    happened: the callers are told that it did not, and everything they do then is right in both cases.
    """

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        self._database = database
        self._committed = committed
        self._queue: list[_Wanted] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, operation: Operation, arguments: Sequence[Any], *, wakes: bool = False) -> asyncio.Future[Any]:
        """Put a call into the next transaction; the future ends once that is committed."""
        loop = asyncio.get_running_loop()
        wanted = _Wanted(operation, arguments, wakes, loop.create_future())
        self._queue.append(wanted)
        if self._task is None:
            self._task = loop.create_task(self._work(), name="store")
        return wanted.future

    async def finish(self) -> None:
        """Wait until everything submitted is committed."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        try:
            while self._queue:
                await asyncio.sleep(0)  # whoever was answered just now, and what was read already, comes along
                batch, self._queue = self._queue[:MOST_AT_ONCE], self._queue[MOST_AT_ONCE:]
                await self._commit(batch)
        finally:
            self._task = None

    async def _commit(self, batch: list[_Wanted]) -> None:
        error = await self._transact(batch)
        if error is not None and not is_trouble(error) and len(batch) > 1:
            for wanted in batch:
                _fail([wanted], await self._transact([wanted]), self._database)
        else:
            _fail(batch, error, self._database)
        if any(wanted.wakes and wanted.future.done() and _succeeded(wanted.future) for wanted in batch):
            self._committed()

    async def _transact(self, batch: list[_Wanted]) -> Exception | None:
        """Commit all of these or nothing; give what went wrong."""
        sorts: dict[Operation, list[_Wanted]] = {}
        for wanted in batch:
            sorts.setdefault(wanted.operation, []).append(wanted)
        plain = len(sorts) == 1 and batch[0].operation.plain
        try:
            async with self._database.connection() as db:
                if plain:
                    sent = await _carry_out(Work(db, {}), sorts)
                else:
                    async with db.pipeline(), db.transaction():
                        sent = await _carry_out(Work(db, await _lock(db, batch)), sorts)
                given = [await one() if callable(one) else one for one in sent]
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to those who asked
            return error
        for same, results in zip(sorts.values(), given, strict=True):
            for wanted, result in zip(same, results, strict=True):
                if not wanted.future.done():
                    wanted.future.set_result(result)
        return None


async def _carry_out(work: Work, sorts: Mapping[Operation, Sequence[_Wanted]]) -> list[Sequence[Any] | Later]:
    return [await operation.carry_out(work, [wanted.arguments for wanted in same]) for operation, same in sorts.items()]


_LOCK = """
SELECT partition, epoch FROM pipeflow.partitions WHERE partition = ANY(%s::int[])
    OR partition IN (SELECT partition FROM pipeflow.runs WHERE id = ANY(%s::bigint[]))
    OR partition IN (SELECT partition FROM pipeflow.events WHERE id = ANY(%s::bigint[]))
ORDER BY partition FOR NO KEY UPDATE
"""


async def _lock(db: Connection, batch: Sequence[_Wanted]) -> dict[int, int]:
    partitions: set[int] = set()
    run_ids: set[int] = set()
    event_ids: set[int] = set()
    for wanted in batch:
        partitions.update(wanted.operation.partitions(*wanted.arguments))
        run_ids.update(wanted.operation.runs(*wanted.arguments))
        event_ids.update(wanted.operation.events(*wanted.arguments))
    if not (partitions or run_ids or event_ids):
        return {}
    locked = (list(partitions), list(run_ids), list(event_ids))
    if all(wanted.operation.sends for wanted in batch):
        await db.execute(_LOCK.encode(), locked)
        return {}
    return await pairs(db, _LOCK, locked)


def _fail(batch: Sequence[_Wanted], error: Exception | None, database: Database) -> None:
    if error is None:
        return
    for wanted in batch:
        if not wanted.future.done():
            wanted.future.set_exception(explain(error, database))


def _succeeded(future: asyncio.Future[Any]) -> bool:
    return not future.cancelled() and future.exception() is None
