"""A handler may leave, fork, block or leak: its own run suffers, no event and no other run does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.storm import Sender, StormProduct
from tests.scenarios.product import FakePipedrive, eventually

RECIPES = Path(__file__).parent / "hostile"


class HostileSender(Sender):
    """Sends what each deal is to be called."""

    def deliver(self, *titles: str, first: int = 1) -> None:
        """Send one delivery for each title, of deals of their own."""

        async def send() -> None:
            for number, title in enumerate(titles, first):
                status = await self._post(self.titled(number, title))
                assert status == 200

        asyncio.run(send())

    def titled(self, deal: int, title: str) -> bytes:
        moment = "2026-11-03T09:41:22Z"
        meta = {"action": "change", "entity": "deal", "entity_id": str(deal), "company_id": str(self.company)}
        meta |= {"id": f"hostile-{deal}", "timestamp": moment, "version": "2.0", "change_source": "app"}
        data = {"id": deal, "title": title, "update_time": moment}
        return json.dumps({"meta": meta, "data": data, "previous": {"title": "before"}}).encode()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[StormProduct, HostileSender]]:
    fake = FakePipedrive(tmp_path)
    fake.start()
    product = StormProduct(tmp_path, fake, RECIPES)
    product.start()
    company = int(fake.call("GET", "/v1/users/me")["company_id"])
    yield product, HostileSender(product.port, company, 1)
    if product.process and product.process.poll() is None:
        product.kill()
    fake.stop()


def told(product: StormProduct, what: str, title: str) -> list[list[str]]:
    return [line for line in product.journal if line[0] == what and " ".join(line[2:-1]) == title]


def test_handler_that_ends_the_process_is_dead_after_three_attempts_alone_and_others_run(
    house: tuple[StormProduct, HostileSender],
) -> None:
    product, sender = house
    sender.deliver("exit")
    for _ in range(4):
        assert product.process
        product.process.wait(timeout=30)
        with (product.folder / "run.log").open("ab") as log:
            product.process = product.started(log)
    eventually(product.ready, "a pipeflow that stays up")
    sender.deliver("calm", first=2)
    eventually(lambda: told(product, "end", "calm"), "the other deal's run")
    (dead,) = product.listed("runs", "--status", "dead")
    assert dead["record_id"] == "1"
    assert "process died" in dead["error"]
    assert len(told(product, "start", "exit")) == 4


@pytest.mark.parametrize("title", ["fork", "fork in thread"])
def test_child_of_a_handler_that_forks_does_not_work_on(house: tuple[StormProduct, HostileSender], title: str) -> None:
    product, sender = house
    assert product.process
    sender.deliver(title, "calm")
    eventually(lambda: told(product, "thread", "calm"), "the next run")
    eventually(lambda: children_of(product.process.pid) == [], "the end of the child")  # type: ignore[union-attr]
    sender.deliver("calm again", first=3)
    lines = eventually(lambda: told(product, "end", "calm again"), "a run after it")
    assert [line[-1] for line in lines] == [str(product.process.pid)]
    statuses = {run["record_id"]: run["status"] for run in product.listed("runs")}
    assert set(statuses.values()) == {"succeeded"}


def test_delivery_during_a_handler_that_blocks_the_loop_is_stored_afterwards(
    house: tuple[StormProduct, HostileSender],
) -> None:
    product, sender = house
    sender.deliver("block")
    eventually(lambda: told(product, "start", "block"), "the handler that blocks")
    began = time.monotonic()
    sender.deliver("calm", first=2)
    assert time.monotonic() - began < 10  # what Pipedrive waits
    eventually(lambda: told(product, "end", "calm"), "the delivered event's run")


def children_of(pid: int) -> list[int]:
    """List the living children of a process, itself forked from it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def test_disk_that_fills_answers_503_and_loses_nothing_that_was_acknowledged(
    house: tuple[StormProduct, HostileSender],
) -> None:
    product, sender = house
    assert product.process
    limit_file_size(product.process.pid, (product.folder / "pipeflow.db-wal").stat().st_size + 200_000)
    acknowledged: list[int] = []

    async def fill() -> None:
        for deal in range(1, 200):
            status = await sender._post(sender.titled(deal, "calm " + "x" * 20_000))
            if status == 200:
                acknowledged.append(deal)

    asyncio.run(fill())
    assert sender.answers[503], "the disk never filled"
    assert sender.answers[200] + sender.answers[503] == 199
    limit_file_size(product.process.pid, None)
    sender.deliver("calm", first=1000)
    eventually(lambda: told(product, "end", "calm"), "a run once there is room again")
    wanted = {str(deal) for deal in acknowledged}
    eventually(lambda: wanted <= {line[1] for line in product.journal if line[0] == "end"}, "all that was acknowledged")


def limit_file_size(pid: int, size: int | None) -> None:
    """Make every file that a process writes end at so many bytes, as a full disk does."""
    import resource

    unlimited = resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited if size is None else size, unlimited))


pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks at processes through /proc")
