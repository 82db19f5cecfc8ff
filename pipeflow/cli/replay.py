"""`pipeflow replay`: make new runs of stored events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import HandlerName, OfSandbox, Since, Yes

if TYPE_CHECKING:
    from pipeflow.store.base import Run, RunFilter, Store


def replay(
    run_ids: Annotated[list[int] | None, typer.Argument(metavar="[RUN_ID]...", show_default=False)] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All dead runs that were not replayed yet.")] = False,
    handler: HandlerName = None,
    since: Since = None,
    yes: Yes = False,
    of_sandbox: OfSandbox = False,
) -> None:
    """Make new runs of old ones; history stays as it is.

    The process that owns the store executes them, each at the end of its lane.
    """
    import time

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import say
    from pipeflow.cli.times import parse_since
    from pipeflow.errors import ConfigError
    from pipeflow.store.base import RunFilter

    if bool(run_ids) == dead:
        raise ConfigError("Say which: run ids (`pipeflow replay 12 13`), or `--dead`.")
    after = parse_since(since, time.time()) if since else None
    wanted = RunFilter(
        limit=0,
        status="dead" if dead else None,
        handler=handler,
        since=after,
        ids=tuple(run_ids) if run_ids else None,
        include_skipped=True,
    )

    async def work() -> list[Run]:
        async with opened_store(of_sandbox) as store:
            found = await _choose(store, wanted, dead)
            if not found or not (yes or _agreed(found)):
                return []
            return await store.replay([run.id for run in found], time.time())

    made = run_async(work())
    say(f"{len(made)} new run{'' if len(made) == 1 else 's'} made." if made else "Nothing to replay.")


async def _choose(store: Store, wanted: RunFilter, dead: bool) -> list[Run]:
    """Find the runs to replay, oldest first, so that they keep their order."""
    from pipeflow.errors import PipeflowError
    from pipeflow.store.base import RunFilter

    found = sorted(await store.runs(wanted), key=lambda run: run.id)
    unknown = set(wanted.ids or ()) - {run.id for run in found}
    if unknown:
        raise PipeflowError(f"Nothing was replayed: there is no run {', '.join(map(str, sorted(unknown)))}.")
    if not dead or not found:
        return found
    newer = await store.runs(RunFilter(limit=0, since=found[0].created_at, include_skipped=True))
    replayed = {run.replay_of for run in newer}
    return [run for run in found if run.id not in replayed]


def _agreed(found: list[Run]) -> bool:
    from collections import Counter

    from pipeflow.cli.output import say

    for name, number in Counter(run.handler for run in found).most_common():
        say(f"{number:>6}  {name}")
    return typer.confirm(f"Replay {len(found)} run{'' if len(found) == 1 else 's'}?")
