"""kill -9 at any instant: what was told as committed is there, lanes are in order, nothing is stuck."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from pipeflow.store import open_store
from pipeflow.store.base import ALL, EventFilter, Run, RunFilter, Store
from tests.store.builders import sqlite_only

PROCESS = Path(__file__).with_name("process.py")
ROUNDS = 6


class Told:
    """What the processes were told before they died."""

    def __init__(self) -> None:
        self.events: dict[int, str] = {}
        self.opened: list[int] = []
        self.ended: set[int] = set()
        self.restarted: set[int] = set()

    def hear(self, line: str) -> None:
        """Note a whole line of a process."""
        what, *words = line.split()
        if what == "event":
            self.events[int(words[0])] = words[1]
        elif what == "opened":
            run = int(words[0])
            if run in self.ended:
                self.restarted.add(run)
            self.opened.append(run)
        elif what == "ended":
            self.ended.add(int(words[0]))


def kill_after(database_url: str, lines: int, told: Told) -> None:
    """Start a process and kill it after so many lines."""
    with subprocess.Popen([sys.executable, PROCESS, database_url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            if line.endswith("\n"):
                told.hear(line)
            if number == lines:
                process.kill()
    assert process.returncode == -9


def assert_lanes_in_order(opened: list[int], runs: dict[int, Run]) -> None:
    newest: dict[str | None, int] = {}
    for run_id in opened:
        lane = runs[run_id].lane
        assert newest.get(lane, 0) <= run_id, f"run {run_id} started after a later one of its lane"
        newest[lane] = run_id


async def finish_everything(store: Store, told: Told) -> None:
    """Be the last owner, who works until nothing is left."""
    from tests.store.process import execute

    for suspect in await store.recover(ALL, 1.0):
        told.opened.append(suspect.id)
        await execute(store, suspect)
    while runs := await store.due_runs(ALL, 1.0, limit=100):
        for run in runs:
            told.opened.append(run.id)
            await execute(store, run)


async def test_kill_9_at_any_instant_loses_nothing_and_leaves_nothing_stuck(database_url: str) -> None:
    chance, told = random.Random(5), Told()
    for _ in range(ROUNDS):
        kill_after(database_url, chance.randrange(1, 400), told)
    store = open_store(database_url)
    await store.open(owner=True)
    stored = {event.id: event.record_id for event in await store.events(EventFilter(limit=0))}
    assert told.events.items() <= stored.items()
    runs = {run.id: run for run in await store.runs(RunFilter(limit=0))}
    assert {run_id for run_id in told.ended if runs[run_id].status != "succeeded"} == set()
    assert told.restarted == set()
    await finish_everything(store, told)
    left = await store.runs(RunFilter(limit=0))
    assert {run.status for run in left} == {"succeeded"}
    assert_lanes_in_order(told.opened, {run.id: run for run in left})
    await store.close()


@sqlite_only
def test_owner_lock_is_free_after_kill_9(database_url: str) -> None:
    for _ in range(2):
        kill_after(database_url, 1, Told())
