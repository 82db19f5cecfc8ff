"""How long a restart takes with very many open runs: until the first handler starts, and how much memory it needs.

    python bench/restart.py --runs 1000000

A store is filled with open runs, each of an event of its own and due; then a process of its own opens it as `run` does.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ingest import COMPANY

BODY = (
    '{"meta":{"action":"change","entity":"deal","entity_id":"\' || i || \'","company_id":"4410021","user_id":"5521007",'
    '"id":"m\' || i || \'","timestamp":"2026-11-03T09:41:22Z","version":"2.0"},"data":{"id":\' || i || \','
    '"title":"Chairs","update_time":"2026-11-03T09:41:22Z"},"previous":{"title":"Chair"}}'
)


def fill(path: Path, number: int) -> None:
    """Make open runs, each due and of an event of its own; every tenth waits behind another of its lane."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    for start in range(1, number + 1, 100_000):
        last = min(number, start + 99_999)
        span = f"WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
        db.execute("BEGIN")
        db.execute(
            "INSERT INTO events (id, digest, company, key, name, kind, record_id, action, source, status, partition, "
            "bulk, size, received_at, occurred_at, update_time, delivery_id, actor_id, dispatched_at, names) "
            f"{span} SELECT i, randomblob(16), {COMPANY}, '2.0:m' || i, 'deal.updated', 'deal', CAST(i AS TEXT), "
            "'updated', 'delivery', 'dispatched', i % 64, 0, 300, i, i, i, 'm' || i, '5521007', i, "
            "'[\"deal.updated\"]' FROM n"
        )
        db.execute(f"INSERT INTO bodies (id, packed) {span} SELECT i, CAST('{BODY}' AS BLOB) FROM n")
        db.execute(
            "INSERT INTO runs (id, event_id, handler, lane, company, kind, record_id, partition, status, due_at, "
            f"created_at, priority) {span} SELECT i, i, 'no_op', 'no_op|{COMPANY}|deal|' || "
            f"iif(i % 10 = 0, i - 1, i), {COMPANY}, 'deal', CAST(i AS TEXT), i % 64, 'pending', "
            "iif(i % 10 = 0, NULL, 1.0 + i / 1000.0), i, 0 FROM n"
        )
        db.execute("UPDATE counters SET events = ?, run_id = ?", (last, last))
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


async def restart(path: Path, began: float) -> None:
    """Open the store and start the engine; print when the first handler started, and the peak of memory."""
    import drain

    from pipeflow.store import open_store

    drain.wanted = 1
    store = open_store(f"sqlite:///{path}")
    await store.open(owner=True)
    engine = await drain.build(store, path)
    await engine.start()
    await drain.done.wait()
    first = time.time() - began
    await asyncio.sleep(3)
    await engine.stop(5)
    await store.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"first handler after {first:.2f} s, peak memory {memory:.0f} MB, {len(drain.started):,} runs in 3 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--folder", default=None, help="where the file is made")
    parser.add_argument("--restart", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.restart:
        asyncio.run(restart(Path(asked.restart[0]), float(asked.restart[1])))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "bench.db"
        asyncio.run(make(path))
        fill(path, asked.runs)
        subprocess.run([sys.executable, __file__, "--restart", path, str(time.time())], check=True)


async def make(path: Path) -> None:
    """Make an empty store."""
    from pipeflow.store import open_store

    store = open_store(f"sqlite:///{path}")
    await store.open(owner=True)
    await store.close()


if __name__ == "__main__":
    main()
