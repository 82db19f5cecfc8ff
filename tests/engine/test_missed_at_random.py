"""Deliveries that are lost, late, doubled and out of order between looks: each change is told by one event.

Every change gives a record its next number, so that an event's old and new number say which changes it tells.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import orjson
import pytest

from pipeflow.sandbox.changes import Change
from pipeflow.store.base import StoredEvent
from tests.engine.watched import Watched, watched

RECORDS = 6
ROUNDS = 120


class Script:
    """What happens at random: changes at Pipedrive, darkness that ends with a look, fates of deliveries."""

    def __init__(self, house: Watched, seed: int) -> None:
        self.house = house
        self.chance = random.Random(seed)
        self.numbers: Counter[int] = Counter()
        self.is_dark = False
        self.waiting: list[Change] = []
        self.late: list[Change] = []
        self.looked_at = ""
        self.deals = [one["id"] for one in house.sandbox.company.living("deal")][:RECORDS]
        for deal in self.deals:
            house.sandbox.change("deal", deal, title="0")
        house.changes.clear()

    async def play(self) -> None:
        for _ in range(ROUNDS):
            self.house.pass_time(self.chance.choice((1, 1, 2, 30)))
            happens = (self.change, self.deliver, self.double, self.look, self.darken)
            await self.chance.choices(happens, (8, 6, 1, 1, 1))[0]()
        self.house.pass_time(5)
        await self.look()
        while self.waiting:
            await self.deliver()

    async def change(self) -> None:
        deal = self.chance.choice(self.deals)
        self.numbers[deal] += 1
        self.house.sandbox.change("deal", deal, title=str(self.numbers[deal]))
        (change,) = self.house.changes
        self.house.changes.clear()
        if not self.is_dark:
            self.waiting.append(change)
        elif self.chance.random() < 0.4:
            self.late.append(change)

    async def deliver(self) -> None:
        """Let one that waits arrive: any, as retries come out of order."""
        if self.waiting and not self.is_dark:
            await self.house.deliver(self.waiting.pop(self.chance.randrange(len(self.waiting))))

    async def double(self) -> None:
        if self.waiting and not self.is_dark:
            change = self.waiting.pop()
            await self.house.deliver(change, change)

    async def darken(self) -> None:
        self.is_dark = True

    async def look(self) -> None:
        """End the darkness with a look; some of what was not delivered since the last one is retried afterwards.

        What is older than that has arrived by now: Pipedrive's last retry comes three minutes after the event.
        """
        await self.house.deliver(*(change for change in self.waiting if change.time <= self.looked_at))
        await self.house.look()
        self.is_dark = False
        self.waiting = [change for change in self.waiting if change.time > self.looked_at] + self.late
        self.late.clear()
        self.looked_at = self.house.sandbox.clock.stamp()


def told_by(event: StoredEvent) -> list[tuple[str, int]]:
    """Give the changes that an event tells: the numbers after the old title, up to the new one."""
    body = orjson.loads(event.raw)
    old, new = int(body["previous"].get("title", body["data"]["title"])), int(body["data"]["title"])
    return [(event.record_id, number) for number in range(old + 1, new + 1)]


@pytest.mark.parametrize("seed", range(6))
async def test_each_change_is_told_once_whatever_becomes_of_its_delivery(tmp_path: Path, seed: int) -> None:
    async with watched(tmp_path, "deal.updated", deals=RECORDS + 4) as house:
        script = Script(house, seed)
        house.pass_time(120)
        await house.look()
        before = {event.id for event in await house.events()}
        await script.play()
        told: Counter[tuple[str, int]] = Counter()
        for event in await house.events(status="dispatched"):
            if event.id not in before:
                told.update(told_by(event))
    wanted = {(str(deal), number) for deal, last in script.numbers.items() for number in range(1, last + 1)}
    assert {change: times for change, times in told.items() if times > 1} == {}
    assert wanted - told.keys() == set()
