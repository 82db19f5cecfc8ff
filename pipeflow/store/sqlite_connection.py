"""Connections to a SQLite file, and what its errors mean. Imports errors; only this file calls `sqlite3.connect`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeflow.errors import ConfigError, StoreError, StoreUnavailable

BUSY_SECONDS = 3.0  # a delivery may wait for two of these, and Pipedrive hangs up after ten
CHECK_EVERY = 0.2
OLDEST_SQLITE = (3, 35, 0)  # RETURNING and UPDATE … FROM

_TROUBLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_NOMEM: "does not fit into memory",
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_FULL: "is on a full disk",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "is locked by another process",
    sqlite3.SQLITE_PERM: "may not be opened by this user",
    sqlite3.SQLITE_AUTH: "may not be opened by this user",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database",
}
_NEXT = {
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "make its folder, and let this user write there",
    sqlite3.SQLITE_PERM: "let this user read and write it",
    sqlite3.SQLITE_AUTH: "let this user read and write it",
    sqlite3.SQLITE_FULL: "make room",
    sqlite3.SQLITE_CORRUPT: "put a copy of it back, or name another file in PIPEFLOW_DATABASE_URL",
    sqlite3.SQLITE_NOTADB: "name another file in PIPEFLOW_DATABASE_URL",
}
_REOPEN = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open a connection that any thread may use, one at a time.

    Only the first one of all may `create` the file: one that opens a file anew must not make an empty one in its place.
    Raises StoreUnavailable.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigError(f"Python has SQLite {sqlite3.sqlite_version} built in; pipeflow needs 3.35 or newer.")
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        _prepare(db)
    except sqlite3.Error as error:
        if db is not None:
            db.close()
        raise explain(error, path) from error
    return db


def _prepare(db: sqlite3.Connection) -> None:
    _use_wal(db)
    for pragma in (
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "temp_store = MEMORY",
        "cache_size = -16384",
        "journal_size_limit = 67108864",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait by itself where two processes do so at once."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(0.01)


class Link:
    """A connection that is opened when needed: anew after trouble, and when its file was taken away or replaced.

    `prepare` is called with each new connection. One thread at a time may use it.
    """

    def __init__(self, path: Path, *, prepare: Callable[[sqlite3.Connection], object] | None = None) -> None:
        self._path = path
        self._prepare = prepare
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._checked_at = 0.0

    def get(self) -> sqlite3.Connection:
        """Give the connection; never inside a transaction. Raises StoreUnavailable."""
        now = time.monotonic()
        if self._db is not None and now - self._checked_at >= CHECK_EVERY:
            self._checked_at = now
            if _identity(self._path) != self._identity:
                self.drop()
        if self._db is None:
            self._db = connect(self._path)
            self._identity = _identity(self._path)
            if self._prepare is not None:
                self._prepare(self._db)
        return self._db

    def recover(self, error: BaseException) -> None:
        """Roll back what an error interrupted, and drop a connection that is not to be trusted after it."""
        if self._db is None:
            return
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        if code_of(error) in _REOPEN:
            self.drop()

    def drop(self) -> None:
        """Close the connection."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def code_of(error: BaseException) -> int:
    """Give SQLite's primary result code of an error; 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_trouble(error: BaseException) -> bool:
    """Say whether the store is in trouble, rather than the statement wrong."""
    return isinstance(error, StoreUnavailable) or code_of(error) in _TROUBLE


def explain(error: BaseException, path: Path) -> StoreError:
    """Turn what SQLite raised into our errors."""
    if isinstance(error, StoreError):
        return error
    code = code_of(error)
    if code in _TROUBLE:
        what_next = _NEXT.get(code, "try again")
        return StoreUnavailable(f"{path} {_TROUBLE[code]} ({error}); nothing was changed: {what_next}.")
    return StoreError(f"{path} refused to store this: {type(error).__name__}: {error}")
