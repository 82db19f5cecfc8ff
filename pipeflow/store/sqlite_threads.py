"""The two kinds of threads that use a SQLite file: one writer with group commit, and readers. Imports errors.

Python's sqlite3 gives up the interpreter at each step of a statement, and a busy event loop gives it back only after
its switch interval. So everything here, and the SQL it runs, aims at few statements and few result rows per batch.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pipeflow.errors import StoreError
from pipeflow.store.sqlite_connection import Link, explain, is_trouble

Many = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
"""Carries out several operations of one sort in an open transaction, and gives a result for each."""
Read = Callable[..., Any]

LOOK_EVERY = 0.2
ENOUGH_AT_ONCE = 2_000
_UNKNOWN = -1


@dataclass(slots=True, eq=False)
class _Wanted:
    """An operation somebody waits for, and what became of it. `wakes`: its commit gives the worker something to do."""

    do: Callable[..., Any]
    arguments: Any
    wakes: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class _Thread(ABC):
    """A thread with a queue in front and a connection behind.

    What is submitted in one turn of the loop goes into the queue together: waking a thread for each operation would
    have it fight the loop for the interpreter.
    """

    def __init__(self, name: str, path: Path, link: Link) -> None:
        self._path = path
        self._link = link
        self._queue: SimpleQueue[list[_Wanted] | None] = SimpleQueue()
        self._submitted: list[_Wanted] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect and begin; results are handed over to `loop`, from which alone operations are submitted."""
        self._loop = loop
        self._link.get()
        self._thread.start()

    def flush(self) -> None:
        """Put what was submitted into the queue; on the loop, by itself once a turn, and before `stop`."""
        if self._submitted:
            self._queue.put(self._submitted)
            self._submitted = []

    def stop(self) -> None:
        """Carry out what was submitted before, and end; blocks. Nothing may be submitted any more."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._link.drop()

    def submit(self, do: Callable[..., Any], arguments: Any, *, wakes: bool = False) -> asyncio.Future[Any]:
        """Have an operation carried out; the future ends once it is committed or read."""
        assert self._loop is not None  # noqa: S101 - it was started before anybody could have it
        wanted = _Wanted(do, arguments, wakes, self._loop.create_future())
        if not self._submitted:
            self._loop.call_soon(self.flush)
        self._submitted.append(wanted)
        return wanted.future

    @abstractmethod
    def _run(self) -> None:
        """Work the queue until it gives None."""

    def _hand_over(self, batch: Sequence[_Wanted]) -> None:
        """Give results to those who wait, with one call into their loop."""
        assert self._loop is not None  # noqa: S101 - as above
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            self._loop.call_soon_threadsafe(_settle, batch)


class Reader(_Thread):
    """A thread that reads, one question after the other."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, path, Link(path))

    def _run(self) -> None:
        while (questions := self._queue.get()) is not None:
            for wanted in questions:
                self._answer(wanted)
                self._hand_over([wanted])

    def _answer(self, wanted: _Wanted) -> None:
        try:
            wanted.result = wanted.do(self._link.get(), *wanted.arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who asked
            self._link.recover(error)
            wanted.error = explain(error, self._path)


class Writer(_Thread):
    """The thread that writes: whatever has arrived becomes one transaction; what arrives meanwhile is the next.

    Operations of one sort in a batch are carried out together, in the order in which they came. `changed` is called in
    this thread after a commit, here or by another process, that gave the worker something to do. `checkpoints`: its
    commits also checkpoint; otherwise somebody else does, who watches `commits`.
    """

    def __init__(self, name: str, path: Path, changed: Callable[[], None], *, checkpoints: bool) -> None:
        super().__init__(name, path, Link(path, prepare=self._prepare))
        self.commits = 0
        self._changed = changed
        self._checkpoints = checkpoints
        self._log_is_long = False
        self._seen_version = _UNKNOWN
        self._looked_at = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect and begin; what other processes commit from here on is noticed."""
        self._seen_version = self._version()
        super().start(loop)

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._arrived()
            if batch:
                self._commit(batch)
            if self._log_is_long:
                self._finish_log()
            if time.monotonic() - self._looked_at >= LOOK_EVERY:
                self._look()

    def _arrived(self) -> tuple[list[_Wanted], bool]:
        batch: list[_Wanted] = []
        try:
            arrived = self._queue.get(timeout=LOOK_EVERY)
            while arrived is not None:
                batch += arrived
                if len(batch) >= ENOUGH_AT_ONCE:
                    return batch, True
                arrived = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def finish_log(self) -> None:
        """Have what is left in the log checkpointed between two batches, so that the next one begins the log anew."""
        self._log_is_long = True

    def _finish_log(self) -> None:
        self._log_is_long = False
        with suppress(sqlite3.Error, StoreError):  # the next commit tells its callers of the same trouble
            self._link.get().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._seen_version = _UNKNOWN  # its counting begins anew with the connection
        if not self._checkpoints:
            db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()

    def _look(self) -> None:
        """Notice the commits of other processes; SQLite's number does not move with our own."""
        self._looked_at = time.monotonic()
        try:
            version = self._version()
        except (sqlite3.Error, StoreError):  # the next operation tells its caller of the same trouble
            return
        if version != self._seen_version:
            self._changed()
        self._seen_version = version

    def _version(self) -> int:
        (version,) = self._link.get().execute("PRAGMA data_version").fetchone()
        return int(version)

    def _commit(self, batch: list[_Wanted]) -> None:
        error = self._transact(batch)
        if error is not None and not is_trouble(error) and len(batch) > 1:
            for wanted in batch:
                wanted.error = self._transact([wanted])
        elif error is not None:
            for wanted in batch:
                wanted.error = error
        for wanted in batch:
            if wanted.error is not None:
                wanted.error = explain(wanted.error, self._path)
        self._hand_over(batch)
        if any(wanted.wakes and wanted.error is None for wanted in batch):
            self._changed()

    def _transact(self, batch: list[_Wanted]) -> Exception | None:
        """Commit all of these or nothing; give what went wrong."""
        sorts: dict[Callable[..., Any], list[_Wanted]] = {}
        for wanted in batch:
            sorts.setdefault(wanted.do, []).append(wanted)
        try:
            db = self._link.get()
            plain = len(sorts) == 1 and _is_one_statement(batch)
            if not plain:
                db.execute("BEGIN IMMEDIATE")
            for do, same in sorts.items():
                results = do(db, [wanted.arguments for wanted in same])
                for wanted, result in zip(same, results, strict=True):
                    wanted.result = result
            if not plain:
                db.execute("COMMIT")
            self.commits += 1
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to those who asked
            self._link.recover(error)
            return error
        return None


def _is_one_statement(batch: Sequence[_Wanted]) -> bool:
    """Say whether this batch of one sort is a single statement, which commits by itself: one step instead of three."""
    says = getattr(batch[0].do, "is_one_statement", None)
    return says is not None and says([wanted.arguments for wanted in batch])


def _settle(batch: Sequence[_Wanted]) -> None:
    for wanted in batch:
        if wanted.future.done():
            continue
        if wanted.error is not None:
            wanted.future.set_exception(wanted.error)
        else:
            wanted.future.set_result(wanted.result)
