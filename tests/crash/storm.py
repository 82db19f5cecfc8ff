"""A storm over real processes: deliveries without end, kill -9 without warning, and a checker that knows what was told.

    python -m tests.crash.storm --kills 500 --deliveries 200000 --seed 1

The short form of this is in `test_storm.py`. The same seed sends the same deliveries and ends processes after the same
waits; where exactly a process is at that moment is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from base64 import b64encode
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeflow.store import open_store
from pipeflow.store.base import Attempt, EventFilter, Run, RunFilter, StoredEvent
from pipeflow.vault import Vault
from tests.scenarios.product import FakePipedrive, Product

RECIPES = Path(__file__).parent / "recipes"
HANDLERS = ("journal.steady", "journal.stumbles", "journal.threaded")
KEY = "a secret key of the crash suite and of nothing else"
CALLERS = 24
QUIET_SECONDS = 60.0


class StormProduct(Product):
    """`pipeflow run` with the recipes that keep a journal."""

    @property
    def environment(self) -> dict[str, str]:
        more = {"CRASH_JOURNAL": str(self.folder / "journal.txt"), "PIPEFLOW_SECRET_KEY": KEY}
        return super().environment | more

    @property
    def journal(self) -> list[list[str]]:
        path = self.folder / "journal.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@dataclass
class Sender:
    """Sends deliveries as Pipedrive does: each record's in order, each again until it is answered 200."""

    port: int
    company: int
    seed: int
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    stopping: bool = False

    async def send(self, number: int) -> None:
        """Send so many deliveries, by many connections at once."""
        await asyncio.gather(*(self._caller(caller, number // CALLERS) for caller in range(CALLERS)))

    async def _caller(self, caller: int, number: int) -> None:
        chance = random.Random(self.seed * 1000 + caller)
        sequence: Counter[str] = Counter()
        for _ in range(number):
            deal = str(caller * 10 + chance.randrange(8))
            sequence[deal] += 1
            body, name = self._delivery(deal, sequence[deal], chance)
            while not self.stopping and await self._post(body) != 200:
                await asyncio.sleep(0.05)
            if self.stopping:
                return
            self.acknowledged[name] = (deal, sequence[deal])
            if chance.random() < 0.02:
                await self._post(body)

    def _delivery(self, deal: str, seq: int, chance: random.Random) -> tuple[bytes, str]:
        name = f"{chance.getrandbits(128):032x}"
        moment = f"2026-11-03T{seq // 3600 % 24:02d}:{seq // 60 % 60:02d}:{seq % 60:02d}Z"
        meta: dict[str, object]
        meta = {"action": "change", "entity": "deal", "entity_id": deal, "company_id": str(self.company), "id": name}
        meta |= {"user_id": "99", "timestamp": moment, "version": "2.0", "change_source": "app", "attempt": 1}
        data = {"id": int(deal), "title": "Storm", "value": seq, "update_time": moment}
        body = {"meta": meta, "data": data, "previous": {"value": seq - 1}}
        return json.dumps(body).encode(), name

    async def _post(self, body: bytes) -> int:
        try:
            async with asyncio.timeout(10):
                status = await self._exchange(body)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, IndexError, ValueError):
            status = 0
        self.answers[status] += 1
        return status

    async def _exchange(self, body: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self._head(len(body)) + body)
            await writer.drain()
            return int((await reader.readline()).split()[1])
        finally:
            writer.close()

    def _head(self, length: int) -> bytes:
        basic = b64encode(":".join(Vault([KEY]).webhook_credentials(self.company)).encode()).decode()
        return (
            f"POST /webhooks/{self.company} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\n"
            f"content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        ).encode()


@dataclass(frozen=True)
class Findings:
    """What the checker found: nothing but the first three, and after how many seconds a new process ran a handler."""

    acknowledged: int
    runs: int
    ends: int
    lost: list[str]
    doubled: list[str]
    unhandled: list[str]
    stuck: list[int]
    out_of_order: list[str]
    started_again: list[int]
    first_handlers: tuple[float, ...] = ()

    def trouble(self) -> dict[str, int]:
        """Count what must not be."""
        names = ("lost", "doubled", "unhandled", "stuck", "out_of_order", "started_again")
        return {name: len(getattr(self, name)) for name in names if getattr(self, name)}


async def check(
    database_url: str, acknowledged: dict[str, tuple[str, int]], journal: list[list[str]], ends: int
) -> Findings:
    """Compare what was acknowledged with what is stored, attempted and finished, and in which order."""
    store = open_store(database_url)
    await store.open()
    try:
        events = await store.events(EventFilter(limit=0))
        runs = await store.runs(RunFilter(limit=0, include_skipped=True))
        starts = Counter(int(line[1]) for line in journal if line[0] == "start")
        attempts = {run.id: await store.attempts(run.id) for run in runs if run.attempts != 1 or starts[run.id] > 1}
    finally:
        await store.close()
    keys = Counter(event.key.removeprefix("2.0:") for event in events)
    return Findings(
        acknowledged=len(acknowledged),
        runs=len(runs),
        ends=ends,
        lost=[name for name in acknowledged if not keys[name]],
        doubled=[name for name, number in keys.items() if number > 1],
        unhandled=_unhandled(events, runs, acknowledged, journal),
        stuck=[run.id for run in runs if run.status in ("pending", "running")],
        out_of_order=_out_of_order(journal),
        started_again=_started_again(attempts, journal, runs),
    )


def _unhandled(
    events: list[StoredEvent], runs: list[Run], acknowledged: dict[str, tuple[str, int]], journal: list[list[str]]
) -> list[str]:
    ended = {int(line[1]) for line in journal if line[0] == "end"}
    succeeded = {(run.event_id, run.handler) for run in runs if run.status == "succeeded" and run.id in ended}
    mine = [event for event in events if event.key.removeprefix("2.0:") in acknowledged]
    return [f"{event.key} {name}" for event in mine for name in HANDLERS if (event.id, name) not in succeeded]


def _out_of_order(journal: list[list[str]]) -> list[str]:
    newest: dict[tuple[str, str], int] = defaultdict(int)
    wrong = []
    for what, run_id, handler, record, seq, *_ in journal:
        if what != "start":
            continue
        if int(seq) < newest[handler, record]:
            wrong.append(f"run {run_id} of {handler} on {record}: {seq} after {newest[handler, record]}")
        newest[handler, record] = max(newest[handler, record], int(seq))
    return wrong


def _started_again(attempts: dict[int, list[Attempt]], journal: list[list[str]], runs: list[Run]) -> list[int]:
    """Find runs of which an attempt began after one that had succeeded, and starts that no attempt was kept for."""
    again = {
        run_id for run_id, tries in attempts.items() if any(attempt.outcome == "succeeded" for attempt in tries[:-1])
    }
    kept = {run.id: len(attempts[run.id]) if run.id in attempts else 1 for run in runs}
    starts = Counter(int(line[1]) for line in journal if line[0] == "start")
    return sorted(again | {run_id for run_id, number in starts.items() if number > kept.get(run_id, 0)})


async def storm(folder: Path, *, kills: int, deliveries: int, seed: int) -> Findings:
    """Send deliveries while the process is ended again and again; then let it finish, and check."""
    chance = random.Random(seed)
    fake = FakePipedrive(folder)
    fake.start()
    product = StormProduct(folder, fake, RECIPES)
    try:
        await asyncio.to_thread(product.start)
        company = int(fake.call("GET", "/v1/users/me")["company_id"])
        sender = Sender(product.port, company, seed)
        sending = asyncio.create_task(sender.send(deliveries))
        starts: dict[str, float] = {}
        for number in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 1.2))
            await asyncio.to_thread(_end, product, signal.SIGTERM if number % 5 == 4 else signal.SIGKILL)
            starting = time.time()
            await asyncio.to_thread(product.start)
            assert product.process
            starts[str(product.process.pid)] = starting
        await sending
        url = f"sqlite:///{folder / 'pipeflow.db'}"
        await until_quiet(url)
        product.stop()
        found = await check(url, sender.acknowledged, product.journal, kills)
        return replace(found, first_handlers=_first_handlers(product.journal, starts))
    finally:
        if product.process and product.process.poll() is None:
            product.kill()
        fake.stop()


def _first_handlers(journal: list[list[str]], starts: dict[str, float]) -> tuple[float, ...]:
    """Say how long after the start of a process its first handler started, for those that lived to see it."""
    seen: dict[str, float] = {}
    for what, *_, pid, moment in journal:
        if what == "start" and pid in starts:
            seen.setdefault(pid, float(moment) - starts[pid])
    return tuple(sorted(seen.values()))


def _end(product: Product, number: int) -> None:
    assert product.process
    product.process.send_signal(number)
    product.process.wait(timeout=60)


async def until_quiet(database_url: str) -> None:
    """Wait until nothing is left to do, or nothing moves any more."""
    store = open_store(database_url)
    await store.open()
    left, moved_at = -1, time.monotonic()
    try:
        while left and time.monotonic() - moved_at < QUIET_SECONDS:
            counts = await store.counts()
            now_left = counts["undispatched"] + counts["pending"] + counts["running"]
            if now_left != left:
                left, moved_at = now_left, time.monotonic()
            await asyncio.sleep(0.5)
    finally:
        await store.close()


def report(found: Findings, took: float) -> bool:
    """Print what was found; True where something is wrong."""
    print(f"{found.acknowledged:,} acknowledged, {found.runs:,} runs, {found.ends} ends in {took:.0f} s")
    if waits := found.first_handlers:
        print(f"first handler of a new process after {waits[len(waits) // 2]:.2f} s, at most {waits[-1]:.2f} s")
    print(f"trouble: {found.trouble() or 'none'}")
    for name in found.trouble():
        print(f"  {name}: {getattr(found, name)[:5]}")
    return bool(found.trouble())


def main() -> None:
    """Run the long form and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--deliveries", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        found = asyncio.run(storm(Path(folder), kills=asked.kills, deliveries=asked.deliveries, seed=asked.seed))
        sys.exit(report(found, time.monotonic() - began))


if __name__ == "__main__":
    main()
