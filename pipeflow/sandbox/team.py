"""A simulated sales team: adds deals, moves them on, wins and loses them, as people in the app do."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeflow.sandbox.answers import Record
    from pipeflow.sandbox.sandbox import Sandbox

_FIRMS = ("Nordic Timber", "Café Órbita", "横浜システム", "Білий Кит", "Sunrise Foods", "Kivi & Kask", "Atlas Robotics")
_WANTS = ("website", "fleet", "licences", "office", "training", "support")


class Team:
    """Changes the sandbox's first company `rate` times a minute; the same changes in the same order for a seed."""

    def __init__(self, sandbox: Sandbox, rate: float, seed: int) -> None:
        self._sandbox = sandbox
        self._rate = rate
        self._chance = random.Random(f"team/{seed}")  # noqa: S311

    async def work(self) -> None:
        """Work until cancelled."""
        while self._rate > 0:
            await asyncio.sleep(60.0 / self._rate)
            self.act()

    def act(self) -> None:
        """Make one change."""
        open_deals = [d for d in self._sandbox.company.living("deal") if d["status"] == "open" and not d["is_archived"]]
        what = self._chance.random()
        if what < 0.3 or not open_deals:
            self._add()
            return
        deal = self._chance.choice(open_deals)
        if what < 0.8:
            self._move(deal)
        elif what < 0.92:
            self._sandbox.change("deal", deal["id"], status="won", by=self._someone())
        else:
            reason = self._chance.choice(("Price", "Timing", "Competitor"))
            self._sandbox.change("deal", deal["id"], status="lost", lost_reason=reason, by=self._someone())

    def _add(self) -> None:
        title = f"{self._chance.choice(_FIRMS)}: {self._chance.choice(_WANTS)}"
        self._sandbox.add("deal", title=title, value=self._chance.randrange(1, 90) * 100, by=self._someone())

    def _move(self, deal: Record) -> None:
        stages = [s for s in self._sandbox.company.living("stage") if s["pipeline_id"] == deal["pipeline_id"]]
        stages.sort(key=lambda stage: stage["order_nr"])
        later = [stage for stage in stages if stage["id"] != deal["stage_id"]]
        if later:
            self._sandbox.change("deal", deal["id"], stage_id=self._chance.choice(later)["id"], by=self._someone())

    def _someone(self) -> int:
        user_id: int = self._chance.choice([user["id"] for user in self._sandbox.company.users if user["active_flag"]])
        return user_id
