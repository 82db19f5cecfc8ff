"""Nothing missed for long: asks Pipedrive what changed since the watermarks, within a budget. Imports the rooms beside.

It looks at start, after a webhook had to be made again, and every 15 minutes; less often where the day's budget of API
tokens would not suffice. With `--poll` it is the only source of events, and as frequent as the user says.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.asking import Asking, Purse
from pipeflow.engine.look import Look
from pipeflow.engine.sources import OFTEN, Source, sources_of
from pipeflow.engine.webhooks import MADE_AGAIN
from pipeflow.errors import ClientError, ConfigError
from pipeflow.registry import Registry
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Proof, Store

DAY = 86400.0
LEASE_SECONDS = 120.0
AT_ONCE = 8
SLOWER = 10
"""Of so many polls, one looks where much is read for little that changes; no less than every quarter of an hour."""
MOST_PROOFS = 2000
"""More than a day has."""
TURN = 60.0
"""How often one asks whether something is due."""

log = logging.getLogger("pipeflow.reconcile")


class Reconciler:
    """Finds the events that were not delivered.

    `poll` is in seconds: there are no webhooks, and every list is looked at that often.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        accounts: Accounts,
        settings: Settings,
        *,
        poll: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._poll = poll
        self._needs = registry.needs()
        self.sources = sources_of(self._needs)
        self.missed: set[int] = set()
        """Companies of which a look in the ordinary course found what should have been delivered."""
        unlimited = poll is not None and "reconcile_tokens" not in settings.model_fields_set
        self._budget = None if unlimited else settings.reconcile_tokens
        # On SQLite there is one process, which must not wait for the lease that it held before it was killed.
        self._holder = "owner" if settings.sqlite_path is not None else secrets.token_hex(8)
        self._due: dict[tuple[int, str], float] = {}
        self._hurried: set[int] = set()
        self._latest = 0.0
        self._looking: dict[int, asyncio.Lock] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._made_again: dict[int, float] = {}
        self._unproven: dict[int, int] = {}
        self._costs: dict[str, int] = {}

    @property
    def turn(self) -> float:
        """How often `step` is to be called, in seconds."""
        return TURN if self._poll is None else min(TURN, self._poll)

    def hurry(self, company: int) -> None:
        """Look at everything of a company at the next step: something may have been missed."""
        self._hurried.add(company)
        for source in self.sources:
            self._due[company, source.name] = 0.0

    def every(self, source: Source) -> float:
        """Say how many seconds lie between two looks at a source, with the budget kept."""
        return self._wished(source) * max(1.0, self.daily_tokens() / self._budget if self._budget else 1.0)

    def daily_tokens(self) -> float:
        """Say what looking as often as wished would cost a day and company, if it found little."""
        return sum(
            max(source.cost, self._costs.get(source.name, 0)) * DAY / self._wished(source) for source in self.sources
        )

    def _wished(self, source: Source) -> float:
        if self._poll is None or source.way == "known":
            return source.every
        return max(self._poll, min(source.every, self._poll * SLOWER)) if source.is_slow else self._poll

    async def step(self, company: int | None = None) -> list[Proof]:
        """Look at what is due, of each company or of one, several at once; give what was found."""
        return await self._of_each(company, self._step_one)

    async def begin(self) -> None:
        """Set the watermarks that are not set yet: from here on nothing is missed, whatever happens next."""
        await self._of_each(None, self._begin_one)

    async def _of_each(self, company: int | None, work: Callable[[Account], Awaitable[Proof | None]]) -> list[Proof]:
        """Do this for each company, or for one: trouble with one leaves the others alone, and nobody else is at it."""

        async def alone(account: Account) -> Proof | None:
            async with self._at_once, self._looking.setdefault(account.company, asyncio.Lock()):
                try:
                    return await work(account)
                except (ClientError, ConfigError) as error:
                    log.warning("Company %s cannot be looked at: %s", account.company, error)
                    return None

        if self._budget == 0:
            return []
        wanted = [one for one in await self._accounts.connected() if one.acting and company in (None, one.company)]
        return [proof for proof in await asyncio.gather(*map(alone, wanted)) if proof is not None]

    async def _step_one(self, account: Account) -> Proof | None:
        due = await self._due_of(account.company)
        if not due or not await self._lease(account):
            return None
        try:
            return await self._look(account, due)
        finally:
            await self._store.release_lease(_lease_of(account), self._holder)

    async def _begin_one(self, account: Account) -> Proof | None:
        known = await self._store.watermarks(account.company)
        new = [source for source in self.sources if source.name not in known]
        if not new or not await self._lease(account):
            return None
        try:
            last = await self._store.proofs(account.company, limit=MOST_PROOFS)
            proof = await self._ask(account, last).begin(new)
            await self._keep(proof, last)
            return proof
        finally:
            await self._store.release_lease(_lease_of(account), self._holder)

    def _ask(self, account: Account, last: Sequence[Proof]) -> Look:
        now = self._clock()
        client = self._accounts.client_for(account)
        client.transport.background = True
        asking = Asking(client, Purse(self._left(last, now)), alive=lambda: self._lease(account))
        return Look(self._store, asking, account.company, self._needs, now, alone=self._poll is not None)

    async def _look(self, account: Account, due: Sequence[Source]) -> Proof:
        last = await self._store.proofs(account.company, limit=MOST_PROOFS)
        is_first = any((account.company, source.name) not in self._due for source in due)
        look = self._ask(account, last)
        now = look.now
        proof = await look.at(due)
        covering = next((one for one in last if not one.error and set(one.kinds) >= set(proof.kinds)), None)
        if covering is not None:
            # A quiet watermark is older than the last look, which saw that nothing had changed.
            proof = replace(proof, since=min(max(proof.since, covering.until), proof.until))
        self._costs.update(look.costs)
        for source in due:
            pause = max(self.turn, look.rest) if source in look.unfinished else self.every(source)
            # What a plan or an app does not have, it may have tomorrow.
            pause = max(pause, DAY) if source in look.refused else pause
            self._due[account.company, source.name] = now + pause
        if proof.added and self._poll is None and not is_first and account.company not in self._hurried:
            self.missed.add(account.company)
        if not look.unfinished:
            self._hurried.discard(account.company)
        await self._keep(proof, last)
        return proof

    async def _keep(self, proof: Proof, last: Sequence[Proof]) -> None:
        """Keep and say what was found; of many polls a minute apart that find nothing, one in a quarter of an hour."""
        tokens = self._unproven.pop(proof.company, 0) + proof.tokens
        if (
            self._poll
            and last
            and not proof.changes
            and not proof.error
            and proof.proven_at - last[0].proven_at < OFTEN
        ):
            self._unproven[proof.company] = tokens
            return
        await self._store.add_proof(replace(proof, tokens=tokens))
        level = logging.WARNING if proof.error else logging.INFO
        log.log(level, "Company %s, %s", proof.company, describe(proof))

    async def _due_of(self, company: int) -> list[Source]:
        now = self._clock()
        made_again = (await self._store.watermarks(company)).get(MADE_AGAIN, 0.0)
        if made_again > self._made_again.setdefault(company, made_again):
            self._made_again[company] = made_again
            self.hurry(company)
        if now < self._latest - TURN:
            # The clock was set back: nothing waits for a time that comes again.
            self._due = dict.fromkeys(self._due, 0.0)
        self._latest = now
        # What becomes due before the next turn is nearer to this one: turns come a little early or late.
        soon = now + self.turn / 4
        return [source for source in self.sources if self._due.get((company, source.name), 0.0) <= soon]

    async def _lease(self, account: Account) -> bool:
        return await self._store.take_lease(_lease_of(account), self._holder, self._clock(), LEASE_SECONDS)

    def _left(self, proofs: Sequence[Proof], now: float) -> float | None:
        """Say what may still be spent of the budget of the last 24 hours."""
        if self._budget is None:
            return None
        spent = sum(proof.tokens for proof in proofs if proof.proven_at >= now - DAY)
        return max(0.0, self._budget - spent - sum(self._unproven.values()))


def _lease_of(account: Account) -> str:
    return f"reconcile:{account.company}"


def describe(proof: Proof) -> str:
    """Say in one line what a reconciliation found: "14:02-14:31: 37 changes, 35 known, 2 added" (UTC)."""
    if proof.since >= proof.until and not proof.changes and not proof.error:
        return f"{_time(proof.until, proof.until)}: began to watch {', '.join(proof.kinds)}"
    found = f"{proof.changes} change{'' if proof.changes == 1 else 's'}, {proof.known} known, {proof.added} added"
    span = f"{_time(proof.since, proof.until)}-{_time(proof.until, proof.until)}"
    return f"{span}: {found}" + (f"; {proof.error}" if proof.error else "")


def _time(moment: float, today: float) -> str:
    shown, now = datetime.fromtimestamp(moment, UTC), datetime.fromtimestamp(today, UTC)
    return shown.strftime("%H:%M" if shown.date() == now.date() else "%Y-%m-%d %H:%M")
