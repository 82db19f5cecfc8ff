"""Where everything is remembered: `open_store` chooses the store by its URL. Imports errors; backends are lazy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipeflow.errors import ConfigError

if TYPE_CHECKING:
    from pipeflow.store.base import Store

__all__ = ["open_store"]


def open_store(database_url: str) -> Store:
    """Make the store that a URL names; `await store.open()` opens it.

        store = open_store("sqlite:///pipeflow.db")        # relative; sqlite:////srv/pipeflow.db is absolute

    Raises ConfigError for a URL that names no store.
    """
    scheme, separator, rest = database_url.partition("://")
    path = rest.removeprefix("/")
    if scheme == "sqlite" and separator and rest.startswith("/") and path and not path.endswith("/"):
        from pipeflow.store.sqlite import SQLiteStore

        return SQLiteStore(Path(unquote(path)))
    if scheme in ("postgres", "postgresql") and rest:
        try:
            from pipeflow.store.postgres import PostgresStore
        except ImportError as error:
            raise ConfigError(f"PostgreSQL needs more packages ({error}): pip install 'pipeflow[postgres]'.") from error

        return PostgresStore(database_url)
    shown = f"{scheme}://…" if separator and scheme.isalnum() else "the given text"  # the rest may hold a password
    raise ConfigError(
        f"PIPEFLOW_DATABASE_URL names no database that pipeflow knows ({shown}); "
        "write sqlite:///pipeflow.db, sqlite:////srv/pipeflow.db or postgresql://user:password@host/name."
    )
