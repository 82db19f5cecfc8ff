"""`pipeflow fields`: a company's custom fields as a typed module, and whether that module is still right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import OfSandbox

if TYPE_CHECKING:
    from pipeflow.client.definitions import FieldDefinition

app = typer.Typer(
    help="Write a company's custom fields as a typed module, or check one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Target = Annotated[Path, typer.Argument(help="The module.")]
OfCompany = Annotated[int | None, typer.Option("--company", metavar="ID", help="Of which connected company.")]


@app.command("pull")
def pull(path: Target = Path("fields.py"), company: OfCompany = None, of_sandbox: OfSandbox = False) -> None:
    """Write the company's custom fields as Python, so that editors complete them and mypy checks them."""
    from pipeflow.cli.compose import run_async
    from pipeflow.cli.fieldmodule import is_ours, module_text
    from pipeflow.cli.output import say
    from pipeflow.errors import ConfigError

    if path.suffix != ".py":
        raise ConfigError(f"{path} must end in .py.")
    if path.exists() and not is_ours(path):
        raise ConfigError(
            f"{path} was not written by `pipeflow fields pull`, so it is left alone; choose another name."
        )
    name, fields, _ = run_async(_fetch(company, of_sandbox))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(module_text(name, fields), encoding="utf-8")
    counts = ", ".join(f"{len(found)} of {kind}s" for kind, found in fields.items() if found)
    say(f"Wrote {path}: the custom fields of {name} ({counts or 'none yet'}).")


@app.command("check")
def check(path: Target = Path("fields.py"), company: OfCompany = None, of_sandbox: OfSandbox = False) -> None:
    """Say how the company's custom fields differ from the module: exit 0 if not at all, else 1."""
    from pipeflow.cli.compose import run_async
    from pipeflow.cli.fieldmodule import drift, read_module
    from pipeflow.cli.output import say

    pulled = read_module(path)
    name, fields, unread = run_async(_fetch(company, of_sandbox))
    said = list(drift({kind: found for kind, found in pulled.items() if kind not in unread}, fields))
    for sentence in said:
        say(sentence)
    if said:
        say(f"The custom fields of {name} are not those of {path} any more: `pipeflow fields pull {path}`.")
        raise typer.Exit(1)
    say(f"{path} has the custom fields of {name} as they are.")


async def _fetch(company: int | None, of_sandbox: bool) -> tuple[str, dict[str, list[FieldDefinition]], list[str]]:
    """Give the company's name, its custom fields by kind, and the kinds that its account may not read."""
    from pipeflow.cli.compose import opened_client
    from pipeflow.cli.output import warn
    from pipeflow.client.definitions import KINDS
    from pipeflow.errors import Forbidden, NotFound, ResponseError

    fields: dict[str, list[FieldDefinition]] = {}
    unread: list[str] = []
    async with opened_client(of_sandbox, company) as client:
        user = await client.users.get_current_user()
        for kind in KINDS:
            try:
                fields[kind] = list(await client.fields.of(kind))
            except ResponseError as error:
                if not isinstance(error, Forbidden | NotFound) and error.status != 415:
                    raise
                unread.append(kind)
                warn(f"The fields of {kind}s are left out: {error}")
    return user.company_name or f"company {user.company_id}", fields, unread
