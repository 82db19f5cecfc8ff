"""`pipeflow new`: begin a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_RECIPE = '''"""Say in one line what this recipe does and for whom."""

from logging import Logger

from pipeflow import Client, Event, Run, changed, on
from pipeflow.records import Deal


@on("deal.updated", when=changed("stage_id"))
async def on_stage_move(event: Event[Deal], client: Client, run: Run, log: Logger) -> None:
    """Say what happens when a deal moves to another stage."""
    deal = event.record
    log.info("%s moved to stage %s", deal.title, deal.stage_id)
    # await run.once("note", lambda: client.notes.add_note(content="Moved!", deal_id=deal.id))
'''


def new(
    name: Annotated[str, typer.Argument(help="The recipe's name: follow_up.")],
    folder: Annotated[Path, typer.Option(help="Where recipes are.")] = Path("recipes"),
) -> None:
    """Write a recipe to begin with."""
    from keyword import iskeyword

    from pipeflow.cli.output import say
    from pipeflow.errors import ConfigError

    stem = name.removesuffix(".py")
    if not stem.isidentifier() or iskeyword(stem) or stem.startswith("_"):
        raise ConfigError(f'"{name}" cannot be a recipe\'s name: letters, digits and "_" only, such as follow_up.')
    path = folder / f"{stem}.py"
    if path.exists():
        raise ConfigError(f"{path} exists already; choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_RECIPE)
    say(f"Wrote {path}. Change it, then try it against sample data: pipeflow run {folder}/ --sandbox")
