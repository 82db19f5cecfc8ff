"""Lanes under everything that can happen to them, in any order: compared with a model of a few lines."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from pipeflow.store import open_store
from pipeflow.store.base import ALL, Closing, RunFilter
from tests.store.builders import add, dispatch, new_event

T = TypeVar("T")
ENDS = {"succeeded": "succeeded", "skipped": "skipped", "dead": "gave_up", "pending": "failed"}


@dataclass
class Model:
    """What the test knows of a run."""

    lane: str | None
    status: str = "pending"
    due_at: float = 0.0
    parked: bool = False
    suspect: bool = False

    @property
    def open(self) -> bool:
        return self.status in ("pending", "running")


class Lanes(RuleBasedStateMachine):
    runs = Bundle("runs")

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.store = open_store(f"sqlite:///{self.folder / 'x.db'}")
        self.now = 1000.0
        self.model: dict[int, Model] = {}
        self.wait(self.store.open(owner=True))

    def teardown(self) -> None:
        self.wait(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def head(self, run_id: int) -> bool:
        """Say whether nothing open is before this run in its lane."""
        lane = self.model[run_id].lane
        return lane is None or run_id == min(
            number for number, run in self.model.items() if run.lane == lane and run.open
        )

    def may_start(self) -> list[int]:
        return [
            number
            for number, run in self.model.items()
            if run.status == "pending" and self.head(number) and run.due_at <= self.now and not run.parked
        ]

    @rule(target=runs, records=st.lists(st.sampled_from("123"), min_size=1, max_size=4), ordered=st.booleans())
    def dispatch(self, records: list[str], ordered: bool) -> Any:
        async def work() -> list[int]:
            ids = [await add(self.store, new_event(record)) for record in records]
            made = await dispatch(self.store, *ids, ordered=ordered, now=self.now)
            self.model.update({run.id: Model(run.lane) for run in made})
            return [run.id for run in made]

        return multiple(*self.wait(work()))

    @rule(target=runs, run_id=runs)
    def replay(self, run_id: int) -> int:
        (made,) = self.wait(self.store.replay([run_id], self.now))
        self.model[made.id] = Model(self.model[run_id].lane)
        return made.id

    @rule(run_id=runs, alone=st.booleans())
    def open_attempt(self, run_id: int, alone: bool) -> None:
        attempt = self.wait(self.store.open_attempt(run_id, ALL, self.now, alone=alone))
        assert (attempt is not None) == (run_id in self.may_start())
        if attempt is not None:
            self.model[run_id].status = "running"

    @rule(run_id=runs, status=st.sampled_from(sorted(ENDS)), delay=st.sampled_from((0.0, 5.0, 100.0)))
    def close_attempt(self, run_id: int, status: str, delay: float) -> None:
        closing = Closing(run_id, ENDS[status], status, due_at=self.now + delay)  # type: ignore[arg-type]
        following = self.wait(self.store.close_attempt(closing, ALL, self.now))
        run = self.model[run_id]
        if run.status != "running":
            assert following is None
            return
        before = set(self.may_start())
        run.status, run.due_at, run.suspect = status, self.now + delay, False
        made_due = [number for number in set(self.may_start()) - before if number != run_id]
        assert [following.id] * (following is not None) == made_due if following else made_due == []

    @rule(run_id=runs)
    def park(self, run_id: int) -> None:
        run = self.model[run_id]
        parked = self.wait(self.store.park_runs([run_id], ALL, self.now, reason="fuse"))
        assert bool(parked) == (run.status == "pending" and not run.parked)
        run.parked = run.parked or bool(parked)

    @rule(run_id=runs)
    def release(self, run_id: int) -> None:
        released = self.wait(self.store.release_runs([run_id], self.now))
        run = self.model[run_id]
        assert bool(released) == (run.status == "pending" and run.parked)
        if released:
            run.parked, run.due_at = False, 0.0

    @rule(run_id=consumes(runs))
    def skip(self, run_id: int) -> None:
        run = self.model[run_id]
        skipped = self.wait(self.store.skip_runs([run_id], self.now, reason="by hand"))
        assert bool(skipped) == (run.status == "pending")
        if skipped:
            run.status, run.suspect = "skipped", False

    @rule()
    def die_and_start_again(self) -> None:
        self.wait(self.store.close())
        self.wait(self.store.open(owner=True))
        suspects = self.wait(self.store.recover(ALL, self.now))
        for run in self.model.values():
            if run.status == "running":
                run.status, run.due_at, run.suspect = "pending", 0.0, True
        dead = {run.id for run in self.wait(self.store.runs(RunFilter(limit=0, status="dead")))}
        for number in dead:
            self.model[number].status, self.model[number].suspect = "dead", False
        known = [number for number, run in self.model.items() if run.suspect and not run.parked]
        assert [run.id for run in suspects] == sorted(known)

    @rule(seconds=st.sampled_from((1.0, 50.0)))
    def wait_a_while(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def exactly_the_first_of_each_lane_may_start(self) -> None:
        due = self.wait(self.store.due_runs(ALL, self.now, limit=1000))
        assert sorted(run.id for run in due) == sorted(self.may_start())

    @invariant()
    def nothing_is_lost(self) -> None:
        runs = self.wait(self.store.runs(RunFilter(limit=0, include_skipped=True)))
        assert {run.id: run.status for run in runs} == {number: run.status for number, run in self.model.items()}


Lanes.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_lanes_keep_their_order_whatever_happens = Lanes.TestCase
