"""The watch over accounts: what changed is followed once, and what could not follow gets another chance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeflow.engine.roster import Roster
from pipeflow.errors import ConfigError
from pipeflow.store.connect import disconnect

from .oauth_world import World, world_at


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_at(tmp_path / "store.db", companies=3) as made:
        yield made


async def test_each_change_is_followed_once(world: World) -> None:
    known = await world.connect(company=0)
    roster = Roster(world.store, world.accounts)
    followed: list[int] = []

    async def follow(company: int) -> None:
        followed.append(company)

    roster.follow.append(follow)
    await roster.know()
    assert await roster.look() == set()
    new = await world.connect(company=1)
    await roster.look()
    await roster.look()
    assert followed == [new.company]
    await disconnect(world.store, known.id, "uninstalled", world.sandbox.clock.seconds())
    await roster.look()
    assert followed == [new.company, known.company]


async def test_a_token_that_is_refreshed_changes_nothing(world: World) -> None:
    await world.connect()
    roster = Roster(world.store, world.accounts)
    await roster.know()
    world.advance(minutes=50)
    await world.tokens.refresh_ending()
    assert await roster.look() == set()


@pytest.mark.parametrize("error", [ConfigError("no"), KeyError("a mistake")])
async def test_whoever_cannot_follow_keeps_no_other_from_it(world: World, error: Exception) -> None:
    roster = Roster(world.store, world.accounts)
    followed: list[int] = []

    async def stumble(company: int) -> None:
        raise error

    async def follow(company: int) -> None:
        followed.append(company)

    roster.follow += [stumble, follow]
    await roster.know()
    first, second = await world.connect(company=0), await world.connect(company=1)
    await roster.look()
    await roster.look()
    assert sorted(followed) == sorted([first.company, second.company])
