"""`pipeflow runs`: list runs, show one in full with its attempts and writes, and steer the ones that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeflow.cli import steering
from pipeflow.cli.options import AsJson, HandlerName, Id, Limit, OfSandbox, Since, Until, check_status, listing

if TYPE_CHECKING:
    from pipeflow.store.base import Run

app = listing("List runs, or show one: `pipeflow runs 12`.")
app.command("retry")(steering.retry)
app.command("skip")(steering.skip)
app.command("release")(steering.release)


@app.callback()
def runs(
    ctx: typer.Context,
    as_json: AsJson = False,
    limit: Limit = 50,
    status: Annotated[
        str | None,
        typer.Option(metavar="STATUS", help="pending, running, succeeded, skipped (else left out) or dead."),
    ] = None,
    handler: HandlerName = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only on records of this kind: deal.")] = None,
    record: Annotated[str | None, typer.Option(metavar="ID", help="Only on the record with this id.")] = None,
    event: Annotated[int | None, typer.Option(metavar="ID", help="Only on this event.")] = None,
    error: Annotated[str | None, typer.Option(metavar="TEXT", help="Only with this in the error.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only those that the fuse has parked.")] = False,
    since: Since = None,
    until: Until = None,
    of_sandbox: OfSandbox = False,
) -> None:
    """List runs, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    import time

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json, print_table
    from pipeflow.cli.rows import run_row
    from pipeflow.cli.times import local, parse_since
    from pipeflow.store.base import RunFilter, RunStatus

    check_status(status, RunStatus)
    now = time.time()
    wanted = RunFilter(
        limit=limit,
        status=status,
        handler=handler,
        kind=kind,
        record_id=record,
        event_id=event,
        error=error,
        since=parse_since(since, now) if since else None,
        until=parse_since(until, now) if until else None,
        parked=parked,
    )

    async def read() -> list[Run]:
        async with opened_store(of_sandbox) as store:
            return await store.runs(wanted)

    found = run_async(read())
    if as_json:
        print_json(map(run_row, found))
        return
    print_table(
        ("id", "created", "handler", "record", "status", "attempts", "next attempt", "error"),
        (
            (
                run.id,
                local(run.created_at),
                run.handler,
                f"{run.kind} {run.record_id}",
                "parked" if run.parked else run.status,
                run.attempts,
                local(run.due_at) if run.status == "pending" else "",
                run.error,
            )
            for run in found
        ),
        empty="No such runs.",
    )


@app.command("show", hidden=True)
def show(ctx: typer.Context, run_id: Id, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Show one run in full, with its attempts."""
    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json
    from pipeflow.cli.rows import attempt_row, run_row, write_row
    from pipeflow.cli.steering import waits_for
    from pipeflow.errors import PipeflowError
    from pipeflow.store.base import RunFilter

    above = ctx.parent.params if ctx.parent else {}

    async def read() -> dict[str, Any]:
        async with opened_store(of_sandbox or above["of_sandbox"]) as store:
            found = await store.runs(RunFilter(ids=(run_id,), include_skipped=True))
            if not found:
                raise PipeflowError(f"There is no run {run_id} in this store; `pipeflow runs` lists them.")
            return run_row(found[0]) | {
                "parked": found[0].parked,
                "waits_for": await waits_for(store, found[0]),
                "attempts_made": [attempt_row(a) for a in await store.attempts(run_id)],
                "writes": [write_row(w) for w in await store.writes(run_id=run_id)],
            }

    row = run_async(read())
    if as_json or above["as_json"]:
        print_json([row])
    else:
        _print_run(row)


def _print_run(row: dict[str, Any]) -> None:
    from pipeflow.cli.output import print_fields, print_table, say
    from pipeflow.cli.rows import told_values

    attempts, writes = row.pop("attempts_made"), row.pop("writes")
    print_fields(row)
    say("\nAttempts")
    print_table(
        ("number", "started", "finished", "outcome", "error"),
        ((a["number"], a["started_at"], a["finished_at"], a["outcome"], a["error"]) for a in attempts),
        empty="None yet.",
    )
    if writes:
        say("\nWrites")
        print_table(
            ("id", "operation", "record", "values", "outcome"),
            ((w["id"], w["operation"], w["record_id"], told_values(w["values"]), w["outcome"]) for w in writes),
            empty="None.",
        )
    if attempts and attempts[-1]["traceback"]:
        say(f"\n{attempts[-1]['traceback']}")
    if row["parked"]:
        say(f"\n`pipeflow runs release {row['id']}` lets it go on, `pipeflow runs skip {row['id']}` leaves it out.")
    if row["status"] == "dead":
        say(f"\n`pipeflow replay {row['id']}` runs it again; `pipeflow events {row['event_id']}` shows its event.")
