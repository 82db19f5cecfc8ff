"""A simulated sales team: people who add deals, move them, win and lose them, in the app and at a steady rate.

A seed repeats what they do exactly, as long as the state they find is the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from pipeflow.sandbox import words
from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.clock import Clock
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.seed import deal_values

Step: TypeAlias = Callable[[Company, Actor], Record | None]


class Team:
    """The salespeople of the first of `companies`. `rate` is changes a minute of the sandbox's clock; 0 rests."""

    def __init__(self, companies: Mapping[str, Company], clock: Clock, seed: int) -> None:
        self._companies = companies
        self._clock = clock
        self._chance = random.Random(f"{seed}/team")  # noqa: S311
        self._task: asyncio.Task[None] | None = None
        self._rate = 0.0
        self._steps: dict[Step, int] = {
            self._add_deal: 4,
            self._move_deal: 7,
            self._win_deal: 2,
            self._lose_deal: 2,
            self._add_person: 2,
            self._add_activity: 4,
            self._finish_activity: 2,
            self._write_note: 1,
            self._change_value: 2,
        }

    @property
    def rate(self) -> float:
        """Changes a minute."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate = value
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self.start()

    def start(self) -> None:
        """Start working, if there is a rate."""
        if self._rate > 0 and self._task is None:
            self._task = asyncio.create_task(self._work(), name="sandbox team")

    async def stop(self) -> None:
        """Go home."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def step(self) -> Record | None:
        """Do one thing; gives the record that was touched, None where there was nothing to do it with."""
        company = next(iter(self._companies.values()))
        active = [user["id"] for user in company.users if user["active_flag"]]
        chosen = self._chance.choices(list(self._steps), weights=list(self._steps.values()))[0]
        return chosen(company, Actor(self._chance.choice(active)))

    def state(self) -> list[Any]:
        """Give the state of the chance as JSON data."""
        version, numbers, gauss = self._chance.getstate()
        return [version, list(numbers), gauss]

    def restore(self, state: list[Any]) -> None:
        """Set the state of the chance."""
        self._chance.setstate((state[0], tuple(state[1]), state[2]))

    async def _work(self) -> None:
        clock = self._clock
        due = clock.seconds()
        while True:
            due += 60 / self._rate
            await clock.sleep_until(due)
            self.step()
            # After a jump of the clock the team does not make up for what it missed.
            due = max(due, clock.seconds() - 60 / self._rate)

    def _open_deal(self, company: Company) -> Record | None:
        deals = [deal for deal in company.living("deal") if deal["status"] == "open" and not deal["is_archived"]]
        return self._chance.choice(deals) if deals else None

    def _add_deal(self, company: Company, actor: Actor) -> Record | None:
        people = [person["id"] for person in company.living("person")]
        stages = [stage["id"] for stage in company.living("stage")]
        if not people or not stages:
            return None
        values = deal_values(company, self._chance, people, stages)
        del values["add_time"]
        return company.add("deal", values, actor)

    def _move_deal(self, company: Company, actor: Actor) -> Record | None:
        deal = self._open_deal(company)
        if deal is None:
            return None
        stages = [one for one in company.living("stage") if one["pipeline_id"] == deal["pipeline_id"]]
        here = next((place for place, one in enumerate(stages) if one["id"] == deal["stage_id"]), 0)
        step = self._chance.choice((1, 1, 1, -1)) if here else 1
        return company.change("deal", deal["id"], {"stage_id": stages[(here + step) % len(stages)]["id"]}, actor)

    def _win_deal(self, company: Company, actor: Actor) -> Record | None:
        deal = self._open_deal(company)
        return company.change("deal", deal["id"], {"status": "won"}, actor) if deal else None

    def _lose_deal(self, company: Company, actor: Actor) -> Record | None:
        deal = self._open_deal(company)
        if deal is None:
            return None
        reason = self._chance.choice(words.LOST_REASONS)
        return company.change("deal", deal["id"], {"status": "lost", "lost_reason": reason}, actor)

    def _change_value(self, company: Company, actor: Actor) -> Record | None:
        deal = self._open_deal(company)
        if deal is None:
            return None
        return company.change("deal", deal["id"], {"value": self._chance.randrange(5, 400) * 50}, actor)

    def _add_person(self, company: Company, actor: Actor) -> Record | None:
        number = company.counters["person"] + 1
        name = self._chance.choice(words.PEOPLE)
        mail = {"value": f"person{number}@customer.example", "primary": True, "label": "work"}
        return company.add("person", {"name": name, "emails": [mail]}, actor)

    def _add_activity(self, company: Company, actor: Actor) -> Record | None:
        deal = self._open_deal(company)
        if deal is None:
            return None
        due = company.clock.now() + timedelta(days=self._chance.randrange(0, 14))
        values = {
            "subject": self._chance.choice(words.SUBJECTS),
            "type": self._chance.choice([one["key_string"] for one in company.living("activityType")]),
            "due_date": due.date().isoformat(),
            "deal_id": deal["id"],
            "person_id": deal["person_id"],
            "org_id": deal["org_id"],
        }
        return company.add("activity", values, actor)

    def _finish_activity(self, company: Company, actor: Actor) -> Record | None:
        open_ones = [one for one in company.living("activity") if not one["done"]]
        if not open_ones:
            return None
        return company.change("activity", self._chance.choice(open_ones)["id"], {"done": True}, actor)

    def _write_note(self, company: Company, actor: Actor) -> Record | None:
        deal = self._open_deal(company)
        if deal is None:
            return None
        return company.add("note", {"content": self._chance.choice(words.NOTES), "deal_id": deal["id"]}, actor)
