"""`pipeflow api`: any operation of Pipedrive's API from the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeflow.cli.options import AsJson, OfSandbox

if TYPE_CHECKING:
    from pipeflow.catalog import Operation
    from pipeflow.cli.calling import Call
    from pipeflow.client import Client


def _names(incomplete: str) -> list[str]:
    """Complete the name of an operation."""
    from pipeflow.cli.calling import known

    return sorted(name for name in known() if name.startswith(incomplete))


def _arguments(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of an argument of the operation that stands before."""
    from pipeflow.cli.calling import describe, known

    operation = known().get(ctx.params.get("name") or "")
    names = [name for name, _, _ in describe(operation)] if operation else []
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def api(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[OPERATION]", autocompletion=_names, help="deals.get_deals, or v1.deals.get_deals."),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARGUMENT]...",
            autocompletion=_arguments,
            help="Ids of the path, name=value, name:=JSON; @file or - for the body as JSON.",
        ),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List operations; of one, what it takes.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Fetch all pages.")] = False,
    take: Annotated[int | None, typer.Option(min=1, metavar="N", help="Fetch pages until N records are there.")] = None,
    company: Annotated[int | None, typer.Option(metavar="ID", help="Act for this one of several companies.")] = None,
    as_json: AsJson = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """Call any operation of Pipedrive's API.

    pipeflow api deals.get_deals status=open --all --json
    """
    from pipeflow.cli.calling import read_call
    from pipeflow.cli.compose import run_async
    from pipeflow.errors import ConfigError

    if listing:
        _list(name, as_json)
        return
    if name is None:
        raise ConfigError("Say which operation: `pipeflow api deals.get_deals status=open`; `--list` lists them all.")
    call = read_call(name, words or ())
    if every or take:
        _must_be_list(name, call)
    run_async(_run(call, every, take, company, as_json, of_sandbox))


def _must_be_list(name: str, call: Call) -> None:
    from pipeflow.errors import ConfigError

    if call.operation.method != "GET" or call.operation.result not in ("list", "items"):
        raise ConfigError(f"{name} gives no list: --all and --take are for lists.")


async def _run(call: Call, every: bool, take: int | None, company: int | None, as_json: bool, of_sandbox: bool) -> None:
    from warnings import catch_warnings, simplefilter

    from pipeflow.cli.compose import opened_client
    from pipeflow.cli.records import show
    from pipeflow.errors import ConfigError

    _tell_retired(call.operation)
    with catch_warnings():
        simplefilter("ignore", DeprecationWarning)
        async with opened_client(of_sandbox, company) as client:
            try:
                await show(_called(client, call), client, every=every, take=take, as_json=as_json)
            except ValueError as error:
                raise ConfigError(str(error)) from None


def _called(client: Client, call: Call) -> Any:
    holder: Any = client
    for part in call.operation.attribute.split("."):
        holder = getattr(holder, part)
    return holder(*call.path, **call.named)


def _tell_retired(operation: Operation) -> None:
    from pipeflow.catalog import operation as find
    from pipeflow.cli.output import warn

    if operation.retired is None:
        return
    instead = f"use {find(operation.retired).attribute}" if operation.retired else "nothing replaces it"
    warn(f"Pipedrive retired {operation.attribute}: {instead}.")


# -- listing -----------------------------------------------------------------------------------------------------------


def _list(name: str | None, as_json: bool) -> None:
    from pipeflow.cli.calling import known, listed
    from pipeflow.cli.output import print_json, print_table

    if name in known() and not as_json:
        _describe(name, known()[name])
        return
    found = {called: operation for called, operation in listed().items() if name is None or name in called}
    if as_json:
        print_json(operation_row(called, operation) for called, operation in found.items())
        return
    print_table(
        ("operation", "request", "tokens", "what it does"),
        ((called, f"{each.method} {each.path}", each.cost, each.summary) for called, each in found.items()),
        empty=f"No operation has {name} in its name.",
    )


def operation_row(name: str, operation: Operation) -> dict[str, Any]:
    """Show an operation in a listing: the keys are fixed, scripts rely on them."""
    from pipeflow.cli.calling import describe

    return {
        "operation": name,
        "id": operation.id,
        "method": operation.method,
        "path": operation.path,
        "cost": operation.cost,
        "scopes": list(operation.scopes),
        "retired": operation.retired,
        "summary": operation.summary,
        "arguments": [{"name": name, "kind": kind, "required": bool(must)} for name, kind, must in describe(operation)],
    }


def _describe(name: str, operation: Operation) -> None:
    from pipeflow.cli.calling import describe
    from pipeflow.cli.output import print_table, say

    say(operation.summary)
    say(f"{operation.method} {operation.path}, {operation.cost} tokens. Scope: {' or '.join(operation.scopes)}.")
    _tell_retired(operation)
    say()
    print_table(("argument", "what may stand there", ""), describe(operation), empty=f"{name} takes no arguments.")
