"""Packs of bodies in PostgreSQL: what is told of them, what an older schema left, and what becomes of them."""

from __future__ import annotations

import asyncio
import os

import psycopg
import pytest

from pipeflow.store import bodies, open_store
from pipeflow.store.base import ALL, EventFilter, NewEvent, Store
from pipeflow.store.postgres_migrate import migrations
from tests.store.builders import NOW, add, dispatch, new_event, postgres_only

pytestmark = postgres_only


def packs(database_url: str) -> int:
    with psycopg.connect(database_url) as db:
        ((number,),) = db.execute("SELECT count(*) FROM pipeflow.bodies").fetchall()
        return int(number)


async def finish_all(store: Store, events: list[NewEvent]) -> None:
    ids = await store.add_events(events)
    await dispatch(store, *(one for one in ids if one is not None), handlers=())


async def test_a_pack_goes_with_the_last_of_its_events_and_none_is_made_for_known_ones(
    store: Store, database_url: str
) -> None:
    events = [new_event(raw=b"one", received_at=100.0), new_event(raw=b"two", received_at=101.0)]
    await finish_all(store, events)
    assert await store.add_events(events) == [None, None]
    assert packs(database_url) == 1
    await store.purge(101.0, limit=10)
    assert packs(database_url) == 1
    await store.purge(200.0, limit=10)
    assert packs(database_url) == 0


async def test_a_pack_goes_also_where_two_processes_purge_its_events_at_once(
    store: Store, other: Store, database_url: str
) -> None:
    for _ in range(10):
        await finish_all(store, [new_event(number, received_at=100.0) for number in range(8)])
        await asyncio.gather(*(one.purge(200.0, limit=limit) for one, limit in ((store, 4), (other, 8))))
        await store.purge(200.0, limit=10)
        assert packs(database_url) == 0


async def test_events_too_large_for_one_pack_come_back_in_order(store: Store, database_url: str) -> None:
    events = [new_event(number, raw=os.urandom(bodies.MOST_BYTES // 3)) for number in range(8)]
    ids = await store.add_events(events)
    assert ids == sorted(one for one in ids if one is not None)
    assert packs(database_url) == 3
    assert [one.raw for one in await store.undispatched(ALL, limit=100)] == [event.raw for event in events]


async def test_one_event_that_comes_twice_in_a_commit_is_stored_once(store: Store) -> None:
    event = new_event(raw=b"body")
    told = await asyncio.gather(*(store.add_events([event]) for _ in range(5)), store.add_events([event, event]))
    assert sum(one is not None for ids in told for one in ids) == 1
    assert [one.raw for one in await store.events(EventFilter(limit=10))] == [b"body"]


async def test_every_side_of_an_event_comes_back(store: Store) -> None:
    bare = new_event(
        delivery_id=None, occurred_at=None, update_time=None, actor_id=None, bulk=True, name="\0ä\U0001f600", raw=b""
    )
    await store.add_events([bare, new_event()])
    _, found = await store.events(EventFilter(limit=10))
    expected = bare._replace(name="\ufffdä\U0001f600")
    assert {name: getattr(found, name) for name in NewEvent._fields} == expected._asdict()


@pytest.mark.parametrize("status", ["stored", "unreadable", "dispatched", "unmatched"])
async def test_events_are_listed_by_status(store: Store, status: str) -> None:
    done, unmatched = await add(store, new_event(1)), await add(store, new_event(2))
    await dispatch(store, done)
    await dispatch(store, unmatched, handlers=())
    waiting, unreadable = await store.add_events([new_event(3), new_event(4, status="unreadable")])
    ids = {"stored": waiting, "unreadable": unreadable, "dispatched": done, "unmatched": unmatched}
    assert [one.id for one in await store.events(EventFilter(status=status, limit=10))] == [ids[status]]


async def test_bodies_stored_plain_by_an_earlier_release_are_read(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as old:
        old.execute("CREATE SCHEMA pipeflow")
        old.execute(migrations()[1].encode())
        old.execute("CREATE TABLE pipeflow.migrations (number integer PRIMARY KEY, readable_from integer NOT NULL)")
        old.execute("INSERT INTO pipeflow.migrations VALUES (1, 1)")
        old.execute(
            "INSERT INTO pipeflow.events (id, digest, company, key, name, kind, record_id, action, source, status, "
            "partition, bulk, size, received_at) SELECT nextval('pipeflow.event_ids'), gen_random_uuid(), 1, 'k', "
            "'deal.added', 'deal', '1', 'added', 'delivery', 'stored', 1, false, 5, 100"
        )
        old.execute("INSERT INTO pipeflow.bodies (event_id, raw) VALUES (1, 'plain')")
    store = open_store(database_url)
    await store.open()
    try:
        await add(store, new_event(raw=b"packed", received_at=NOW))
        assert [one.raw for one in await store.undispatched(ALL, limit=10)] == [b"plain", b"packed"]
        await dispatch(store, 1, handlers=())
        assert await store.purge(200.0, limit=10) == 1
        assert [one.raw for one in await store.events(EventFilter(limit=10))] == [b"packed"]
        assert packs(database_url) == 1
    finally:
        await store.close()
