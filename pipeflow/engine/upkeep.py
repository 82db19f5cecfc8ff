"""What keeps events coming: webhooks in order, and a look for what was missed. Imports the rooms beside it.

The webhooks are looked at at start, hourly, when deliveries are refused for their credentials, and when a look found
what should have been delivered. Making one again is preceded and followed by a look for what was missed: a lost change
must be found before a later one of its record is delivered, as it could not be told from that any more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pipeflow.engine.reconcile import Reconciler
from pipeflow.engine.scheduler import Scheduler
from pipeflow.engine.webhooks import WebhookChanges, WebhookKeeper

HOUR = 3600.0
LONGEST_FIRST_LOOK = 15.0
MISSED = "The look for what was missed"


class Upkeep:
    """Keeps events coming. Without a `keeper` there are no webhooks, and looking is the only source.

    `patience` is how many seconds webhooks wait for a look that comes before them.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        keeper: WebhookKeeper | None,
        reconciler: Reconciler,
        *,
        patience: float = LONGEST_FIRST_LOOK,
    ) -> None:
        self._patience = patience
        self._scheduler = scheduler
        self._keeper = keeper
        self._reconciler = reconciler
        if keeper is not None:
            keeper.before_repair = self._look_first
            scheduler.own("The look at the webhooks", HOUR, self.register)
        scheduler.own(MISSED, reconciler.turn, self.look, at_once=True)

    @property
    def daily_tokens(self) -> float:
        """What looking costs a day and company, in API tokens."""
        return self._reconciler.daily_tokens()

    async def register(self) -> WebhookChanges | None:
        """Bring the webhooks in order; None where there are to be none. Raises ConfigError and ClientError."""
        changes = await self._register(None)
        if changes is not None and changes.lost:
            self._scheduler.hurry(MISSED)
        return changes

    async def follow(self, company: int) -> None:
        """Do all of this for a company whose accounts changed."""
        await self._register(company)
        self._reconciler.hurry(company)
        self._scheduler.hurry(MISSED)

    async def look(self) -> None:
        """Look for what was missed, where it is time to; first at the webhooks, where they are in trouble."""
        if self._keeper is not None and await self._keeper.alarmed():
            await self._register(None)
        await self._reconciler.step()
        if self._reconciler.missed:
            self._reconciler.missed.clear()
            await self._register(None)

    async def _look_first(self, company: int) -> None:
        """Look before deliveries begin again, but not for long: until then what happens is not delivered either."""
        self._reconciler.hurry(company)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._reconciler.step(company)

    async def _register(self, company: int | None) -> WebhookChanges | None:
        # Watermarks before webhooks: where there is a webhook, nothing that it fails to tell is missed. But where a
        # list answers too slowly, what is delivered must not wait for it: the next look sets them.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._reconciler.begin()
        return None if self._keeper is None else await self._keeper.sync(company)
