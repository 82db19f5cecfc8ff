"""The owner lock: one process works a SQLite file's runs. Imports errors; touches `<database>.lock` and nothing else.

The lock is the kernel's (`fcntl.lockf`, on Windows `msvcrt.locking`), so that kill -9 frees it and a forked child does
not keep it; what the file says about the holder is only for people.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeflow.errors import StoreError, StoreUnavailable

_LOCKED_BYTE = 1 << 30  # far behind the text: Windows lets nobody read a byte that is locked

_held: dict[Path, OwnerLock] = {}  # a POSIX lock does not exclude its own process, and closing any handle frees it
_held_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that owns a database, as it signed the lock file."""

    pid: int
    host: str
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.started}"


class OwnerLock:
    """The lock beside a database file; `take` it before the first run is worked."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock").absolute()
        self._handle: int | None = None
        self._holder: Holder | None = None

    def take(self) -> None:
        """Take the lock and sign it.

        Raises StoreError, naming the holder, where another process has it; StoreUnavailable where the disk refuses.
        """
        with _held_guard:
            mine = _held.get(self.path)
            if mine is not None:
                raise self._refusal(mine._holder)
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise StoreUnavailable(
                    f"{self.path} cannot be written ({error.strerror}); make its folder writable."
                ) from error
            try:
                _lock(handle)
            except OSError:
                holder = _read(handle)
                os.close(handle)
                raise self._refusal(holder) from None
            self._handle = handle
            self._holder = Holder(os.getpid(), socket.gethostname(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
            _sign(handle, self._holder)
            _held[self.path] = self

    def release(self) -> None:
        """Let go; the file stays, as removing it would let two processes lock two files of one name."""
        with _held_guard:
            if self._handle is None:
                return
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
            del _held[self.path]

    def _refusal(self, holder: Holder | None) -> StoreError:
        database = str(self.path).removesuffix(".lock")
        return StoreError(
            f"{database} is worked by {holder or 'another process'}. Stop that process first, or give this one another "
            "PIPEFLOW_DATABASE_URL; listing, replaying and connecting accounts work beside it."
        )


def _sign(handle: int, holder: Holder) -> None:
    text = json.dumps({"pid": holder.pid, "host": holder.host, "started": holder.started})
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.encode())


def _read(handle: int) -> Holder | None:
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        told = json.loads(os.read(handle, 4096))
        return Holder(int(told["pid"]), str(told["host"]), str(told["started"]))
    except (ValueError, KeyError, TypeError):
        return None


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCKED_BYTE)
