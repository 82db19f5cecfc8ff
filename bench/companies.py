"""How long events of twenty quiet companies wait for their handler while a twenty-first imports its records.

    python bench/companies.py [--records 5000] [--rate 400]
    python bench/companies.py --backlog 20000      # all of them stored while no engine was at work

Deliveries go through the receiver (no sockets between), handlers take 20 ms as a call to Pipedrive does. The same is
measured first without the import; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
import uuid
from base64 import b64encode
from pathlib import Path
from typing import Any

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.worker import Engine
from pipeflow.registry import Handler, Registry
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import Account, Store
from pipeflow.vault import Vault
from pipeflow.web.receiver import Receiver

QUIET = 20
IMPORTER = 4410000
KEY = "the key of a bench, long enough for one"


class Place:
    """A receiver and an engine over one store, and when each delivery came and its handler started."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.vault = Vault([KEY])
        self.came: dict[str, float] = {}
        self.waited: list[float] = []
        self.imported = 0
        self.settings = Settings.load(database_url=f"sqlite:///{path}")
        self.receiver = Receiver(store, self.vault, clock=time.time)
        self.begin_engine()

    def begin_engine(self) -> None:
        """Make an engine, as a start of the process does."""
        registry = Registry()
        registry.add(_handler(self.handle))
        accounts = Accounts(self.store, self.vault, self.settings)
        self.engine = Engine(self.store, registry, self.settings, accounts)

    async def handle(self, event: Any) -> None:
        """Stand for a handler that calls Pipedrive once."""
        came = self.came.pop(event.record_id)
        if event.company == IMPORTER:
            self.imported += 1
        else:
            self.waited.append(time.perf_counter() - came)
        await asyncio.sleep(0.02)

    async def deliver(self, company: int) -> None:
        """Deliver one new deal."""
        deal = str(random.getrandbits(60))
        meta = {"action": "create", "entity": "deal", "entity_id": deal, "company_id": str(company), "version": "2.0"}
        meta |= {"id": str(uuid.uuid4()), "timestamp": "2026-11-03T09:41:22.057Z"}
        raw = json.dumps({"meta": meta, "data": {"id": deal, "title": "Espresso bar"}, "previous": None}).encode()
        pair = ":".join(self.vault.webhook_credentials(company)).encode()
        headers = [(b"authorization", b"Basic " + b64encode(pair)), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": f"/webhooks/{company}", "headers": headers}
        self.came[deal] = time.perf_counter()

        async def receive() -> Any:
            return {"type": "http.request", "body": raw}

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200

        await self.receiver(scope, receive, send)

    async def quiet(self, seconds: float) -> None:
        """Deliver one event a second of each quiet company."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await self.deliver(IMPORTER + random.randint(1, QUIET))
            await asyncio.sleep(random.expovariate(QUIET))

    async def flood(self, records: int, rate: float) -> None:
        """Deliver an import."""
        begin = time.perf_counter()
        for number in range(records):
            if (ahead := number / rate - (time.perf_counter() - begin)) > 0:
                await asyncio.sleep(ahead)
            await self.deliver(IMPORTER)


def _handler(function: Any) -> Handler:
    return Handler(
        name="bench.handle",
        function=function,
        patterns=("deal.added",),
        when=None,
        ordered=True,
        ignore_self=True,
        timeout=60.0,
        concurrency=None,
        arguments={"event": "event"},
        record_types=(),
        is_async=True,
        file=__file__,
        line=1,
        summary="",
    )


def _shown(waited: list[float]) -> tuple[float, float]:
    ordered = sorted(waited)
    return ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000


async def main(records: int, rate: float, backlog: int) -> None:
    """Measure without and with the import."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = open_store(f"sqlite:///{path}")
        await store.open(owner=True)
        for company in range(IMPORTER, IMPORTER + QUIET + 1):
            await store.save_account(Account(id=0, company=company, user_id=1, mode="token", acting=True))
        place = Place(store, path)
        await place.engine.start()
        await place.quiet(2)
        place.waited.clear()
        await place.quiet(records / rate)
        await asyncio.sleep(0.5)
        alone = _shown(place.waited)
        place.waited.clear()
        if backlog:
            await place.engine.stop(1)
            await asyncio.gather(*(place.deliver(IMPORTER) for _ in range(backlog)))
            place.begin_engine()
            await place.engine.start()
        await asyncio.gather(place.quiet(records / rate), place.flood(0 if backlog else records, rate))
        beside = _shown(place.waited)
        await place.engine.stop(1)
        await store.close()
    print(f"alone                p50 {alone[0]:6.1f} ms   p99 {alone[1]:6.1f} ms")
    print(f"beside the import    p50 {beside[0]:6.1f} ms   p99 {beside[1]:6.1f} ms   ({place.imported} records)")
    print(f"ratio                p50 {beside[0] / alone[0]:6.2f}      p99 {beside[1] / alone[1]:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--backlog", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(main(given.records, given.rate, given.backlog))
