"""`pipeflow runs retry|skip|release`: what a person does to runs that wait, while `run` works the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import AsJson, HandlerName, OfSandbox, Since, Until, Yes

if TYPE_CHECKING:
    from pipeflow.store.base import Run, RunFilter, Store

RunIds = Annotated[list[int] | None, typer.Argument(metavar="[RUN_ID]...", show_default=False)]
ErrorText = Annotated[str | None, typer.Option("--error", metavar="TEXT", help="Only with this in the error.")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
_DUE = "its turn: it is due, once `pipeflow run` is up, has a slot free, and the account is in order"
Act = Callable[["Store", Sequence[int], float], Awaitable[list["Run"]]]


def retry(
    run_ids: RunIds = None,
    handler: HandlerName = None,
    error: ErrorText = None,
    since: Since = None,
    until: Until = None,
    every: All = False,
    yes: Yes = False,
    as_json: AsJson = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """Try runs again now that wait for a later attempt; dead ones are replayed instead."""
    wanted = _wanted(run_ids, handler, error, since, until, every)

    async def act(store: Store, ids: Sequence[int], now: float) -> list[Run]:
        return await store.retry_runs(ids, now)

    _steer(wanted, act, "is tried again now", "are tried again now", yes, as_json, of_sandbox)


def skip(
    run_ids: RunIds = None,
    handler: HandlerName = None,
    error: ErrorText = None,
    since: Since = None,
    until: Until = None,
    every: All = False,
    reason: Annotated[str, typer.Option(help="Kept with the runs.")] = "skipped by hand",
    yes: Yes = False,
    as_json: AsJson = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """Leave out runs that wait, so that their lanes go on."""
    wanted = _wanted(run_ids, handler, error, since, until, every)

    async def act(store: Store, ids: Sequence[int], now: float) -> list[Run]:
        return await store.skip_runs(ids, now, reason=reason)

    _steer(wanted, act, "is left out", "are left out", yes, as_json, of_sandbox)


def release(
    run_ids: RunIds = None,
    handler: HandlerName = None,
    error: ErrorText = None,
    since: Since = None,
    until: Until = None,
    every: All = False,
    yes: Yes = False,
    as_json: AsJson = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """Let lanes go on that the fuse has parked."""
    wanted = _wanted(run_ids, handler, error, since, until, every)
    if wanted.ids is None:
        wanted = replace(wanted, parked=True)

    async def act(store: Store, ids: Sequence[int], now: float) -> list[Run]:
        return await store.release_runs(ids, now)

    _steer(wanted, act, "goes on", "go on", yes, as_json, of_sandbox)


def _wanted(
    run_ids: list[int] | None,
    handler: str | None,
    error: str | None,
    since: str | None,
    until: str | None,
    every: bool,
) -> RunFilter:
    """Say which runs are meant; raises ConfigError where it is left open."""
    import time

    from pipeflow.cli.times import parse_since
    from pipeflow.errors import ConfigError
    from pipeflow.store.base import RunFilter

    now = time.time()
    narrowed = any((handler, error, since, until))
    if bool(run_ids) + narrowed + every != 1:
        raise ConfigError("Say which: run ids, or some of --handler, --error, --since and --until, or --all.")
    if run_ids:
        return RunFilter(limit=0, ids=tuple(run_ids), include_skipped=True)
    return RunFilter(
        limit=0,
        status="pending",
        handler=handler,
        error=error,
        since=parse_since(since, now) if since else None,
        until=parse_since(until, now) if until else None,
    )


def _steer(wanted: RunFilter, act: Act, one: str, more: str, yes: bool, as_json: bool, of_sandbox: bool) -> None:
    """Find the runs, ask where they were not named one by one, act, and say what was done and what was not."""
    import time

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json, say
    from pipeflow.cli.rows import run_row
    from pipeflow.errors import PipeflowError

    async def work() -> tuple[list[Run], list[Run]]:
        async with opened_store(of_sandbox) as store:
            found = await find(store, wanted)
            if not found or not (yes or wanted.ids or agreed(found, "Go ahead with")):
                return [], []
            done = await act(store, [run.id for run in found], time.time())
            return done, [run for run in found if run.id not in {run.id for run in done}]

    done, left = run_async(work())
    if wanted.ids and not done:
        raise PipeflowError("Nothing was done. " + " ".join(map(_why_not, left)))
    if as_json:
        print_json(map(run_row, done))
        return
    say(f"{len(done)} run{f' {one}' if len(done) == 1 else f's {more}'}." if done else "No such runs.")
    for run in left if wanted.ids else ():
        say(_why_not(run))


async def find(store: Store, wanted: RunFilter) -> list[Run]:
    """Find runs, oldest first, so that they keep their order; raises PipeflowError where one named is not there."""
    from pipeflow.errors import PipeflowError

    found = sorted(await store.runs(wanted), key=lambda run: run.id)
    unknown = set(wanted.ids or ()) - {run.id for run in found}
    if unknown:
        raise PipeflowError(
            f"Nothing was done: there is no run {', '.join(map(str, sorted(unknown)))}; `pipeflow runs` lists them."
        )
    return found


def agreed(found: list[Run], question: str) -> bool:
    """Show how many runs of each handler are meant, and ask."""
    count(found)
    return typer.confirm(f"{question} {len(found)} run{'' if len(found) == 1 else 's'}?")


def count(found: list[Run]) -> None:
    """Show how many runs of each handler there are."""
    from collections import Counter

    from pipeflow.cli.output import say

    for name, number in Counter(run.handler for run in found).most_common():
        say(f"{number:>6}  {name}")


async def waits_for(store: Store, run: Run) -> str | None:
    """Say in words what a run waits for; None where it waits for nothing."""
    import time

    from pipeflow.cli.pauses import told
    from pipeflow.cli.times import local
    from pipeflow.store.base import RunFilter

    if run.status != "pending":
        return None
    if run.parked:
        return f"a person: `pipeflow runs release {run.id}`"
    for pause in await store.pauses():
        of_record = pause.what == "record" and (pause.kind, pause.record_id) == (run.kind, run.record_id)
        if pause.handler == run.handler or (pause.company == run.company and (pause.what == "account" or of_record)):
            return f"`pipeflow resume`: {told(pause)} is paused"
    if run.due_at is None:
        lane = await store.runs(RunFilter(limit=0, status="pending", handler=run.handler, record_id=run.record_id))
        first = min((one.id for one in lane if one.lane == run.lane), default=run.id)
        return f"run {first} of the same lane" if first < run.id else "the run of the same lane that is at work"
    return f"its next attempt at {local(run.due_at)}" if run.due_at > time.time() else _DUE


def _why_not(run: Run) -> str:
    if run.status == "dead":
        return f"Run {run.id} is dead: `pipeflow replay {run.id}` runs it again."
    if run.finished_at is not None:
        return f"Run {run.id} has {run.status}."
    if run.status == "running":
        return f"Run {run.id} is running right now."
    if run.parked:
        return f"Run {run.id} is parked: `pipeflow runs release {run.id}` lets it go on."
    if run.due_at is None:
        return f"Run {run.id} waits for an earlier run of its lane."
    return f"Run {run.id} is due already."
