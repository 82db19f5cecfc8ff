"""Bodies travel packed, and come back as they were."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

import pytest

from pipeflow.store import bodies, open_store, sqlite_migrate
from pipeflow.store.base import ALL, EventFilter, Store
from tests.store.builders import add, dispatch, new_event, sqlite_only


def test_a_pack_gives_each_body_back() -> None:
    raws = [b"", b"\x00\xff", b"x" * 1000, b"{}"]
    packed, names = bodies.pack(raws), bodies.entries([7, 8, 9, 11], raws)
    assert dict(bodies.unpack(7, names, packed, {7, 8, 9, 11})) == dict(zip([7, 8, 9, 11], raws, strict=True))
    assert dict(bodies.unpack(7, names, packed, {9})) == {9: raws[2]}


def test_a_pack_that_an_earlier_release_made_is_read() -> None:
    raws = [b'{"data": 1}', b"x" * 1000]
    earlier = zlib.compress(b"".join(raws), 1)
    assert dict(bodies.unpack(7, bodies.entries([7, 8], raws), earlier, {7, 8})) == {7: raws[0], 8: raws[1]}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([5], [range(0, 1)]),
        ([5, 0, 5], [range(0, 3)]),
        ([bodies.MOST_BYTES + 1, 1], [range(0, 1), range(1, 2)]),
        ([bodies.MOST_BYTES, 1, bodies.MOST_BYTES], [range(0, 1), range(1, 2), range(2, 3)]),
    ],
)
def test_bodies_share_a_pack_while_they_fit(sizes: list[int], expected: list[range]) -> None:
    assert list(bodies.groups(sizes)) == expected


async def test_events_stored_together_keep_their_own_bodies(store: Store) -> None:
    events = [new_event(number, raw=b"%d " % number * (number * 97)) for number in range(600)]
    ids = await store.add_events(events)
    wanted = (ids[0], ids[299], ids[599])
    found = await store.events(EventFilter(ids=tuple(one for one in wanted if one), limit=3))
    assert {one.id: one.raw for one in found} == {ids[n]: events[n].raw for n in (0, 299, 599)}
    waiting = await store.undispatched(ALL, limit=1000)
    assert [one.raw for one in waiting] == [one.raw for one in events][: len(waiting)]


async def test_known_events_among_new_ones_leave_the_others_their_bodies(store: Store) -> None:
    known = new_event(raw=b"known")
    await add(store, known)
    first, none, second = await store.add_events([new_event(raw=b"first"), known, new_event(raw=b"second")])
    assert none is None
    found = await store.events(EventFilter(limit=10))
    assert {one.id: one.raw for one in found if one.id in (first, second)} == {first: b"first", second: b"second"}
    assert (await store.counts())["events"] == 3


async def test_retention_spares_the_bodies_of_neighbours(store: Store) -> None:
    old, young = await store.add_events([new_event(raw=b"old", received_at=100.0), new_event(raw=b"young")])
    assert old is not None
    assert young is not None
    await dispatch(store, old, young, handlers=())
    assert await store.purge(200.0, limit=10) == 1
    assert [(one.id, one.raw) for one in await store.events(EventFilter(limit=10))] == [(young, b"young")]


@sqlite_only
async def test_a_pack_goes_with_the_last_of_its_events_and_none_is_made_for_known_ones(
    store: Store, tmp_path: Path
) -> None:
    events = [new_event(raw=b"one", received_at=100.0), new_event(raw=b"two", received_at=101.0)]
    ids = await store.add_events(events)
    assert await store.add_events(events) == [None, None]
    await dispatch(store, *(one for one in ids if one), handlers=())
    with sqlite3.connect(tmp_path / "store.db") as db:
        assert db.execute("SELECT count(*) FROM bodies").fetchone() == (1,)
        await store.purge(101.0, limit=10)
        assert db.execute("SELECT count(*) FROM bodies").fetchone() == (1,)
        await store.purge(200.0, limit=10)
        assert db.execute("SELECT count(*) FROM bodies").fetchone() == (0,)


async def test_bodies_stored_plain_by_an_earlier_release_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path, isolation_level=None)
    for number, sql in sqlite_migrate.migrations().items():
        if number < 5:
            old.executescript(sql)
    old.execute(f"PRAGMA application_id = {sqlite_migrate.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 4")
    columns = (
        "id, digest, company, key, name, kind, record_id, action, source, status, partition, bulk, received_at, raw"
    )
    old.execute(
        f"INSERT INTO incoming ({columns}) VALUES (1, x'00', 1, 'k', 'deal.added', 'deal', '1', 'added', 'delivery', "
        "'stored', 1, 0, 100.0, CAST('plain' AS BLOB))"
    )
    old.close()
    store = open_store(f"sqlite:///{path}")
    await store.open(owner=True)
    try:
        await add(store, new_event(raw=b"packed"))
        assert [one.raw for one in await store.undispatched(ALL, limit=10)] == [b"plain", b"packed"]
        await dispatch(store, 1, handlers=())
        assert await store.purge(200.0, limit=10) == 1
        assert [one.raw for one in await store.events(EventFilter(limit=10))] == [b"packed"]
    finally:
        await store.close()
