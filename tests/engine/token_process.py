"""One of several processes that share a store of accounts; started by tests, told what to do on the command line.

`calls`: says `ready`, waits for a line, makes so many calls at once, and tells how each ended.
`dies`: makes one call, and is killed with -9 between the OAuth server's answer and the save of the new token.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from pipeflow.engine.accounts import Accounts
from pipeflow.store import open_store
from pipeflow.store.base import Account, Store
from pipeflow.vault import Vault
from tests.engine.oauth_world import KEY, settings_for


class Deadly:
    """A store that does not survive the saving of an account."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save_account(self, account: Account) -> Account | None:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("kill -9 came too late")


async def main(task: str, url: str, database_url: str, account_id: int, offset: float, number: int) -> None:
    """Do the task as one process among others."""
    store = open_store(database_url)
    await store.open()
    shared: Any = Deadly(store) if task == "dies" else store
    accounts = Accounts(shared, Vault([KEY]), settings_for(url, database_url), clock=lambda: time.time() + offset)
    (account,) = [one for one in await store.accounts() if one.id == account_id]
    client = accounts.client_for(account)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ended = await asyncio.gather(*(client.users.get_current_user() for _ in range(number)), return_exceptions=True)
    print(json.dumps([repr(one) if isinstance(one, BaseException) else "done" for one in ended]), flush=True)
    await store.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(given[0], given[1], given[2], int(given[3]), float(given[4]), int(given[5])))
