"""A lease makes one process of many do something."""

from __future__ import annotations

import asyncio

from pipeflow.store.base import Store
from tests.store.builders import NOW


async def test_one_of_many_takes_a_lease(store: Store, other: Store) -> None:
    taken = await asyncio.gather(
        *(one.take_lease("refresh:1", f"holder {number}", NOW, 30) for number, one in enumerate((store, other) * 5))
    )
    assert taken.count(True) == 1


async def test_lease_of_another_name_is_free(store: Store) -> None:
    assert await store.take_lease("refresh:1", "a", NOW, 30)
    assert await store.take_lease("refresh:2", "b", NOW, 30)


async def test_lease_ends_by_itself(store: Store, other: Store) -> None:
    assert await store.take_lease("refresh:1", "a", NOW, 30)
    assert not await other.take_lease("refresh:1", "b", NOW + 29.9, 30)
    assert await other.take_lease("refresh:1", "b", NOW + 30, 30)
    assert not await store.take_lease("refresh:1", "a", NOW + 31, 30)


async def test_holder_prolongs_its_lease(store: Store, other: Store) -> None:
    assert await store.take_lease("refresh:1", "a", NOW, 30)
    assert await store.take_lease("refresh:1", "a", NOW + 20, 30)
    assert not await other.take_lease("refresh:1", "b", NOW + 40, 30)


async def test_lease_is_released_by_its_holder_alone(store: Store, other: Store) -> None:
    assert await store.take_lease("refresh:1", "a", NOW, 30)
    await other.release_lease("refresh:1", "b")
    assert not await other.take_lease("refresh:1", "b", NOW + 1, 30)
    await store.release_lease("refresh:1", "a")
    assert await other.take_lease("refresh:1", "b", NOW + 2, 30)
