"""Tokens shared by real processes: one refresh at the instant of expiry, and what kill -9 leaves."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

import pytest

from pipeflow.errors import NotConnected
from pipeflow.store.base import Account

from .oauth_world import World, world_at

ROOT = Path(__file__).parent.parent.parent


async def started(world: World, account: Account, task: str, number: int) -> Process:
    """Start a process and wait until it is ready."""
    offset = world.sandbox.clock.seconds() - time.time()
    told = (world.url, world.database_url, str(account.id), str(offset), str(number))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.engine.token_process", task, *told), stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def ended(process: Process) -> list[str]:
    """Let the process go on, and give how each of its calls ended."""
    out, _ = await process.communicate(b"\n")
    return list(json.loads(out)) if out else []


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database of the backend under test."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.mark.parametrize("rotation", [False, True])
async def test_two_hundred_calls_of_four_processes_at_the_instant_of_expiry_make_one_refresh(
    database_url: str, rotation: bool
) -> None:
    async with world_at(database_url) as world:
        account = await world.connect()
        switches = world.sandbox.oauth.switches
        switches.rotation = switches.old_access_dies = switches.parallel_failure = rotation
        switches.delay = 0.2
        world.advance(minutes=60)
        processes = [await started(world, account, "calls", 50) for _ in range(4)]
        results = await asyncio.gather(*map(ended, processes))
        assert Counter(one for result in results for one in result) == {"done": 200}
        assert world.grant(account).refreshes == 1


async def test_calls_whose_token_is_refused_in_four_processes_make_one_refresh(tmp_path: Path) -> None:
    async with world_at(tmp_path / "store.db") as world:
        account = await world.connect()
        processes = [await started(world, account, "calls", 10) for _ in range(4)]
        world.sandbox.oauth.expire_access()
        results = await asyncio.gather(*map(ended, processes))
        assert Counter(one for result in results for one in result) == {"done": 40}
        assert world.grant(account).refreshes == 1


@pytest.mark.parametrize("rotation", [False, True])
async def test_kill_dash_nine_between_answer_and_save_recovers_or_asks_to_reconnect(
    database_url: str, rotation: bool
) -> None:
    async with world_at(database_url, companies=2) as world:
        account, other = await world.connect(), await world.connect(company=1)
        untouched = await world.row(other)
        world.sandbox.oauth.switches.rotation = rotation
        world.advance(minutes=61)
        victim = await started(world, account, "dies", 1)
        assert await ended(victim) == []
        assert victim.returncode == -signal.SIGKILL
        assert world.grant(account).refreshes == 1
        world.advance(minutes=1)  # the lease of the dead ends
        client = world.accounts.client_for(account)
        if not rotation:
            await client.users.get_current_user()
            assert (await world.row(account)).status == "connected"
        else:
            for _ in range(5):
                with pytest.raises(NotConnected):
                    await client.users.get_current_user()
            assert (await world.row(account)).status == "needs_reconnect"
            assert len(world.sandbox.journal.listed(path="/oauth/token")) == 4  # two codes, the dead one's, one of ours
            await world.connect()
            await client.users.get_current_user()
        assert await world.row(other) == untouched
