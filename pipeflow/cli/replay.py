"""`pipeflow replay`: make new runs of old ones, chosen by run, event, handler or time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import HandlerName, OfSandbox, Since, Until, Yes

if TYPE_CHECKING:
    from pipeflow.store.base import Run, RunFilter, Store

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

    The process that owns the store executes them, each at the end of its lane.
    """
    import time

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import say
    from pipeflow.cli.steering import agreed, count

    wanted = _wanted(run_ids, dead, event, handler, since, until)

    async def work() -> list[Run] | None:
        async with opened_store(of_sandbox) as store:
            found = await _choose(store, wanted, tuple(event or ()))
            if dry_run:
                count(found)
                say(f"{len(found)} run{'' if len(found) == 1 else 's'} would be made.")
                await _rehearse(store, found, recipes, of_sandbox)
                return None
            if not found or not (yes or agreed(found, "Replay")):
                return []
            return await store.replay([run.id for run in found], time.time())

    made = run_async(work())
    if made is not None:
        say(f"{len(made)} new run{'' if len(made) == 1 else 's'} made." if made else "Nothing to replay.")


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


async def _rehearse(store: Store, found: list[Run], recipes: str, of_sandbox: bool) -> None:
    """Run the first ones here: what they read is sent, what they write is shown."""
    from pipeflow.cli.compose import rehearsal
    from pipeflow.cli.output import say
    from pipeflow.engine.dryrun import told

    execute, writes = rehearsal(store, recipes, of_sandbox)
    for run in found[:REHEARSED]:
        closing = await execute(run)
        ending = "its handler is not in these recipes" if closing is None else closing.error or closing.status
        say(f"\nRun {run.id}, {run.handler} on {run.kind} {run.record_id}: {ending}")
        for write in writes:
            say(f"  not sent: {told(write)}")
        writes.clear()
    if len(found) > REHEARSED:
        say(f"\nThe other {len(found) - REHEARSED} were not tried.")


async def _not_replayed(store: Store, found: list[Run]) -> list[Run]:
    from pipeflow.store.base import RunFilter

    if not found:
        return found
    newer = await store.runs(RunFilter(limit=0, since=found[0].created_at, include_skipped=True))
    replayed = {run.replay_of for run in newer}
    return [run for run in found if run.id not in replayed]
