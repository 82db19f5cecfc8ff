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
from pipeflow.store.connection import Link, explain, is_trouble

Many = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
"""Carries out several operations of one sort in an open transaction, and gives a result for each."""
Read = Callable[..., Any]

LOOK_EVERY = 0.2
MOST_AT_ONCE = 2_000
_UNKNOWN = -1


@dataclass(slots=True, eq=False)
class _Wanted:
    """An operation somebody waits for, and what became of it. `wakes`: its commit gives the worker something to do."""

    do: Callable[..., Any]
    arguments: Any
    wakes: bool
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = None


class _Thread(ABC):
    """A thread with a queue in front and a connection behind."""

    def __init__(self, name: str, path: Path, link: Link) -> None:
        self._path = path
        self._link = link
        self._queue: SimpleQueue[_Wanted | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Connect and begin."""
        self._link.get()
        self._thread.start()

    def stop(self) -> None:
        """Carry out what was submitted before, and end; blocks. Nothing may be submitted any more."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._link.drop()

    def submit(self, do: Callable[..., Any], arguments: Any, *, wakes: bool = False) -> asyncio.Future[Any]:
        """Put an operation into the queue; the future ends once it is committed or read."""
        loop = asyncio.get_running_loop()
        wanted = _Wanted(do, arguments, wakes, loop.create_future(), loop)
        self._queue.put(wanted)
        return wanted.future

    @abstractmethod
    def _run(self) -> None:
        """Work the queue until it gives None."""


class Reader(_Thread):
    """A thread that reads, one question after the other."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, path, Link(path))

    def _run(self) -> None:
        while (wanted := self._queue.get()) is not None:
            try:
                wanted.result = wanted.do(self._link.get(), *wanted.arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who asked
                self._link.recover(error)
                wanted.error = explain(error, self._path)
            hand_over([wanted])


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

    def start(self) -> None:
        """Connect and begin; what other processes commit from here on is noticed."""
        self._seen_version = self._version()
        super().start()

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
            wanted = self._queue.get(timeout=LOOK_EVERY)
            while wanted is not None:
                batch.append(wanted)
                if len(batch) == MOST_AT_ONCE:
                    return batch, True
                wanted = self._queue.get_nowait()
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
        hand_over(batch)
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


def hand_over(batch: Sequence[_Wanted]) -> None:
    """Give results to those who wait, with one call into each loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Wanted]] = {}
    for wanted in batch:
        loops.setdefault(wanted.loop, []).append(wanted)
    for loop, its in loops.items():
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(_settle, its)


def _settle(batch: Sequence[_Wanted]) -> None:
    for wanted in batch:
        if wanted.future.done():
            continue
        if wanted.error is not None:
            wanted.future.set_exception(wanted.error)
        else:
            wanted.future.set_result(wanted.result)
