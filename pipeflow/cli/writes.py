"""`pipeflow writes`: list what handlers changed in Pipedrive, or would have changed in a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import AsJson, HandlerName, Limit, OfSandbox, Since

if TYPE_CHECKING:
    from pipeflow.store.base import Write

HOUR, DAY = 3600.0, 86400.0


def writes(
    as_json: AsJson = False,
    limit: Limit = 50,
    run: Annotated[int | None, typer.Option(metavar="ID", help="Only of this run.")] = None,
    handler: HandlerName = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only to records of this kind: deal.")] = None,
    record: Annotated[str | None, typer.Option(metavar="ID", help="Only to the record with this id.")] = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look into the store of `run --dry-run`.")] = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """List writes, newest first: what was sent, what was there before, and what became of it."""
    import time

    from pipeflow.catalog import operation
    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json, print_table
    from pipeflow.cli.rows import told_values, write_row
    from pipeflow.cli.times import local, parse_since

    now = time.time()
    after = parse_since(since, now) if since else 0.0

    async def read() -> list[Write]:
        wanted: list[Write] = []
        async with opened_store(of_sandbox, dry_run=dry_run) as store:
            # Writes are listed from a time on: look back further only where the last hours hold too few.
            for start in (after,) if since or run or not limit else (now - HOUR, now - DAY, now - 14 * DAY, 0.0):
                found = await store.writes(kind=kind, run_id=run, since=start)
                wanted = [w for w in found if handler in (None, w.handler) and record in (None, w.record_id)]
                if limit and len(wanted) >= limit:
                    break
        return wanted[::-1][: limit or None]

    found = run_async(read())
    if as_json:
        print_json(map(write_row, found))
        return
    print_table(
        ("id", "intended", "handler", "run", "operation", "record", "values", "outcome"),
        (
            (
                write.id,
                local(write.intended_at),
                write.handler,
                write.run_id,
                operation(write.operation).attribute,
                write.record_id,
                told_values(dict(write.values)),
                write.outcome or "under way",
            )
            for write in found
        ),
        empty="No such writes.",
    )
