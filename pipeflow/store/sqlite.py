"""The store on one SQLite file: `SQLiteStore`. Imports errors and the store's own files; touches the file and its lock.

One writer thread commits whatever has arrived (group commit). Reader threads answer questions: one the engine's, one
listings, one counts, so that a search through millions of events delays neither a run nor a health check. Nothing here
blocks the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeflow.errors import ConfigError, StoreError, StoreUnavailable
from pipeflow.store import sqlite_control, sqlite_dispatch, sqlite_events, sqlite_lists, sqlite_rest, sqlite_runs
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
from pipeflow.store.sqlite_adding import Basket
from pipeflow.store.sqlite_checkpoint import Checkpointer
from pipeflow.store.sqlite_connection import connect, explain
from pipeflow.store.sqlite_migrate import migrate
from pipeflow.store.sqlite_owner import OwnerLock
from pipeflow.store.sqlite_threads import Many, Read, Reader, Writer

PAGE = 500
_NEWEST = 2**63 - 1


class _Threads(NamedTuple):
    """The threads of an open store, in the order in which they start, and what the writer is sent in."""

    writer: Writer
    reader: Reader
    lists: Reader
    counts: Reader
    checkpointer: Checkpointer | None
    basket: Basket

    @property
    def asked(self) -> tuple[Writer | Reader, ...]:
        """Those that operations are submitted to."""
        return self.writer, self.reader, self.lists, self.counts


class SQLiteStore:
    """The store in the SQLite file at `path`; several processes may open it, one as its owner."""

    def __init__(self, path: Path) -> None:
        # Absolute, as a handler may change the folder in which the process stands.
        self._path = path = path.absolute()
        self._lock = OwnerLock(path)
        self._owner = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._calling = False
        self._threads: _Threads | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._path)!r})"

    # Opening and closing --------------------------------------------------------------------------------------------
    async def open(self, *, owner: bool = False) -> None:
        """Open the file, make it where it does not exist, bring its schema up to date; `owner` also takes the lock.

        Raises StoreError where another process owns it, SchemaOutdated where a newer release made it, ConfigError
        where its folder does not exist, StoreUnavailable where the disk is in the way.
        """
        if self._threads is not None:
            raise StoreError(f"{self._path} is open already.")
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open, owner)

    def _open(self, owner: bool) -> None:
        if not self._path.parent.is_dir():
            raise ConfigError(f"The folder of the database {self._path} does not exist; make it, or name another one.")
        if owner:
            self._lock.take()
        try:
            self._prepare()
            self._start(owner)
        except BaseException:
            self._stop(self._take_threads())
            raise
        self._owner = owner

    def _prepare(self) -> None:
        db = connect(self._path, create=True)
        try:
            migrate(db, self._path)
        except Exception as error:
            raise explain(error, self._path) from error
        finally:
            db.close()

    def _start(self, owner: bool) -> None:
        writer = Writer("pipeflow-store-writer", self._path, self._changed, checkpoints=not owner)
        self._threads = _Threads(
            writer,
            Reader("pipeflow-store-reader", self._path),
            Reader("pipeflow-store-lists", self._path),
            Reader("pipeflow-store-counts", self._path),
            Checkpointer("pipeflow-store-checkpoints", self._path, writer) if owner else None,
            Basket(writer),
        )
        assert self._loop is not None  # noqa: S101 - `open` has set it
        for thread in self._threads.asked:
            thread.start(self._loop)
        if self._threads.checkpointer is not None:
            self._threads.checkpointer.start()

    async def close(self) -> None:
        """Commit what is under way and let go; later calls raise StoreUnavailable."""
        threads = self._take_threads()
        await asyncio.to_thread(self._stop, threads)

    def _take_threads(self) -> _Threads | None:
        """Let nobody submit anything from here on."""
        threads, self._threads = self._threads, None
        self._owner = False
        if threads is not None:
            threads.basket.close()
            for thread in threads.asked:
                thread.flush()
        return threads

    def _stop(self, threads: _Threads | None) -> None:
        if threads is not None:
            if threads.checkpointer is not None:
                threads.checkpointer.stop()
            for thread in reversed(threads.asked):
                thread.stop()
        self._lock.release()

    # Asking the threads ---------------------------------------------------------------------------------------------
    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the loop after commits, of any process, that gave the worker something to do."""
        self._callbacks.append(callback)

    def _changed(self) -> None:
        if not self._callbacks or self._calling or self._loop is None:
            return
        self._calling = True
        try:
            self._loop.call_soon_threadsafe(self._call_back)
        except RuntimeError:  # the loop was closed: nobody is left to be told
            self._calling = False

    def _call_back(self) -> None:
        self._calling = False
        for callback in self._callbacks:
            callback()

    def _running(self) -> _Threads:
        if self._threads is None:
            raise StoreUnavailable(f"{self._path} is not open; open the store first.")
        return self._threads

    def _write(self, do: Many, arguments: Any, *, wakes: bool = False) -> asyncio.Future[Any]:
        return self._running().writer.submit(do, arguments, wakes=wakes)

    def _work(self, do: Many, arguments: Any) -> asyncio.Future[Any]:
        writer = self._running().writer
        if not self._owner:
            raise StoreError(f"Only the owner of {self._path} works its runs; open the store with owner=True.")
        return writer.submit(do, arguments)

    def _work_soon(self, do: Many, arguments: Any) -> asyncio.Future[Any]:
        """Work without being awaited; what refuses it is raised by the future, like what becomes of it."""
        try:
            return self._work(do, arguments)
        except StoreError as error:
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    def _read(self, do: Read, *arguments: Any) -> asyncio.Future[Any]:
        return self._running().reader.submit(do, arguments)

    def _list(self, do: Read, *arguments: Any) -> asyncio.Future[Any]:
        return self._running().lists.submit(do, arguments)

    # Events ---------------------------------------------------------------------------------------------------------
    def add_events(self, events: Sequence[NewEvent]) -> asyncio.Future[list[int | None]]:
        """Store events and say their ids; None for one known already."""
        return self._running().basket.add(events)

    async def undispatched(self, owned: Owned, *, limit: int, after: int = 0) -> list[StoredEvent]:
        """Give events that wait for dispatch, oldest first; fewer than `limit` where their bodies are large."""
        events: list[StoredEvent] = await self._read(sqlite_events.undispatched, owned, limit, after)
        return events

    async def undispatched_past(
        self, owned: Owned, *, companies: Collection[int], limit: int, after: int
    ) -> tuple[list[StoredEvent], int]:
        """Give those of all companies but these, and the id behind which there may be more: the next `after`."""
        found: tuple[list[StoredEvent], int] = await self._read(
            sqlite_events.undispatched_past, owned, companies, limit, after
        )
        return found

    async def dispatch(self, dispatches: Sequence[Dispatch], owned: Owned, now: float) -> list[Run]:
        """Commit dispatch decisions and give the runs made; a newer tick of a job ends older ones that wait."""
        runs: list[Run] = await self._work(sqlite_dispatch.dispatch_many, (dispatches, owned, now))
        return runs

    async def records(self, keys: Iterable[tuple[int, str, str]]) -> dict[tuple[int, str, str], RecordState]:
        """Look up record states by (company, kind, record id)."""
        found: dict[tuple[int, str, str], RecordState] = await self._read(sqlite_events.records, list(keys))
        return found

    async def save_records(self, states: Sequence[RecordState]) -> None:
        """Keep states that no event told, of records of which nothing as new is known."""
        await self._write(sqlite_events.save_records_many, (states,))

    async def record_ids(self, company: int, kind: str, *, after: str = "", limit: int) -> list[str]:
        """List the ids of known records that are not deleted, from behind `after`."""
        found: list[str] = await self._list(sqlite_events.record_ids, company, kind, after, limit)
        return found

    async def events(self, wanted: EventFilter) -> list[StoredEvent]:
        """List events, newest first."""
        found: list[StoredEvent] = []
        last = _NEWEST
        ask = self._list if wanted.ids is None else self._read
        most = len(wanted.ids) if wanted.ids is not None else wanted.limit or _NEWEST
        while len(found) < most and (
            page := await ask(sqlite_events.list_events, wanted, last, _page(wanted.limit, len(found)))
        ):
            found += page
            last = page[-1].id
        return found

    # Runs -----------------------------------------------------------------------------------------------------------
    async def recover(self, owned: Owned, now: float) -> list[Run]:
        """Close attempts left open by a dead owner and give the suspects, oldest first.

        A run stays a suspect until an attempt of it ends in order.
        """
        runs: list[Run] = await self._work(sqlite_runs.recover_many, (owned, now))
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
        runs: list[Run] = await self._read(sqlite_runs.due_runs, owned, now, limit, handlers, resting, plenty)
        return runs

    async def next_due_at(
        self, owned: Owned, *, handlers: Collection[str] | None = None, resting: Collection[int] = ()
    ) -> float | None:
        """Say when the next run that `due_runs` would give becomes due; in the past where one may start already."""
        due_at: float | None = await self._read(sqlite_runs.next_due_at, owned, handlers, resting)
        return due_at

    def open_attempt(self, run_id: int, owned: Owned, now: float, *, alone: bool = False) -> Awaitable[Attempt | None]:
        """Record that an attempt starts; None where the run may not start (any more)."""
        return self._work_soon(sqlite_runs.open_many, (run_id, owned, now, alone))

    def close_attempt(self, closing: Closing, owned: Owned, now: float) -> Awaitable[Run | None]:
        """Record how the open attempt of a run ended; give the run that its lane's end made due, if any."""
        return self._work_soon(sqlite_runs.close_many, (closing, owned, now))

    async def runs(self, wanted: RunFilter) -> list[Run]:
        """List runs, newest first."""
        found: list[Run] = []
        last = _NEWEST
        ask = self._list if wanted.ids is None else self._read
        while page := await ask(sqlite_lists.list_runs, wanted, last, _page(wanted.limit, len(found))):
            found += page
            last = page[-1].id
        return found

    async def attempts(self, run_id: int) -> list[Attempt]:
        """List a run's attempts, oldest first."""
        found: list[Attempt] = await self._read(sqlite_runs.attempts, run_id)
        return found

    async def replay(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Make a new run for each of these, at the end of its lane and linked to the old one."""
        runs: list[Run] = await self._write(sqlite_dispatch.replay_many, (run_ids, now), wakes=True)
        return runs

    async def park_runs(self, run_ids: Sequence[int], owned: Owned, now: float, *, reason: str) -> list[Run]:
        """Keep pending runs from starting until they are released, and with them their lanes."""
        runs: list[Run] = await self._work(sqlite_control.park_many, (run_ids, owned, reason))
        return runs

    async def release_runs(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Let parked runs start again; give those that were parked."""
        runs: list[Run] = await self._write(sqlite_control.release_many, (run_ids, now), wakes=True)
        return runs

    async def retry_runs(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Make pending runs that wait for a time due now; give them."""
        runs: list[Run] = await self._write(sqlite_control.retry_many, (run_ids, now), wakes=True)
        return runs

    async def skip_runs(self, run_ids: Sequence[int], now: float, *, reason: str) -> list[Run]:
        """End pending runs as skipped, and let their lanes go on; give them."""
        runs: list[Run] = await self._write(sqlite_control.skip_many, (run_ids, now, reason), wakes=True)
        return runs

    async def dispatch_again(self, event_ids: Sequence[int]) -> list[int]:
        """Have events dispatched once more that no handler wanted; give those."""
        found: list[int] = await self._write(sqlite_control.dispatch_again_many, (event_ids,), wakes=True)
        return found

    async def move_due_times(self, owned: Owned, by: float) -> None:
        """Move the due times of all pending runs by so many seconds: after the clock was set."""
        await self._work(sqlite_control.move_due_times_many, (owned, by))

    async def pause(self, pause: Pause) -> None:
        """Keep runs from starting until `resume`."""
        await self._write(sqlite_control.pause_many, (pause,), wakes=True)

    async def resume(self, pause: Pause) -> bool:
        """End a pause of the same account, handler or record; False where there is none."""
        ended: bool = await self._write(sqlite_control.resume_many, (pause,), wakes=True)
        return ended

    async def pauses(self) -> list[Pause]:
        """List what is paused, oldest first."""
        found: list[Pause] = await self._read(sqlite_control.pauses)
        return found

    async def once(self, run_id: int, key: str) -> bytes | None:
        """Give what `run.once(key, …)` remembered, as JSON."""
        result: bytes | None = await self._read(sqlite_rest.memory, run_id, key)
        return result

    async def remember(self, run_id: int, key: str, result: bytes, now: float) -> None:
        """Keep the result of `run.once(key, …)`; the first one stays."""
        await self._write(sqlite_rest.remember_many, (run_id, key, result, now))

    # Accounts, webhooks, fields -------------------------------------------------------------------------------------
    async def accounts(self) -> list[Account]:
        """List accounts in the order in which they were connected."""
        found: list[Account] = await self._read(sqlite_rest.accounts)
        return found

    async def save_account(self, account: Account) -> Account | None:
        """Insert or update an account; None where another version is stored.

        Saving one as acting ends the acting of the others of its company.
        """
        saved: Account | None = await self._write(sqlite_rest.save_account_many, (account,))
        return saved

    async def webhooks(self, company: int | None = None) -> list[Webhook]:
        """List our webhooks as last seen."""
        found: list[Webhook] = await self._read(sqlite_rest.webhooks, company)
        return found

    async def save_webhooks(self, company: int, webhooks: Sequence[Webhook]) -> None:
        """Replace what is known of the company's webhooks."""
        await self._write(sqlite_rest.save_webhooks_many, (company, webhooks))

    async def fields(self, company: int) -> dict[str, bytes]:
        """Give the company's field definitions as JSON, by kind."""
        found: dict[str, bytes] = await self._read(sqlite_rest.fields, company)
        return found

    async def save_fields(self, company: int, kind: str, definitions: bytes, now: float) -> None:
        """Keep the company's field definitions of one kind."""
        await self._write(sqlite_rest.save_fields_many, (company, kind, definitions, now))

    # Writes and watermarks ------------------------------------------------------------------------------------------
    async def add_write(self, write: Write) -> int:
        """Commit the intent of a write before it is sent; give its id."""
        write_id: int = await self._write(sqlite_rest.add_write_many, (write,))
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
        await self._write(sqlite_rest.settle_write_many, (write_id, outcome, now, record_id, answer))

    async def writes(
        self, *, company: int | None = None, kind: str | None = None, run_id: int | None = None, since: float = 0.0
    ) -> list[Write]:
        """List writes intended since then, oldest first."""
        found: list[Write] = await self._read(sqlite_rest.writes, company, kind, run_id, since)
        return found

    async def watermarks(self, company: int) -> dict[str, float]:
        """Give the company's watermarks by kind."""
        found: dict[str, float] = await self._read(sqlite_rest.watermarks, company)
        return found

    async def save_watermark(self, company: int, kind: str, value: float, now: float) -> None:
        """Move a watermark; it never goes back."""
        await self._write(sqlite_rest.save_watermark_many, (company, kind, value, now))

    async def add_proof(self, proof: Proof) -> int:
        """Keep what a reconciliation found; give its id."""
        proof_id: int = await self._write(sqlite_rest.add_proof_many, (proof,))
        return proof_id

    async def proofs(self, company: int | None = None, *, limit: int = 50) -> list[Proof]:
        """List what reconciliations found, newest first."""
        found: list[Proof] = await self._list(sqlite_rest.proofs, company, limit)
        return found

    # Leases ---------------------------------------------------------------------------------------------------------
    async def take_lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Become the only one who does what `name` stands for, until `now + seconds`; False while another one is."""
        taken: bool = await self._write(sqlite_rest.take_lease_many, (name, holder, now, seconds))
        return taken

    async def release_lease(self, name: str, holder: str) -> None:
        """End a lease at once; one of another holder stays as it is."""
        await self._write(sqlite_rest.release_lease_many, (name, holder))

    # Upkeep ---------------------------------------------------------------------------------------------------------
    async def purge(self, before: float, *, limit: int) -> int:
        """Delete up to `limit` old events whose runs have all ended; say how many. They are sought by a reader."""
        event_ids = await self._list(sqlite_lists.finished_before, before, limit)
        gone: int = await self._write(sqlite_lists.purge_many, (event_ids, before, limit))
        return gone

    async def counts(self) -> dict[str, int]:
        """Count events and runs by status: `events`, `undispatched`, `pending`, `running`, `dead`."""
        found: dict[str, int] = await self._running().counts.submit(sqlite_lists.counts, ())
        return found


def _page(limit: int, found: int) -> int:
    """Say how many rows the next page of a listing may have; `limit` 0 means all."""
    return PAGE if limit == 0 else min(PAGE, limit - found)
