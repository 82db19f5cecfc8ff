"""Move what the write-ahead log holds into the database file, beside the writer. Imports errors and connections.

SQLite would do it in the commit that fills a thousand pages, which then takes tens of milliseconds. Here a thread of
its own does the bulk, and the writer only the little that came meanwhile, so that the log can begin anew.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from pipeflow.errors import StoreError
from pipeflow.store.sqlite_connection import Link
from pipeflow.store.sqlite_threads import Writer

EVERY = 0.25
LONG_LOG = 8_000  # pages: 32 MB


class Checkpointer:
    """The thread that keeps the log short while its process owns the file."""

    def __init__(self, name: str, path: Path, writer: Writer) -> None:
        self._link = Link(path)
        self._writer = writer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; blocks."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        seen = -1
        while not self._stopping.wait(EVERY):
            commits = self._writer.commits
            if commits == seen:
                continue
            try:
                _, in_log, _ = self._link.get().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except (sqlite3.Error, StoreError) as error:  # the writer tells its callers of the same trouble
                self._link.recover(error)
                continue
            seen = commits
            if in_log >= LONG_LOG:
                self._writer.finish_log()
        self._link.drop()
