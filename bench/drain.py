"""How fast the engine works: runs drained a second, and how long a stored event waits for its handler.

    python bench/drain.py --number 20000
    python bench/drain.py --number 20000 --waiting 100000     # behind so many runs of one record that waits
    python bench/drain.py --number 20000 --history 5000000    # in a store with so many events of the past
    python bench/drain.py --latency 500                       # events a second while nothing else happens

Everything is real but the network: a SQLite file with `synchronous=FULL`, deliveries of 3 KB, the engine as `run` has
it. Rates are printed beside what the same machine stores in the same run, as machines and days differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import uvloop
from ingest import COMPANY, KEY, delivery
from store import fill_history

from pipeflow.cli.listener import tune_interpreter
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.worker import Engine
from pipeflow.errors import Retry
from pipeflow.events import Event, read_delivery
from pipeflow.registry import DEFAULT, on
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import Account, NewEvent, Store
from pipeflow.vault import Vault

RECORDS = 5000
STUCK = RECORDS + 1
TEMPLATE = delivery()

started: dict[int, float] = {}
done = asyncio.Event()
wanted = 0


def events(first: int, number: int, *, record: int | None = None) -> list[NewEvent]:
    """Make stored events of `number` deliveries: of many records in turn, or of one."""
    made = []
    for n in range(first, first + number):
        deal = str(record or n % RECORDS + 1)
        raw = TEMPLATE.replace("#META", f"0f8e5c1a-4d1b-4a8e-0000-{n:012d}").replace("#DEAL", deal).encode()
        head = read_delivery(raw, COMPANY, time.time())
        made.append(
            NewEvent(
                COMPANY, head.key, head.name, head.kind, head.record_id, head.action, "delivery", raw, time.time(),
                head.partition, head.delivery_id, head.occurred_at, head.update_time, head.actor_id,
            )
        )  # fmt: skip
    return made


@on("deal.updated", name="no_op")
async def no_op(event: Event) -> None:  # type: ignore[type-arg]  # any record will do
    """Remember when it was started; those of one record wait for their retry."""
    if event.record_id == str(STUCK):
        raise Retry(after=3600)
    started[event.id] = time.perf_counter()
    if len(started) >= wanted:
        done.set()


async def build(store: Store, path: Path) -> Engine:
    """Build the engine over an open store with one connected company."""
    vault = Vault([KEY])
    settings = Settings.load(secret_key=KEY, database_url=f"sqlite:///{path}")
    credentials = vault.encrypt(b"a token that is never sent")
    await store.save_account(Account(0, COMPANY, 1, "token", acting=True, credentials=credentials))
    fields = json.loads(TEMPLATE.replace("#DEAL", "1"))["data"]["custom_fields"]
    await store.save_fields(COMPANY, "deal", json.dumps([[key, key, "varchar", []] for key in fields]).encode(), 1.0)
    return Engine(store, DEFAULT, settings, Accounts(store, vault, settings))


async def fill(store: Store, new: list[NewEvent]) -> float:
    """Store events in batches; give how many a second."""
    began = time.perf_counter()
    for start in range(0, len(new), 250):
        await store.add_events(new[start : start + 250])
    return len(new) / (time.perf_counter() - began)


async def drain(store: Store, engine: Engine, number: int, waiting: int) -> None:
    """Store events, then start the engine and wait until the last run has started and its end is stored."""
    global wanted
    wanted = number
    if waiting:
        await fill(store, events(10_000_000, waiting, record=STUCK))
        await engine.start()
        while (await store.counts())["undispatched"]:  # noqa: ASYNC110  # as below
            await asyncio.sleep(0.1)
        await engine.stop(5)
        engine = await build(store, Path())
    stored = await fill(store, events(int(time.time() * 100_000) % 10**11, number))
    tune_interpreter()
    began, cpu = time.perf_counter(), time.process_time()
    await engine.start()
    await done.wait()
    while (await store.counts())["running"]:  # noqa: ASYNC110  # what is stored tells nobody here
        await asyncio.sleep(0.01)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    await engine.stop(5)
    print(f"{number:,} ordered no-op runs behind {waiting:,} that wait: {number / took:,.0f}/s, ", end="")
    print(f"{used / number * 1e6:.0f} us of CPU each; the same events were stored at {stored:,.0f}/s")


async def latency(store: Store, engine: Engine, rate: float, seconds: float) -> None:
    """Store events one by one at this rate and print how long each waited for its handler."""
    global wanted
    new = events(int(time.time() * 100_000) % 10**11, int(rate * seconds))
    wanted = len(new)
    stored: dict[int, float] = {}
    tune_interpreter()
    await engine.start()
    await asyncio.sleep(0.5)
    began = time.perf_counter()

    async def store_one(event: NewEvent) -> None:
        (event_id,) = await store.add_events([event])
        stored[event_id or 0] = time.perf_counter()

    async with asyncio.TaskGroup() as group:
        for n, event in enumerate(new):
            await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
            group.create_task(store_one(event))
    await done.wait()
    await engine.stop(5)
    waits = sorted((started[event_id] - at) * 1000 for event_id, at in stored.items())
    cuts = statistics.quantiles(waits, n=100)
    print(f"{rate:g} events/s: stored -> handler started p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms")


async def measure(asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(asked.file or Path(folder) / "bench.db")
        store = open_store(f"sqlite:///{path}")
        await store.open(owner=True)
        if asked.history and not (await store.counts())["events"]:
            await store.close()
            fill_history(path, asked.history)
            await store.open(owner=True)
        engine = await build(store, path)
        if asked.latency:
            await latency(store, engine, asked.latency, asked.seconds)
        else:
            await drain(store, engine, asked.number, asked.waiting)
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--number", type=int, default=20_000, help="runs to drain")
    parser.add_argument("--waiting", type=int, default=0, help="runs of one record that wait in front")
    parser.add_argument("--history", type=int, default=0, help="finished events in the store before")
    parser.add_argument("--latency", type=float, default=0, help="measure the wait at so many events a second instead")
    parser.add_argument("--seconds", type=float, default=5, help="how long --latency looks")
    parser.add_argument("--folder", default=None, help="where the file is made")
    parser.add_argument("--file", default=None, help="this file, which stays, so that its history is made once")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(parser.parse_args()))
