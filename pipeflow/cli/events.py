"""`pipeflow events`: list events, show one in full with its runs, or export one as a test's fixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeflow.cli.options import AsJson, HandlerName, Id, Limit, OfSandbox, Since, check_status, listing

if TYPE_CHECKING:
    from pipeflow.store.base import EventFilter, Store, StoredEvent

app = listing("List events, or show one: `pipeflow events 12`.")
_CHUNK = 200
_NO_RUNS = {
    "unmatched": "None: no handler wanted it.",
    "echo": "None: it tells what a run of ours wrote, and only handlers that caused it would hear it.",
}


@app.callback()
def events(
    ctx: typer.Context,
    as_json: AsJson = False,
    limit: Limit = 50,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="stored, dispatched, unmatched, echo, unreadable or twin.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only this name: deal.updated.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only of this kind: deal.")] = None,
    record: Annotated[str | None, typer.Option(metavar="ID", help="Only of the record with this id.")] = None,
    handler: HandlerName = None,
    since: Since = None,
    of_sandbox: OfSandbox = False,
) -> None:
    """List events, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    import time

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json, print_table
    from pipeflow.cli.rows import event_row
    from pipeflow.cli.times import local, parse_since
    from pipeflow.store.base import EventFilter, EventStatus

    check_status(status, EventStatus)
    after = parse_since(since, time.time()) if since else None
    wanted = EventFilter(limit=limit, status=status, name=name, kind=kind, record_id=record, since=after)

    async def read() -> list[StoredEvent]:
        async with opened_store(of_sandbox) as store:
            return await (_of_handler(store, wanted, handler) if handler else store.events(wanted))

    found = run_async(read())
    if as_json:
        print_json(map(event_row, found))
        return
    print_table(
        ("id", "received", "name", "record", "status", "also"),
        (
            (e.id, local(e.received_at), e.name, e.record_id, e.status, " ".join(n for n in e.names if n != e.name))
            for e in found
        ),
        empty="No such events.",
    )


@app.command("show", hidden=True)
def show(ctx: typer.Context, event_id: Id, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Show one event in full: its payload, what changed, and its runs."""
    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json
    from pipeflow.cli.rows import event_row, run_row
    from pipeflow.errors import PipeflowError
    from pipeflow.store.base import EventFilter, RunFilter

    above = ctx.parent.params if ctx.parent else {}

    async def read() -> dict[str, Any]:
        async with opened_store(of_sandbox or above["of_sandbox"]) as store:
            found = await store.events(EventFilter(ids=(event_id,)))
            if not found:
                raise PipeflowError(f"There is no event {event_id} in this store; `pipeflow events` lists them.")
            runs = await store.runs(RunFilter(limit=0, event_id=event_id, include_skipped=True))
            more = {"runs": [run_row(run) for run in reversed(runs)], **_causes(found[0])}
            return event_row(found[0]) | _contents(found[0]) | more

    row = run_async(read())
    if as_json or above["as_json"]:
        print_json([row])
    else:
        _print_event(row)


@app.command("export")
def export(
    event_id: Id,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.")] = None,
    of_sandbox: OfSandbox = False,
) -> None:
    """Print the delivery of an event as a fixture for tests, with personal data masked.

    `pipeflow.testing.read_event("file.json")` makes the event of it.
    """
    import orjson

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.masking import Mask
    from pipeflow.cli.output import say
    from pipeflow.deliveries import parse
    from pipeflow.errors import PipeflowError
    from pipeflow.store.base import EventFilter

    async def read() -> StoredEvent:
        async with opened_store(of_sandbox) as store:
            found = await store.events(EventFilter(ids=(event_id,)))
            if not found:
                raise PipeflowError(f"There is no event {event_id} in this store; `pipeflow events` lists them.")
            return found[0]

    event = run_async(read())
    if event.source == "tick" or event.status == "unreadable":
        raise PipeflowError(f"Event {event_id} ({event.name}) came with no delivery that could be a fixture.")
    masked = Mask().delivery(parse(event.raw) or {})
    text = orjson.dumps(masked, option=orjson.OPT_INDENT_2).decode()
    if to is None:
        say(text)
    else:
        to.write_text(text + "\n", encoding="utf-8")
        say(f"Wrote {to}; look at it before you keep it. `pipeflow.testing.read_event({str(to)!r})` makes the event.")


async def _of_handler(store: Store, wanted: EventFilter, handler: str) -> list[StoredEvent]:
    """List the events that the handler had runs on."""
    from dataclasses import replace

    from pipeflow.store.base import RunFilter

    runs = await store.runs(RunFilter(limit=0, handler=handler, since=wanted.since, include_skipped=True))
    ids = sorted({run.event_id for run in runs}, reverse=True)
    found: list[StoredEvent] = []
    for start in range(0, len(ids), _CHUNK):
        found += await store.events(replace(wanted, limit=0, ids=tuple(ids[start : start + _CHUNK])))
        if wanted.limit and len(found) >= wanted.limit:
            return found[: wanted.limit]
    return found


def _causes(event: StoredEvent) -> dict[str, Any]:
    """Say which run of ours caused an event, and of one that nobody wanted, what handler would have."""
    from pipeflow.cli.suggestion import handler_for

    caused = {"cause_run_id": event.cause_run_id, "chain": list(event.chain)}
    return caused | {"suggestion": handler_for(event.names or (event.name,)) if event.status == "unmatched" else None}


def _contents(event: StoredEvent) -> dict[str, Any]:
    """Read what an event says; of an unreadable one, the body as text."""
    from pipeflow.events import build_event, normalise

    try:
        payload = normalise(event.raw)
    except ValueError:
        return {"changes": {}, "payload": event.raw.decode(errors="replace")}
    built = build_event(
        payload, id=event.id, source=event.source, company=event.company, occurred_at=event.occurred_at, raw=event.raw
    )
    changes = {name: {"old": change.old, "new": change.new} for name, change in built.changes.items()}
    return {"changes": changes, "payload": {"meta": payload.meta, "data": payload.data, "previous": payload.previous}}


def _print_event(row: dict[str, Any]) -> None:
    import orjson

    from pipeflow.cli.output import print_fields, print_table, say

    runs, changes, payload = row.pop("runs"), row.pop("changes"), row.pop("payload")
    suggestion, chain = row.pop("suggestion"), row.pop("chain")
    print_fields({**row, "names": " ".join(row["names"]), "chain": " → ".join(chain)})
    if changes:
        say("\nWhat changed")
        print_fields({f"  {name}": f"{change['old']} -> {change['new']}" for name, change in changes.items()})
    say("\nRuns")
    print_table(
        ("id", "handler", "status", "attempts", "error"),
        ((run["id"], run["handler"], run["status"], run["attempts"], run["error"]) for run in runs),
        empty=_NO_RUNS.get(row["status"], "None."),
    )
    if suggestion:
        say(f"\nA handler that would have (then `pipeflow replay --event {row['id']}` runs it)\n\n{suggestion}")
    say("\nPayload")
    say(payload if isinstance(payload, str) else orjson.dumps(payload, option=orjson.OPT_INDENT_2).decode())
