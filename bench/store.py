"""Measure the store alone: ingest by 64 callers, the cycle of ordered no-op runs, and finding due runs among very many.

    python bench/store.py ingest|cycle|due [--history N] [--seconds S]

`--history` fills the file with so many finished events first, to see that age costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sqlite3
import tempfile
import time
from collections import deque
from pathlib import Path

from pipeflow.store.base import ALL, PARTITIONS, Closing, Dispatch, NewEvent, NewRun, RecordState, Run
from pipeflow.store.sqlite import SQLiteStore

BODY = b'{"data":"' + b"x" * 2980 + b'"}'
CALLERS = 64
HANDLER = "bench.no_op"


def event(number: int, records: int, body: bytes = BODY) -> NewEvent:
    record = number % records
    return NewEvent(
        company=4410021,
        key=f"2.0:{os.urandom(16).hex()}",
        name="deal.updated",
        kind="deal",
        record_id=str(record),
        action="updated",
        source="delivery",
        raw=body,
        received_at=time.time(),
        partition=record % PARTITIONS,
        delivery_id=os.urandom(18).hex(),
        occurred_at=time.time(),
        update_time=float(number),
        actor_id="5521007",
    )


def decision(event_id: int, record: str, body: bytes = BODY) -> Dispatch:
    return Dispatch(
        event_id,
        ("deal.updated", "deal.stage_changed"),
        "dispatched",
        runs=(NewRun(HANDLER, f"{HANDLER}:4410021:deal:{record}"),),
        record=RecordState(4410021, "deal", record, time.time(), "delivery", body),
    )


async def ingest(store: SQLiteStore, seconds: float, burn: float) -> None:
    """Add events one by one from many callers at once, each of which also keeps the loop busy, as a server does."""
    stored, slowest = 0, 0.0
    until = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal stored, slowest
        while (started := time.perf_counter()) < until:
            while time.perf_counter() - started < burn:
                pass
            await store.add_events((event(stored, 5_000),))
            stored += 1
            slowest = max(slowest, time.perf_counter() - started)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    took = time.perf_counter() - began
    share = (time.process_time() - cpu) / stored * 1e6
    print(f"ingest: {stored / took:,.0f} events/s, {share:.0f} us of CPU each, slowest {slowest * 1000:.1f} ms")


async def cycle(store: SQLiteStore, number: int, slots: int) -> None:
    """Dispatch, open and close ordered no-op runs in 1,000 lanes, so many attempts at once."""
    for start in range(0, number, 1_000):
        await store.add_events([event(n, 1_000) for n in range(start, min(number, start + 1_000))])
    ready: deque[Run] = deque()
    done = 0

    async def slot() -> None:
        nonlocal done
        while ready:
            run = ready.popleft()
            await store.open_attempt(run.id, ALL, time.time())
            following = await store.close_attempt(Closing(run.id, "succeeded", "succeeded"), ALL, time.time())
            done += 1
            if following is not None:
                ready.append(following)

    spent = {"dispatch": 0.0, "attempts": 0.0}
    began, cpu, after = time.perf_counter(), time.process_time(), 0
    while events := await store.undispatched(ALL, limit=256, after=after):
        after = events[-1].id
        mark = time.perf_counter()
        runs = await store.dispatch([decision(one.id, one.record_id) for one in events], ALL, time.time())
        spent["dispatch"] += time.perf_counter() - mark
        mark = time.perf_counter()
        ready.extend(run for run in runs if run.due_at is not None)
        await asyncio.gather(*(slot() for _ in range(slots)))
        spent["attempts"] += time.perf_counter() - mark
    took, used = time.perf_counter() - began, time.process_time() - cpu
    parts = ", ".join(f"{name} {seconds / done * 1e6:.0f} us" for name, seconds in spent.items())
    print(f"cycle, {slots} slots: {done / took:,.0f} runs/s, {used / done * 1e6:.0f} us of CPU each ({parts})")


async def due(store: SQLiteStore, number: int) -> None:
    """Ask for due runs while very many wait."""
    path = store._path
    await store.close()
    fill_open(path, number)
    await store.open(owner=True)
    for limit in (1, 50, 500):
        began = time.perf_counter()
        for _ in range(20):
            await store.due_runs(ALL, time.time(), limit=limit)
        print(f"due_runs, {number:,} open, limit {limit}: {(time.perf_counter() - began) / 20 * 1000:.2f} ms")
    began = time.perf_counter()
    print(await store.counts(), f"{(time.perf_counter() - began) * 1000:.1f} ms")


def fill_open(path: Path, number: int) -> None:
    """Make open runs: a tenth waits in one lane, the rest in lanes of their own, all due."""
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO runs (id, event_id, handler, lane, company, kind, record_id, partition, status, due_at, "
            "created_at, priority) "
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "SELECT i, i, 'bench.no_op', 'bench.no_op:1:deal:' || iif(i % 10 = 0, 0, i), 1, 'deal', i, i % 64, "
            "'pending', iif(i % 10 = 0 AND i > 10, NULL, 1.0 + i), 1.0, 0 FROM n",
            (number,),
        )


def fill_history(path: Path, number: int) -> None:
    """Make finished events with a run each, in a way that takes minutes rather than hours."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    for start in range(1, number + 1, 100_000):
        last = min(number, start + 99_999)
        span = f"WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
        db.execute("BEGIN")
        db.execute(
            "INSERT INTO events (id, digest, company, key, name, kind, record_id, action, source, status, partition, "
            "bulk, size, received_at, occurred_at, update_time, delivery_id, actor_id, dispatched_at, names) "
            f"{span} SELECT i, randomblob(16), 4410021, '2.0:' || lower(hex(randomblob(18))), 'deal.updated', 'deal', "
            "CAST(abs(random()) % 1000000 AS TEXT), 'updated', 'delivery', 'dispatched', i % 64, 0, 300, i, i, i, "
            "lower(hex(randomblob(18))), '5521007', i, '[\"deal.updated\"]' FROM n"
        )
        db.execute(f"INSERT INTO bodies (id, packed) {span} SELECT i, zeroblob(300) FROM n")
        db.execute(
            "INSERT INTO runs (id, event_id, handler, lane, company, kind, record_id, partition, status, attempts, "
            "created_at, finished_at, priority, tries) "
            f"{span} SELECT i, i, 'bench.no_op', 'bench.no_op:4410021:deal:' || i % 5000, 4410021, 'deal', i % 5000, "
            "i % 64, 'succeeded', 1, i, i, 0, 1 FROM n"
        )
        db.execute(f"INSERT INTO attempts {span} SELECT i, 1, i, i, 'succeeded', 1, 0, NULL, NULL FROM n")
        db.execute(
            "INSERT INTO records (company, kind, record_id, update_time, source, deleted, state) "
            "SELECT 4410021, 'deal', record_id, 1.0, 'delivery', 0, zeroblob(300) FROM events "
            f"WHERE id BETWEEN {start} AND {last} AND true ON CONFLICT DO NOTHING"
        )
        db.execute("UPDATE counters SET events = ?, run_id = ?", (last, last))
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


async def measure(wanted: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        path = Path(wanted.file or Path(folder) / "bench.db")
        store = SQLiteStore(path)
        await store.open(owner=True)
        if wanted.history and not (await store.counts())["events"]:
            await store.close()
            fill_history(path, wanted.history)
            await store.open(owner=True)
        if wanted.what == "ingest":
            await ingest(store, wanted.seconds, wanted.burn / 1e6)
        elif wanted.what == "cycle":
            await cycle(store, wanted.number, wanted.slots)
        elif wanted.what == "due":
            await due(store, wanted.number)
        await store.close()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("ingest", "cycle", "due", "fill"))
    parser.add_argument("--history", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--burn", type=float, default=0.0, help="microseconds of other work for each event")
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--file", default=None)
    asyncio.run(measure(parser.parse_args()))
