"""The store on PostgreSQL: `PostgresStore`, for several machines. Imports errors and the store's own files.

What deliveries bring is committed by one batch, everything else that changes lanes by another, so that neither waits
for the other. Questions take a free connection; listings take turns, so that a search through millions of events leaves
connections to the rest. Other processes are woken by NOTIFY, or look by themselves where a pooler stands between.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from pipeflow.errors import StoreError, StoreUnavailable
from pipeflow.store import (
    postgres_adding,
    postgres_control,
    postgres_dispatch,
    postgres_events,
    postgres_jobs,
    postgres_lists,
    postgres_rest,
    postgres_runs,
)
from pipeflow.store.base import (
    Account,
    Attempt,
    Closing,
    Dispatch,
    EventFilter,
    NewEvent,
    Owned,
    Pause,
    Proof,
    RecordState,
    Run,
    RunFilter,
    StoredEvent,
    Webhook,
    Write,
)
from pipeflow.store.postgres_batches import Batches, Operation
from pipeflow.store.postgres_link import Database
from pipeflow.store.postgres_migrate import migrate
from pipeflow.store.postgres_wakes import Wakes

PAGE = 500
_NEWEST = 2**63 - 1

T = TypeVar("T")


class PostgresStore:
    """The store in the PostgreSQL database at `url`; any number of processes may open it and work its runs."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._open = False
        self._wakes = Wakes(self.database)
        self._incoming = Batches(self.database, self._wakes.committed)
        self._work = Batches(self.database, self._wakes.committed)
        self._lists = asyncio.Semaphore(1)
        self._process = uuid.uuid4().hex
        self._add = postgres_adding.Adder(self._process)

    def __repr__(self) -> str:
        return f"<PostgresStore of {self.database}>"

    # Opening and closing --------------------------------------------------------------------------------------------
    async def open(self, *, owner: bool = False) -> None:
        """Connect and bring the schema up to date; who works what is decided partition by partition, not here.

        Raises SchemaOutdated where a newer release made it, StoreUnavailable where the database does not answer.
        """
        if self._open:
            raise StoreError(f"The store at {self.database} is open already.")
        await self.database.open()
        try:
            await migrate(self.database)
        except BaseException:
            await self.database.close()
            raise
        self._open = True
        self._wakes.start()

    async def close(self) -> None:
        """Commit what is under way and let go; later calls raise StoreUnavailable."""
        self._open = False
        await self._incoming.finish()
        await self._work.finish()
        await self._wakes.stop()
        await self.database.close()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the loop after commits, of any process, that gave a worker something to do."""
        self._wakes.on_change(callback)

    def wake_others(self) -> None:
        """Have all workers look for something to do."""
        self._wakes.committed()

    async def take_partitions(self, partitions: Collection[int], holder: str, now: float) -> Owned:
        """Make partitions somebody's, from whomever had them; give them with their new epochs."""
        owned: Owned = await self.write(postgres_jobs.take, partitions, holder, now)
        return owned

    # Asking ---------------------------------------------------------------------------------------------------------
    def _check(self) -> None:
        if not self._open:
            raise StoreUnavailable(f"The store at {self.database} is not open; open the store first.")

    def write(self, operation: Operation, *arguments: Any, wakes: bool = False) -> asyncio.Future[Any]:
        """Carry out a call in the next transaction."""
        self._check()
        return self._work.submit(operation, arguments, wakes=wakes)

    def _write_soon(self, operation: Operation, *arguments: Any) -> asyncio.Future[Any]:
        """Carry out a call without being awaited; what refuses it is raised by the future, like what becomes of it."""
        try:
            return self.write(operation, *arguments)
        except StoreUnavailable as error:
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def read(self, ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Ask on a free connection."""
        self._check()
        async with self.database.connection() as db:
            return await ask(db, *arguments)

    async def _list(self, ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        async with self._lists:
            return await self.read(ask, *arguments)

    # Events ---------------------------------------------------------------------------------------------------------
    def add_events(self, events: Sequence[NewEvent]) -> asyncio.Future[list[int | None]]:
        """Store events and say their ids; None for one known already."""
        self._check()
        if any(event.source == "poll" for event in events):
            return self._work.submit(self._add.polled, (events,), wakes=True)
        return self._incoming.submit(self._add.deliveries, (events,), wakes=True)

    async def undispatched(self, owned: Owned, *, limit: int, after: int = 0) -> list[StoredEvent]:
        """Give events that wait for dispatch, oldest first; fewer than `limit` where their bodies are large."""
        return await self.read(postgres_events.undispatched, owned, limit, after)

    async def undispatched_past(
        self, owned: Owned, *, companies: Collection[int], limit: int, after: int
    ) -> tuple[list[StoredEvent], int]:
        """Give those of all companies but these, and the id behind which there may be more: the next `after`."""
        return await self.read(postgres_events.undispatched_past, owned, companies, limit, after)

    async def dispatch(self, dispatches: Sequence[Dispatch], owned: Owned, now: float) -> list[Run]:
        """Commit dispatch decisions and give the runs made; a newer tick of a job ends older ones that wait."""
        runs: list[Run] = await self.write(postgres_dispatch.dispatch, dispatches, owned, now)
        return runs

    async def records(self, keys: Iterable[tuple[int, str, str]]) -> dict[tuple[int, str, str], RecordState]:
        """Look up record states by (company, kind, record id)."""
        return await self.read(postgres_events.records, list(keys))

    async def save_records(self, states: Sequence[RecordState]) -> None:
        """Keep states that no event told, of records of which nothing as new is known."""
        await self.write(postgres_events.save_records, states)

    async def record_ids(self, company: int, kind: str, *, after: str = "", limit: int) -> list[str]:
        """List the ids of known records that are not deleted, from behind `after`."""
        return await self._list(postgres_events.record_ids, company, kind, after, limit)

    async def events(self, wanted: EventFilter) -> list[StoredEvent]:
        """List events, newest first."""
        found: list[StoredEvent] = []
        last = _NEWEST
        ask = self._list if wanted.ids is None else self.read
        while page := await ask(postgres_events.list_events, wanted, last, _page(wanted.limit, len(found))):
            found += page
            last = page[-1].id
        return found

    # Runs -----------------------------------------------------------------------------------------------------------
    async def recover(self, owned: Owned, now: float) -> list[Run]:
        """Close attempts left open by a dead owner of these partitions and give the suspects, oldest first."""
        runs: list[Run] = await self.write(postgres_runs.recover, owned, now)
        return runs

    async def due_runs(
        self,
        owned: Owned,
        now: float,
        *,
        limit: int,
        handlers: Collection[str] | None = None,
        resting: Collection[int] = (),
        plenty: Collection[tuple[int, str, int]] = (),
    ) -> list[Run]:
        """Give pending runs that may start, by priority, then due time, then id."""
        return await self.read(postgres_runs.due_runs, owned, now, limit, handlers, resting, plenty)

    async def next_due_at(
        self, owned: Owned, *, handlers: Collection[str] | None = None, resting: Collection[int] = ()
    ) -> float | None:
        """Say when the next run that `due_runs` would give becomes due; in the past where one may start already."""
        return await self.read(postgres_runs.next_due_at, owned, handlers, resting)

    def open_attempt(self, run_id: int, owned: Owned, now: float, *, alone: bool = False) -> Awaitable[Attempt | None]:
        """Record that an attempt starts; None where the run may not start (any more)."""
        return self._write_soon(postgres_runs.open_attempts, run_id, owned, now, alone)

    def close_attempt(self, closing: Closing, owned: Owned, now: float) -> Awaitable[Run | None]:
        """Record how the open attempt of a run ended; give the run that its lane's end made due, if any."""
        return self._write_soon(postgres_runs.close_attempts, closing, owned, now)

    async def runs(self, wanted: RunFilter) -> list[Run]:
        """List runs, newest first."""
        found: list[Run] = []
        last = _NEWEST
        ask = self._list if wanted.ids is None else self.read
        while page := await ask(postgres_lists.list_runs, wanted, last, _page(wanted.limit, len(found))):
            found += page
            last = page[-1].id
        return found

    async def attempts(self, run_id: int) -> list[Attempt]:
        """List a run's attempts, oldest first."""
        return await self.read(postgres_runs.attempts, run_id)

    async def replay(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Make a new run for each of these, at the end of its lane and linked to the old one."""
        runs: list[Run] = await self.write(postgres_dispatch.replay, run_ids, now, wakes=True)
        return runs

    async def park_runs(self, run_ids: Sequence[int], owned: Owned, now: float, *, reason: str) -> list[Run]:
        """Keep pending runs from starting until they are released, and with them their lanes."""
        runs: list[Run] = await self.write(postgres_control.park, run_ids, owned, reason)
        return runs

    async def release_runs(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Let parked runs start again; give those that were parked."""
        runs: list[Run] = await self.write(postgres_control.release, run_ids, now, wakes=True)
        return runs

    async def retry_runs(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Make pending runs that wait for a time due now; give them."""
        runs: list[Run] = await self.write(postgres_control.retry, run_ids, now, wakes=True)
        return runs

    async def skip_runs(self, run_ids: Sequence[int], now: float, *, reason: str) -> list[Run]:
        """End pending runs as skipped, and let their lanes go on; give them."""
        runs: list[Run] = await self.write(postgres_control.skip, run_ids, now, reason, wakes=True)
        return runs

    async def dispatch_again(self, event_ids: Sequence[int]) -> list[int]:
        """Have events dispatched once more that no handler wanted; give those."""
        found: list[int] = await self.write(postgres_control.dispatch_again, event_ids, wakes=True)
        return found

    async def move_due_times(self, owned: Owned, by: float) -> None:
        """Move the due times of all pending runs by so many seconds: after the clock was set."""
        await self.write(postgres_control.move_due_times, owned, by)

    async def pause(self, pause: Pause) -> None:
        """Keep runs from starting until `resume`."""
        await self.write(postgres_control.pause, pause, wakes=True)

    async def resume(self, pause: Pause) -> bool:
        """End a pause of the same account, handler or record; False where there is none."""
        ended: bool = await self.write(postgres_control.resume, pause, wakes=True)
        return ended

    async def pauses(self) -> list[Pause]:
        """List what is paused, oldest first."""
        return await self.read(postgres_control.pauses)

    async def once(self, run_id: int, key: str) -> bytes | None:
        """Give what `run.once(key, …)` remembered, as JSON."""
        return await self.read(postgres_rest.memory, run_id, key)

    async def remember(self, run_id: int, key: str, result: bytes, now: float) -> None:
        """Keep the result of `run.once(key, …)`; the first one stays."""
        await self.write(postgres_rest.remember, run_id, key, result, now)

    # Accounts, webhooks, fields -------------------------------------------------------------------------------------
    async def accounts(self) -> list[Account]:
        """List accounts in the order in which they were connected."""
        return await self.read(postgres_rest.accounts)

    async def save_account(self, account: Account) -> Account | None:
        """Insert or update an account; None where another version is stored.

        Saving one as acting ends the acting of the others of its company.
        """
        saved: Account | None = await self.write(postgres_rest.save_account, account)
        return saved

    async def webhooks(self, company: int | None = None) -> list[Webhook]:
        """List our webhooks as last seen."""
        return await self.read(postgres_rest.webhooks, company)

    async def save_webhooks(self, company: int, webhooks: Sequence[Webhook]) -> None:
        """Replace what is known of the company's webhooks."""
        await self.write(postgres_rest.save_webhooks, company, webhooks)

    async def fields(self, company: int) -> dict[str, bytes]:
        """Give the company's field definitions as JSON, by kind."""
        return await self.read(postgres_rest.fields, company)

    async def save_fields(self, company: int, kind: str, definitions: bytes, now: float) -> None:
        """Keep the company's field definitions of one kind."""
        await self.write(postgres_rest.save_fields, company, kind, definitions, now)

    # Writes and watermarks ------------------------------------------------------------------------------------------
    async def add_write(self, write: Write) -> int:
        """Commit the intent of a write before it is sent; give its id."""
        write_id: int = await self.write(postgres_rest.add_write, write)
        return write_id

    async def settle_write(
        self,
        write_id: int,
        outcome: Literal["done", "refused", "unsent", "unknown"],
        now: float,
        *,
        record_id: str | None = None,
        answer: Mapping[str, Any] | None = None,
    ) -> None:
        """Commit how a write ended."""
        await self.write(postgres_rest.settle_write, write_id, outcome, now, record_id, answer)

    async def writes(
        self, *, company: int | None = None, kind: str | None = None, run_id: int | None = None, since: float = 0.0
    ) -> list[Write]:
        """List writes intended since then, oldest first."""
        return await self.read(postgres_rest.writes, company, kind, run_id, since)

    async def watermarks(self, company: int) -> dict[str, float]:
        """Give the company's watermarks by kind."""
        return await self.read(postgres_rest.watermarks, company)

    async def save_watermark(self, company: int, kind: str, value: float, now: float) -> None:
        """Move a watermark; it never goes back."""
        await self.write(postgres_rest.save_watermark, company, kind, value, now)

    async def add_proof(self, proof: Proof) -> int:
        """Keep what a reconciliation found; give its id."""
        proof_id: int = await self.write(postgres_rest.add_proof, proof)
        return proof_id

    async def proofs(self, company: int | None = None, *, limit: int = 50) -> list[Proof]:
        """List what reconciliations found, newest first."""
        return await self._list(postgres_rest.proofs, company, limit)

    # Leases ---------------------------------------------------------------------------------------------------------
    async def take_lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Become the only one who does what `name` stands for, until `now + seconds`; False while another one is."""
        taken: bool = await self.write(postgres_rest.take_lease, name, holder, now, seconds)
        return taken

    async def release_lease(self, name: str, holder: str) -> None:
        """End a lease at once; one of another holder stays as it is."""
        await self.write(postgres_rest.release_lease, name, holder)

    # Upkeep ---------------------------------------------------------------------------------------------------------
    async def purge(self, before: float, *, limit: int) -> int:
        """Delete up to `limit` old events whose runs have all ended; say how many."""
        event_ids = await self._list(postgres_lists.finished_before, before, limit)
        gone: int = await self.write(postgres_lists.purge, event_ids, before, limit, self._process)
        return gone

    async def counts(self) -> dict[str, int]:
        """Count events and runs by status: `events`, `undispatched`, `pending`, `running`, `dead`."""
        return await self._list(postgres_lists.counts)


def _page(limit: int, found: int) -> int:
    """Say how many rows the next page of a listing may have; `limit` 0 means all."""
    return PAGE if limit == 0 else min(PAGE, limit - found)
