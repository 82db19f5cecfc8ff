"""`pipeflow run`: everything, until it is told to end."""

from __future__ import annotations

import os
import signal
from typing import Annotated, Literal

import typer


def run(
    recipes: Annotated[str, typer.Argument(help="A folder of recipes, one file, or a dotted module.")] = "recipes",
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Against a simulated Pipedrive with sample data; needs no account.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0, help="Changes a minute that the sandbox's sales team makes.")] = 20.0,
    seed: Annotated[int | None, typer.Option(help="Repeat the same sales team.")] = None,
    only: Annotated[Literal["web", "worker"] | None, typer.Option(help="Run one half; needs PostgreSQL.")] = None,
    poll: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="No webhooks: ask Pipedrive so often what changed.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Send what recipes read, record what they write. In its own store, no webhooks."
        ),
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on; else PIPEFLOW_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; else PIPEFLOW_PORT or PORT.")] = None,
) -> None:
    """Run the recipes on what happens in Pipedrive, until Ctrl-C."""
    # Until the loop listens nothing has begun, so that nothing has to end.
    before = {number: signal.signal(number, lambda *_: os._exit(0)) for number in (signal.SIGINT, signal.SIGTERM)}
    from pipeflow.cli.serve import Plan, dry, run_plan

    listen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    plan = Plan(recipes=recipes, sandbox=sandbox, rate=rate, seed=seed, only=only, poll=poll, listen=listen)
    try:
        run_plan(dry(plan) if dry_run else plan)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
