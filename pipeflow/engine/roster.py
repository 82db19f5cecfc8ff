"""Accounts that come and go while we run: webhooks, jobs and waiting runs follow without a restart. Imports accounts.

The web connects accounts, another process may disconnect them: all of it shows in the store, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pipeflow.engine.accounts import Accounts
from pipeflow.errors import PipeflowError
from pipeflow.store.base import Account, Store

LOOK_SECONDS = 1.0
"""The shortest time between two looks: the store changes all the time, accounts rarely."""
AGAIN_SECONDS = LONGEST_SLEEP = 60.0

log = logging.getLogger("pipeflow.accounts")

Follow = Callable[[int], Awaitable[object]]


class Roster:
    """Watches the accounts of the store.

        roster = Roster(store, accounts)
        roster.follow.append(keeper.sync)
        await roster.know()
        ...                      # look after the accounts that are there
        await roster.start()

    Each of `follow` is called with the company whose accounts changed: one was connected or is gone, or another acts.
    Where one raises, that is told, and all are called again for this company a minute later.
    """

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self.follow: list[Follow] = []
        self._store = store
        self._accounts = accounts
        self._woken = asyncio.Event()
        self._known: dict[int, frozenset[tuple[object, ...]]] = {}
        self._again: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def know(self) -> None:
        """Take what is connected now as known: nothing has to follow it."""
        self._known = await self._read()

    async def start(self) -> None:
        """Watch from now on."""
        self._woken.set()
        self._store.on_change(self._woken.set)
        self._task = asyncio.create_task(self._watch(), name="roster")

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> set[int]:
        """Look once; give the companies whose accounts had changed."""
        now = await self._read()
        changed = {
            company for company in now.keys() | self._known.keys() if now.get(company) != self._known.get(company)
        }
        self._known = now
        time = asyncio.get_running_loop().time()
        again = {company for company, due_at in self._again.items() if due_at <= time}
        for company in sorted(changed | again):
            self._again.pop(company, None)
            for follow in self.follow:
                try:
                    await follow(company)
                except PipeflowError as error:
                    self._again[company] = time + AGAIN_SECONDS
                    log.warning("Company %d changed, and not all could follow yet: %s", company, error)
                except Exception:
                    self._again[company] = time + AGAIN_SECONDS
                    log.exception("Company %d changed, and not all could follow yet", company)
        return changed

    async def _watch(self) -> None:
        try:
            await self._accounts.tokens.refresh_ending()
        except PipeflowError as error:
            log.warning("Tokens could not be looked at: %s", error)
        while True:
            try:
                async with asyncio.timeout(LONGEST_SLEEP):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                await self.look()
            except PipeflowError as error:
                log.warning("The accounts could not be read: %s", error)
            except Exception:
                log.exception("The watch over the accounts met an error of its own and goes on")
            await asyncio.sleep(LOOK_SECONDS)

    async def _read(self) -> dict[int, frozenset[tuple[object, ...]]]:
        self._accounts.forget()
        found: dict[int, set[tuple[object, ...]]] = {}
        for account in await self._accounts.connected():
            found.setdefault(account.company, set()).add(_seen(account))
        return {company: frozenset(seen) for company, seen in found.items()}


def _seen(account: Account) -> tuple[object, ...]:
    return account.id, account.acting, account.timezone
