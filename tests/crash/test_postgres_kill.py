"""kill -9 of workers, web and PostgreSQL itself: nothing acknowledged is lost, nothing is out of order or twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.postgres import Postgres

pytestmark = pytest.mark.slow
PROCESS = Path(__file__).with_name("postgres_process.py")
RECORDS = 25
STUCK_SECONDS = 25.0
"""15 s are promised after the last kill; the rest is for a busy machine."""
PATIENCE = 120
"""Seconds for the webs to make all their deliveries."""


class Processes:
    """Webs and workers, and the deliveries that were acknowledged."""

    def __init__(self, url: str) -> None:
        self.acknowledged: set[int] = set()
        self.blocks_on = -1
        self.url = url
        self._workers: list[subprocess.Popen[str]] = []
        self._webs: list[subprocess.Popen[str]] = []
        self._next = 0

    def add_worker(self) -> None:
        self._workers.append(self._start("worker"))

    def add_web(self, number: int) -> None:
        """Have so many deliveries made by a web of its own."""
        self._webs.append(self._start("web", str(self._next), str(number), str(RECORDS)))
        self._next += number

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        what, *numbers = arguments
        command = [sys.executable, str(PROCESS), what, self.url, *numbers]
        environment = {**os.environ, "BLOCKS_ON": str(self.blocks_on), "PYTHONPATH": str(PROCESS.parents[2])}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def kill_worker(self, number: int) -> None:
        victim = self._workers.pop(number % len(self._workers))
        victim.kill()
        victim.wait()

    def kill_web(self) -> None:
        self._end(self._webs.pop(0))

    def _end(self, one: subprocess.Popen[str]) -> None:
        one.kill()
        assert one.stdout
        self.acknowledged |= {int(line) for line in one.stdout.read().split("\n") if line.strip().isdigit()}
        one.wait()

    def finish_webs(self) -> None:
        for one in self._webs:
            one.wait(PATIENCE)
            self._end(one)
        self._webs.clear()

    def stop(self) -> None:
        for one in (*self._workers, *self._webs):
            one.kill()
            one.wait()


@pytest.fixture
def server() -> Iterator[Postgres]:
    own = Postgres()
    yield own
    own.stop()


@pytest.fixture
def processes(server: Postgres) -> Iterator[Processes]:
    running = Processes(server.new_database())
    yield running
    running.stop()


def ask(url: str, question: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(question.encode()).fetchall()


def wait_until_done(url: str) -> None:
    """Wait until every event was dispatched and every run has ended; AssertionError names what is stuck."""
    until = time.monotonic() + STUCK_SECONDS
    stuck = "SELECT status, count(*) FROM pipeflow.{} GROUP BY status"
    while True:
        events = dict(ask(url, stuck.format("events")))  # type: ignore[arg-type]
        runs = dict(ask(url, stuck.format("runs")))  # type: ignore[arg-type]
        if set(events) == {"dispatched"} and set(runs) == {"succeeded"}:
            return
        assert time.monotonic() < until, (events, runs)
        time.sleep(0.2)


def wait_for_runs(url: str, number: int) -> None:
    """Wait until so many runs have ended."""
    until = time.monotonic() + STUCK_SECONDS
    ended = 0
    while ended < number:
        assert time.monotonic() < until
        time.sleep(0.1)
        with suppress(psycopg.errors.UndefinedTable):
            ended = int(str(ask(url, "SELECT count(*) FROM pipeflow.runs WHERE finished_at IS NOT NULL")[0][0]))


def check(url: str, acknowledged: set[int]) -> None:
    """Hold what is stored to the promises."""
    stored = {str(key).removeprefix("2.0:") for (key,) in ask(url, "SELECT key FROM pipeflow.events")}
    assert {str(number) for number in acknowledged} <= stored
    assert len(ask(url, "SELECT event_id FROM pipeflow.runs")) == len(stored)
    attempts: dict[object, list[tuple[object, ...]]] = {}
    for row in ask(
        url,
        "SELECT r.lane, r.id, a.number, a.outcome, a.started_at, a.finished_at FROM pipeflow.runs AS r "
        "JOIN pipeflow.attempts AS a ON a.run_id = r.id ORDER BY r.lane, r.id, a.number",
    ):
        attempts.setdefault(row[0], []).append(row[1:])
    for lane in attempts.values():
        for before, after in pairwise(lane):
            same_run = before[0] == after[0]
            assert (before[2] == "succeeded") != same_run, ("started again or left behind", before, after)
            assert float(str(before[4])) <= float(str(after[3])), ("out of order", before, after)


def test_kill_9_of_any_process_loses_nothing_and_leaves_nothing_stuck(server: Postgres, processes: Processes) -> None:
    chance, url = random.Random(7), processes.url
    for _ in range(3):
        processes.add_worker()
    processes.add_web(400)
    processes.add_web(400)
    for _ in range(5):
        time.sleep(chance.uniform(0.5, 1.5))
        processes.kill_worker(chance.randrange(3))
        processes.add_worker()
    processes.kill_web()
    processes.add_web(200)
    processes.finish_webs()
    wait_until_done(url)
    check(url, processes.acknowledged)
    assert len(processes.acknowledged) >= 600


def test_handler_that_blocks_its_loop_keeps_its_partitions_and_is_run_once(processes: Processes) -> None:
    processes.blocks_on = 60
    processes.add_worker()
    processes.add_web(100)
    wait_for_runs(processes.url, 40)
    processes.add_worker()
    processes.finish_webs()
    wait_until_done(processes.url)
    check(processes.url, processes.acknowledged)
    assert len(ask(processes.url, "SELECT number FROM pipeflow.attempts")) == 100


def test_database_that_crashes_and_comes_back_is_worked_on(server: Postgres, processes: Processes) -> None:
    processes.add_worker()
    processes.add_worker()
    processes.add_web(600)
    wait_for_runs(processes.url, 50)
    server.end_at_once()
    time.sleep(2)
    server.start_again()
    processes.finish_webs()
    wait_until_done(processes.url)
    check(processes.url, processes.acknowledged)
    assert len(processes.acknowledged) == 600
