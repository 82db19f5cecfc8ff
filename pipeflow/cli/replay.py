"""`pipeflow replay`: make new runs of old ones, chosen by run, event, handler or time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import HandlerName, OfSandbox, Since, Until, Yes

if TYPE_CHECKING:
    from pipeflow.store.base import Run, RunFilter, Store, StoredEvent

REHEARSED = 20
"""Runs that a dry run tries; of the others it says how many there are."""


def replay(
    run_ids: Annotated[list[int] | None, typer.Argument(metavar="[RUN_ID]...", show_default=False)] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead runs that were not replayed yet.")] = False,
    event: Annotated[list[int] | None, typer.Option(metavar="ID", help="The runs of this event; may repeat.")] = None,
    handler: HandlerName = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count, then run the first ones here without sending what they write.")
    ] = False,
    recipes: Annotated[str, typer.Option(metavar="FOLDER", help="Where --dry-run finds the handlers.")] = "recipes",
    yes: Yes = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """Make new runs of old ones; history stays as it is.

    The process that owns the store executes them, each at the end of its lane. An event that no handler wanted is
    dispatched again: a handler that has been written since then gets its run.
    """
    import time

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import say
    from pipeflow.cli.steering import agreed, count

    wanted = _wanted(run_ids, dead, event, handler, since, until)

    async def work() -> list[str]:
        async with opened_store(of_sandbox) as store:
            found = await _choose(store, wanted, tuple(event or ()))
            unwanted = await _unwanted(store, tuple(event or ()), handler)
            if dry_run:
                count(found)
                say(f"{_runs(len(found))} would be made.")
                await _rehearse(store, found, unwanted, recipes, of_sandbox)
                return []
            told = []
            if again := await store.dispatch_again([one.id for one in unwanted]) if unwanted else []:
                told.append(
                    f"{len(again)} event{'' if len(again) == 1 else 's'} that no handler had wanted: dispatched."
                )
            if found and (yes or agreed(found, "Replay")):
                made = await store.replay([run.id for run in found], time.time())
                told.append(f"{_runs(len(made)).replace(' ', ' new ')} made.")
            return told or ["Nothing to replay."]

    for sentence in run_async(work()):
        say(sentence)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def _wanted(
    run_ids: list[int] | None,
    dead: bool,
    event: list[int] | None,
    handler: str | None,
    since: str | None,
    until: str | None,
) -> RunFilter:
    """Say which runs are meant; raises ConfigError where it is left open."""
    import time

    from pipeflow.cli.times import parse_since
    from pipeflow.errors import ConfigError
    from pipeflow.store.base import RunFilter

    now = time.time()
    if bool(run_ids) == any((dead, event, handler, since, until)):
        raise ConfigError(
            "Say which: run ids (`pipeflow replay 12 13`), or some of `--dead`, `--event`, `--handler`, `--since` and "
            "`--until`."
        )
    return RunFilter(
        limit=0,
        status="dead" if dead else None,
        handler=handler,
        since=parse_since(since, now) if since else None,
        until=parse_since(until, now) if until else None,
        ids=tuple(run_ids) if run_ids else None,
        include_skipped=True,
    )


async def _choose(store: Store, wanted: RunFilter, event_ids: tuple[int, ...]) -> list[Run]:
    """Find the runs to replay, oldest first: those named, else the ended ones, the last of each event and handler."""
    from dataclasses import replace

    from pipeflow.cli.steering import find

    if wanted.ids is not None:
        return await find(store, wanted)
    if event_ids:
        found = [run for one in dict.fromkeys(event_ids) for run in await find(store, replace(wanted, event_id=one))]
    else:
        found = await find(store, wanted)
    found.sort(key=lambda run: run.id)
    if wanted.status == "dead":
        return await _not_replayed(store, found)
    last = {(run.event_id, run.handler): run for run in found}
    return [run for run in found if run.finished_at is not None and last[run.event_id, run.handler] is run]


async def _unwanted(store: Store, event_ids: tuple[int, ...], handler: str | None) -> list[StoredEvent]:
    """Find those of the named events that no handler wanted; raises PipeflowError where one is not there."""
    from pipeflow.errors import PipeflowError
    from pipeflow.store.base import EventFilter

    events = await store.events(EventFilter(limit=0, ids=event_ids)) if event_ids else []
    unknown = set(event_ids) - {one.id for one in events}
    if unknown:
        raise PipeflowError(f"Nothing was replayed: there is no event {', '.join(map(str, sorted(unknown)))}.")
    return [one for one in reversed(events) if one.status == "unmatched" and handler is None]


async def _rehearse(
    store: Store, found: list[Run], unwanted: list[StoredEvent], recipes: str, of_sandbox: bool
) -> None:
    """Run the first ones here: what they read is sent, what they write is shown."""
    from pipeflow.cli.compose import rehearsal
    from pipeflow.cli.output import say
    from pipeflow.engine.dryrun import told

    stage = rehearsal(store, recipes, of_sandbox)
    runs = [*found, *(run for event in unwanted for run in stage.wanted(event))]
    for run in runs[:REHEARSED]:
        closing = await stage.execute(run)
        ending = "its handler is not in these recipes" if closing is None else closing.error or closing.status
        subject = f"Run {run.id}" if run.id else f"Event {run.event_id}"
        say(f"\n{subject}, {run.handler} on {run.kind} {run.record_id}: {ending}")
        for write in stage.writes:
            say(f"  not sent: {told(write)}")
        stage.writes.clear()
    if len(runs) > REHEARSED:
        say(f"\nThe other {len(runs) - REHEARSED} were not tried.")


async def _not_replayed(store: Store, found: list[Run]) -> list[Run]:
    from pipeflow.store.base import RunFilter

    if not found:
        return found
    newer = await store.runs(RunFilter(limit=0, since=found[0].created_at, include_skipped=True))
    replayed = {run.replay_of for run in newer}
    return [run for run in found if run.id not in replayed]
