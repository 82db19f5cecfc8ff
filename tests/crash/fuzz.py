"""Hostile deliveries without end, at a real process: no 5xx, no crash, flat memory, and honest ones stored beside them.

    python -m tests.crash.fuzz --deliveries 1000000

The short form is `test_fuzz.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.crash.storm import RECIPES, Sender, StormProduct
from tests.scenarios.product import FakePipedrive
from tests.web.test_hostile import BODIES, mutated

CONNECTIONS = 16
HONEST_EVERY = 50


@dataclass(frozen=True)
class Hammered:
    """How a process answered, and what became of it."""

    answers: Counter[int]
    honest: int
    rate: float
    memory_before: float
    memory_after: float

    def trouble(self) -> list[str]:
        """Say what must not be."""
        bad = [status for status in self.answers if status >= 500 or status == 0]
        said = [f"{self.answers[status]} answers {status}" for status in bad]
        if self.memory_after > self.memory_before * 1.5 + 40:
            said.append(f"memory grew from {self.memory_before:.0f} to {self.memory_after:.0f} MB")
        return said


class Hammer(Sender):
    """Posts damaged bodies over connections that stay open, and honest ones between them."""

    honest = 0

    async def hammer(self, number: int) -> None:
        await asyncio.gather(*(self._connection(lane, number // CONNECTIONS) for lane in range(CONNECTIONS)))

    async def _connection(self, lane: int, number: int) -> None:
        chance = random.Random(self.seed * 100 + lane)
        strange = [body for body in BODIES.values() if len(body) < 20_000]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for n in range(number):
            if n % HONEST_EVERY == 0:
                body = self._delivery(str(lane), n, chance)[0]
                self.honest += 1
            else:
                body = chance.choice(strange) if n % 10 == 0 else mutated(chance)
            writer.write(self._head(len(body)).replace(b"connection: close\r\n", b"") + body)
            status = await _status(reader)
            self.answers[status] += 1
            if not status:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    """Read one answer and give its status; 0 where the connection was closed instead."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    except (asyncio.IncompleteReadError, OSError, TimeoutError):
        return 0
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), 0)
    await reader.readexactly(length)
    return int(lines[0].split()[1])


def memory_of(pid: int) -> float:
    """Give the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


async def hammer(folder: Path, *, deliveries: int, seed: int) -> Hammered:
    """Post so many deliveries to a real process and say how it answered."""
    fake = FakePipedrive(folder)
    fake.start()
    product = StormProduct(folder, fake, RECIPES)
    try:
        await asyncio.to_thread(product.start)
        assert product.process
        company = int(fake.call("GET", "/v1/users/me")["company_id"])
        sender = Hammer(product.port, company, seed)
        await sender.hammer(max(800, deliveries // 20))
        before, began = memory_of(product.process.pid), time.monotonic()
        await sender.hammer(deliveries)
        took = time.monotonic() - began
        assert await asyncio.to_thread(product.ready)
        after = memory_of(product.process.pid)
        return Hammered(sender.answers, sender.honest, deliveries / took, before, after)
    finally:
        if product.process and product.process.poll() is None:
            product.kill()
        fake.stop()


def main() -> None:
    """Run the long form and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(hammer(Path(folder), deliveries=asked.deliveries, seed=asked.seed))
    print(f"{asked.deliveries:,} deliveries at {found.rate:,.0f}/s: {dict(found.answers)}")
    print(f"memory {found.memory_before:.0f} -> {found.memory_after:.0f} MB; trouble: {found.trouble() or 'none'}")
    sys.exit(bool(found.trouble()))


if __name__ == "__main__":
    main()
