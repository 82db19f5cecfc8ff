"""A process to kill: a worker that works everything, or a web that stores deliveries and says which it acknowledged.

python postgres_process.py worker URL | web URL FIRST NUMBER RECORDS
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import orjson

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.ownership import HandedOut
from pipeflow.engine.worker import Engine
from pipeflow.errors import StoreUnavailable
from pipeflow.events import partition_of
from pipeflow.registry import Handler, Registry
from pipeflow.settings import Settings
from pipeflow.store.base import Account, NewEvent
from pipeflow.store.postgres import PostgresStore
from pipeflow.vault import Vault

COMPANY = 4410021
KEY = "k" * 32


def delivery(number: int, records: int) -> NewEvent:
    """Make the delivery of this number: a change of one of so many deals."""
    record = str(number % records)
    stamp = f"2026-11-03T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    meta = {"action": "change", "entity": "deal", "entity_id": record, "company_id": str(COMPANY), "user_id": "7"}
    meta |= {"id": f"delivery {number}", "timestamp": stamp, "version": "2.0"}
    data = {"id": int(record), "title": "A", "stage_id": number, "update_time": stamp}
    return NewEvent(
        company=COMPANY,
        key=f"2.0:{number}",
        name="deal.updated",
        kind="deal",
        record_id=record,
        action="updated",
        source="delivery",
        raw=orjson.dumps({"meta": meta, "data": data, "previous": {"stage_id": -1}}),
        received_at=1000.0 + number,
        partition=partition_of(COMPANY, "deal", record),
        update_time=float(number),
    )


async def opened(store: PostgresStore) -> None:
    """Open the store once the database is there."""
    while True:
        try:
            await store.open(owner=True)
            return
        except StoreUnavailable:
            await asyncio.sleep(0.1)


async def web(url: str, first: int, number: int, records: int) -> None:
    """Store deliveries one after the other, each again until it is acknowledged, as Pipedrive does."""
    store = PostgresStore(url)
    await opened(store)
    for one in range(first, first + number):
        while True:
            try:
                await store.add_events([delivery(one, records)])
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
        print(one, flush=True)
    await store.close()


async def worker(url: str) -> None:
    """Work until killed; the delivery of the number BLOCKS_ON blocks the loop for a while."""
    blocks_on = int(os.environ["BLOCKS_ON"])

    async def work(event: Any) -> None:
        await asyncio.sleep(0.003)
        if event.record.stage_id == blocks_on:
            time.sleep(12)

    registry = Registry()
    given: dict[str, Any] = {"when": None, "ordered": True, "ignore_self": True, "timeout": 60.0, "concurrency": None}
    given |= {"arguments": {"event": "event"}, "record_types": (), "file": __file__, "line": 1, "summary": ""}
    registry.add(Handler(name="a.work", patterns=("deal.*",), function=work, is_async=True, **given))
    settings = Settings.load(database_url=url, secret_key=KEY, retry_delays=(0.2, 0.2))
    store, vault = PostgresStore(url), Vault([KEY])
    await opened(store)
    await store.save_account(
        Account(0, COMPANY, 7, "token", acting=True, credentials=vault.encrypt(b"token"), connected_at=1.0)
    )
    engine = Engine(store, registry, settings, Accounts(store, vault, settings), ownership=HandedOut(store))
    await engine.start()
    print("working", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    what, url, *numbers = sys.argv[1:]
    asyncio.run(worker(url) if what == "worker" else web(url, *map(int, numbers)))
