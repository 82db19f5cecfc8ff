"""The storm over several machines: two webs behind a proxy and three workers on one PostgreSQL, any of which ends.

    python -m tests.crash.fleet --kills 200 --deliveries 100000 --outages 5 --seed 1

Every process is `pipeflow run` as users have it; PostgreSQL ends as in a crash, and stays away for a minute. The short
form of this is in `test_fleet.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.crash.storm import RECIPES, Findings, Sender, StormProduct, check, report, until_quiet
from tests.postgres import Postgres
from tests.scenarios.product import FakePipedrive, eventually

WEBS, WORKERS = 2, 3


class Proxy:
    """Passes connections on to the webs in turn, past those that do not listen; as a platform's router does."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.port = 0
        self._turn = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind = await self._connect()
            if behind is not None:
                await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self.ports:
            self._turn += 1
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self.ports[self._turn % len(self.ports)])
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


class Machine(StormProduct):
    """A process of the fleet: it says to Pipedrive that it is reached by the proxy."""

    @property
    def environment(self) -> dict[str, str]:
        journal = str(self.folder.parent / "journal.txt")
        return super().environment | {"CRASH_JOURNAL": journal}

    def begin(self) -> None:
        with (self.folder / "run.log").open("ab") as log:
            self.process = self.started(log, "--only", self.folder.name.partition(" ")[0])


class Fleet:
    """The processes, each in a folder of its own."""

    def __init__(self, folder: Path, fake: FakePipedrive, url: str, proxy: Proxy) -> None:
        more = {"DATABASE_URL": url, "PIPEFLOW_PUBLIC_URL": f"http://127.0.0.1:{proxy.port}"}
        names = [*(f"web {n}" for n in range(WEBS)), *(f"worker {n}" for n in range(WORKERS))]
        self.machines = [Machine(folder / name, fake, RECIPES, more=more) for name in names]
        for machine in self.machines:
            machine.folder.mkdir()
        proxy.ports = [machine.port for machine in self.machines[:WEBS]]

    def start(self) -> None:
        assert self.machines[0].command("migrate").returncode == 0
        for machine in self.machines:
            machine.begin()
        for machine in self.machines[:WEBS]:
            eventually(machine.ready, "a ready web", patience=60)

    def kill_one(self, chance: random.Random) -> None:
        machine = chance.choice(self.machines)
        machine.kill()
        machine.begin()

    def stop(self) -> None:
        for machine in self.machines:
            if machine.process and machine.process.poll() is None:
                machine.kill()


async def _end_again_and_again(
    fleet: Fleet, server: Postgres, chance: random.Random, kills: int, outages: int, away: float
) -> None:
    """End processes at random, and the database now and then."""
    every = kills // outages
    for number in range(1, kills + 1):
        await asyncio.sleep(chance.uniform(0.5, 4.0))
        await asyncio.to_thread(fleet.kill_one, chance)
        if number % every == 0:
            await asyncio.to_thread(server.end_at_once)
            await asyncio.sleep(away)
            await asyncio.to_thread(server.start_again)


async def storm_over_fleet(
    folder: Path, *, kills: int, deliveries: int, outages: int, away: float, seed: int
) -> Findings:
    """Send deliveries while processes and the database end; then let the fleet finish, and check."""
    server, fake, proxy = Postgres(), FakePipedrive(folder), Proxy()
    fake.start()
    await proxy.start()
    url = server.new_database()
    fleet = Fleet(folder, fake, url, proxy)
    try:
        await asyncio.to_thread(fleet.start)
        company = int((await asyncio.to_thread(fake.call, "GET", "/v1/users/me"))["company_id"])
        sender = Sender(proxy.port, company, seed)
        sending = asyncio.create_task(sender.send(deliveries))
        await _end_again_and_again(fleet, server, random.Random(seed), kills, outages, away)
        await sending
        await until_quiet(url)
        journal = [line.split() for line in (folder / "journal.txt").read_text().splitlines()]
        return await check(url, sender.acknowledged, journal, kills)
    finally:
        fleet.stop()
        await proxy.stop()
        fake.stop()
        server.stop()


def main() -> None:
    """Run the long form and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--deliveries", type=int, default=100_000)
    parser.add_argument("--outages", type=int, default=5)
    parser.add_argument("--away", type=float, default=60, help="seconds for which the database stays away")
    parser.add_argument("--seed", type=int, default=1)
    asked = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        found = asyncio.run(storm_over_fleet(Path(folder), **asked))
        sys.exit(report(found, time.monotonic() - began))


if __name__ == "__main__":
    main()
