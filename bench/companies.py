"""How long events of twenty quiet companies wait for their handler while a twenty-first imports its records.

    python bench/companies.py --records 12000 --rate 1000
    python bench/companies.py --records 12000 --rate 1000 --backlog     # stored while no engine was at work

Each quiet company has one event a second. Deliveries of 3 KB go through the receiver (no sockets between), handlers
take 20 ms as a call to Pipedrive does: with 20 slots that is as fast as 1,000 records a second can be worked at best,
and an import that comes faster only waits longer. Nobody says how fast Pipedrive tells of an import; 400 a second, the
default, is 50,000 records in two minutes.

What counts is the ratio of the waits beside the import to those without it. Both are measured in turn, round after
round, and the medians of the rounds are told, as the machine may have other things to do for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from base64 import b64encode
from pathlib import Path
from typing import Any

import uvloop
from ingest import COMPANY, delivery

from pipeflow.cli.listener import tune_interpreter
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
TEMPLATE = delivery().replace('"action":"change"', '"action":"create"')


class Place:
    """A receiver and an engine over one store, and when each delivery came and its handler started."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.vault = Vault([KEY])
        self.came: dict[str, float] = {}
        self.waited: list[float] = []
        self.imported = self.wanted = 0
        self.settings = Settings.load(database_url=f"sqlite:///{path}")
        self.receiver = Receiver(store, self.vault, clock=time.time)
        companies = range(IMPORTER, IMPORTER + QUIET + 1)
        self.credentials = {one: b64encode(":".join(self.vault.webhook_credentials(one)).encode()) for one in companies}
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
        deal = str(random.getrandbits(50))
        raw = TEMPLATE.replace(str(COMPANY), str(company)).replace("#META", str(uuid.uuid4())).replace("#DEAL", deal)
        headers = [
            (b"authorization", b"Basic " + self.credentials[company]),
            (b"content-type", b"application/json"),
        ]
        scope = {"type": "http", "method": "POST", "path": f"/webhooks/{company}", "headers": headers}
        self.came[deal] = time.perf_counter()

        async def receive() -> Any:
            return {"type": "http.request", "body": raw.encode()}

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200

        await self.receiver(scope, receive, send)

    async def quiet(self, seconds: float) -> None:
        """Deliver one event a second of each quiet company."""
        end = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            while time.perf_counter() < end:
                group.create_task(self.deliver(IMPORTER + random.randint(1, QUIET)))
                await asyncio.sleep(random.expovariate(QUIET))

    async def flood(self, records: int, rate: float) -> None:
        """Deliver an import."""
        self.wanted += records
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(records):
                if (ahead := number / rate - (time.perf_counter() - begin)) > 0:
                    await asyncio.sleep(ahead)
                group.create_task(self.deliver(IMPORTER))

    async def find_backlog(self, records: int) -> None:
        """Start the engine where an import was stored before."""
        await self.engine.stop(1)
        await self.flood(records, 5_000)
        self.begin_engine()
        await self.engine.start()

    async def imported_all(self) -> None:
        """Wait until the import has been worked."""
        while self.imported < self.wanted:  # noqa: ASYNC110  # a handler tells nobody
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)

    def told(self) -> tuple[float, float]:
        """Give the median and the 99th percentile of the waits since the last time, in ms."""
        cuts = statistics.quantiles(self.waited, n=100, method="inclusive")
        self.waited.clear()
        return cuts[49] * 1000, cuts[98] * 1000


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


async def measure(records: int, rate: float, rounds: int, backlog: bool) -> None:
    """Measure without and with the import in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = open_store(f"sqlite:///{path}")
        await store.open(owner=True)
        for company in range(IMPORTER, IMPORTER + QUIET + 1):
            await store.save_account(Account(id=0, company=company, user_id=1, mode="token", acting=True))
        place = Place(store, path)
        tune_interpreter()
        await place.engine.start()
        await place.quiet(2)
        place.told()
        found = [await one_round(place, records // rounds, rate, backlog) for _ in range(rounds)]
        await place.engine.stop(1)
        await store.close()
    medians = [statistics.median(column) for column in zip(*found, strict=True)]
    print(f"{'medians':12} {_line(medians)}   ({place.imported:,} records)")


async def one_round(place: Place, records: int, rate: float, backlog: bool) -> list[float]:
    """Give p50 and p99 without the import and beside it, and their ratios."""
    seconds = records / rate
    await place.quiet(seconds)
    alone = place.told()
    if backlog:
        await place.find_backlog(records)
        await place.quiet(seconds)
    else:
        await asyncio.gather(place.quiet(seconds), place.flood(records, rate))
    beside = place.told()
    await place.imported_all()
    found = [*alone, *beside, *(with_it / without for with_it, without in zip(beside, alone, strict=True))]
    print(f"{'round':12} {_line(found)}")
    return found


def _line(found: list[float]) -> str:
    return (
        "alone p50 {:5.1f} ms, p99 {:6.1f} ms; beside the import p50 {:5.1f} ms, p99 {:6.1f} ms; "
        "ratio p50 {:5.2f}, p99 {:5.2f}"
    ).format(*found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=8000, help="of the import, in all rounds")
    parser.add_argument("--rate", type=float, default=400.0, help="records a second")
    parser.add_argument("--rounds", type=int, default=4, help="how often both are measured")
    parser.add_argument("--backlog", action="store_true", help="the import is stored before the engine starts")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(given.records, given.rate, given.rounds, given.backlog))
