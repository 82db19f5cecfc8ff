"""Nothing missed for long: asks Pipedrive what changed since the watermarks, within a budget. Imports the rooms beside.

It looks at start, after a webhook had to be made again, and every 15 minutes; less often where the day's budget of API
tokens would not suffice. With `--poll` it is the only source of events, and as frequent as the user says.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.look import Look, Purse
from pipeflow.engine.sources import Source, sources_of
from pipeflow.registry import Registry
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Proof, Store

DAY = 86400.0
LEASE_SECONDS = 120.0
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
        wished = source.every if self._poll is None or source.way == "known" else self._poll
        return max(wished, wished * self._stretch())

    async def step(self) -> list[Proof]:
        """Look at what is due, of each company; give what was found."""
        proofs: list[Proof] = []
        if self._budget == 0:
            return proofs
        for account in await self._accounts.connected():
            due = self._due_of(account.company) if account.acting else []
            if due and await self._lease(account):
                try:
                    proofs.append(await self._look(account, due))
                finally:
                    await self._store.release_lease(_lease_of(account), self._holder)
        return proofs

    async def _look(self, account: Account, due: Sequence[Source]) -> Proof:
        now = self._clock()
        purse = Purse(await self._left(account.company, now))
        client = self._accounts.client_for(account)
        client.transport.background = True
        is_first = any((account.company, source.name) not in self._due for source in due)
        look = Look(self._store, client, account, self._needs, purse, now, lambda: self._lease(account))
        proof = await look.at(due)
        await self._store.add_proof(proof)
        for source in due:
            pause = self.turn if source in look.unfinished else self.every(source)
            self._due[account.company, source.name] = now + pause
        if proof.added and self._poll is None and not is_first and account.company not in self._hurried:
            self.missed.add(account.company)
        if not look.unfinished:
            self._hurried.discard(account.company)
        level = logging.WARNING if proof.error else logging.INFO
        log.log(level, "Company %s, %s", account.company, describe(proof))
        return proof

    def _due_of(self, company: int) -> list[Source]:
        now = self._clock()
        return [source for source in self.sources if self._due.get((company, source.name), 0.0) <= now]

    async def _lease(self, account: Account) -> bool:
        return await self._store.take_lease(_lease_of(account), self._holder, self._clock(), LEASE_SECONDS)

    async def _left(self, company: int, now: float) -> float | None:
        """Say what may still be spent of the budget of the last 24 hours."""
        if self._budget is None:
            return None
        spent = 0
        for proof in await self._store.proofs(company, limit=0):
            if proof.proven_at < now - DAY:
                break
            spent += proof.tokens
        return max(0.0, self._budget - spent)

    def _stretch(self) -> float:
        """Say how many times too often the sources would be looked at for the budget, on a quiet day."""
        if not self._budget:
            return 1.0
        wished = sum(
            source.cost * DAY / (self._poll or source.every) for source in self.sources if source.way != "known"
        )
        return wished / self._budget


def _lease_of(account: Account) -> str:
    return f"reconcile:{account.company}"


def describe(proof: Proof) -> str:
    """Say in one line what a reconciliation found: "14:02-14:31: 37 changes, 35 known, 2 added" (UTC)."""
    if not proof.kinds and not proof.error:
        return f"{_time(proof.until, proof.until)}: began to watch"
    found = f"{proof.changes} changes, {proof.known} known, {proof.added} added"
    span = f"{_time(proof.since, proof.until)}-{_time(proof.until, proof.until)}"
    return f"{span}: {found}" + (f"; {proof.error}" if proof.error else "")


def _time(moment: float, today: float) -> str:
    shown, now = datetime.fromtimestamp(moment, UTC), datetime.fromtimestamp(today, UTC)
    return shown.strftime("%H:%M" if shown.date() == now.date() else "%Y-%m-%d %H:%M")
