"""`pipeflow store`: move everything that is remembered from one database to another."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Move what is remembered.", no_args_is_help=True)


@app.callback()
def store() -> None:
    """Move what is remembered."""


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(help="Where everything is: sqlite:///path.")],
    target: Annotated[str, typer.Argument(help="Where it goes: postgresql://user:password@host/name.")],
) -> None:
    """Copy accounts, events, runs, history and watermarks from a SQLite file into PostgreSQL.

    Stop `pipeflow run` first. Until the copy is worked it can be repeated, and replaces what was copied before. The
    secret key moves with you: set PIPEFLOW_SECRET_KEY to what is in the `.key` file beside the SQLite file.
    """
    from pipeflow.cli.compose import run_async, shown_database
    from pipeflow.cli.output import print_table, say
    from pipeflow.errors import ConfigError, StoreError
    from pipeflow.settings import Settings

    there = Settings.load(database_url=source).sqlite_path
    if there is None or Settings.load(database_url=target).sqlite_path is not None:
        raise ConfigError("Write `pipeflow store copy sqlite:///pipeflow.db postgresql://…`: only this way is needed.")
    if not there.exists():
        raise StoreError(f"There is no store at {source}.")
    from pipeflow.store.copy import copy_store

    copied = run_async(copy_store(there, target, lambda table: say(f"copying {table}")))
    print_table(
        ("table", "in SQLite", "in PostgreSQL"), [(one.table, one.there, one.here) for one in copied], empty="Nothing."
    )
    if any(one.there != one.here for one in copied):
        raise StoreError("The two sides differ, so nothing was kept. Is somebody writing into the file?")
    say(f"{shown_database(target)} holds everything. Point PIPEFLOW_DATABASE_URL there and start.")
