"""The root of the command line. Imports thin files only: each loads what it needs once its command is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeflow.cli import (
    accounts,
    api,
    doctor,
    events,
    fields,
    migrate,
    new,
    pauses,
    replay,
    run,
    runs,
    sandbox,
    store,
    webhooks,
    writes,
)

app = typer.Typer(
    name="pipeflow",
    help="Automations for Pipedrive in Python.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("pipeflow"))
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Automations for Pipedrive in Python."""


app.command("run")(run.run)
app.command("new")(new.new)
app.add_typer(events.app, name="events")
app.add_typer(runs.app, name="runs")
app.command("replay")(replay.replay)
app.command("writes")(writes.writes)
app.add_typer(pauses.pause, name="pause")
app.add_typer(pauses.resume, name="resume")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(accounts.app, name="accounts")
app.command("api")(api.api)
app.add_typer(fields.app, name="fields")
app.command("doctor")(doctor.doctor)
app.command("migrate")(migrate.migrate)
app.add_typer(store.app, name="store")
app.command("sandbox")(sandbox.sandbox)
