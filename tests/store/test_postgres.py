"""What PostgreSQL adds to the contract: epochs, several workers, migrations beside an older release, trouble."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from pipeflow.errors import SchemaOutdated, StoreUnavailable
from pipeflow.store import open_store
from pipeflow.store.base import ALL, PARTITIONS, RunFilter, Store
from pipeflow.store.postgres import PostgresStore
from tests.store.builders import (
    NOW,
    add,
    closing,
    dispatch,
    finish,
    make_run,
    new_event,
    postgres_only,
)

pytestmark = postgres_only


def execute(database_url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url, autocommit=True) as db:
        done = db.execute(sql.encode())
        return done.fetchall() if done.description else []


def raise_epochs(database_url: str) -> dict[int, int]:
    """Take all partitions, as another worker does."""
    execute(database_url, "UPDATE pipeflow.partitions SET epoch = epoch + 1")
    return dict.fromkeys(range(PARTITIONS), 1)


async def test_worker_whose_partition_was_taken_can_write_nothing(store: Store, database_url: str) -> None:
    first, second = await make_run(store, 1), await make_run(store, 2)
    event_id = await add(store, new_event(3))
    assert await store.open_attempt(first.id, ALL, NOW) is not None
    raise_epochs(database_url)
    assert await store.close_attempt(closing(first), ALL, NOW) is None
    assert await store.open_attempt(second.id, ALL, NOW) is None
    assert await dispatch(store, event_id) == []
    assert await store.park_runs([second.id], ALL, NOW, reason="fuse") == []
    assert await store.recover(ALL, NOW) == []
    assert {run.id: run.status for run in await store.runs(RunFilter())} == {first.id: "running", second.id: "pending"}


async def test_next_owner_takes_up_what_the_last_one_left(store: Store, other: Store, database_url: str) -> None:
    run = await make_run(store)
    assert await store.open_attempt(run.id, ALL, NOW) is not None
    owned = raise_epochs(database_url)
    assert [one.id for one in await other.recover(owned, NOW)] == [run.id]
    assert await other.open_attempt(run.id, owned, NOW, alone=True) is not None
    await other.close_attempt(closing(run), owned, NOW)
    assert [one.outcome for one in await other.attempts(run.id)] == ["interrupted", "succeeded"]


async def test_replay_beside_the_end_of_its_lane_is_never_forgotten(store: Store, other: Store) -> None:
    for number in range(30):
        run = await make_run(store, number)
        assert await store.open_attempt(run.id, ALL, NOW) is not None
        _, (again,) = await asyncio.gather(store.close_attempt(closing(run), ALL, NOW), other.replay([run.id], NOW))
        assert [one.id for one in await store.due_runs(ALL, NOW, limit=10)] == [again.id]
        await finish(store, again)


async def test_release_before_reads_a_schema_that_says_so(store: Store, database_url: str) -> None:
    execute(database_url, "INSERT INTO pipeflow.migrations VALUES (9999, 1)")
    older = open_store(database_url)
    await older.open()
    await add(older, new_event())
    await older.close()
    execute(database_url, "UPDATE pipeflow.migrations SET readable_from = 9999 WHERE number = 9999")
    with pytest.raises(SchemaOutdated, match="newer release"):
        await older.open()


async def test_store_is_there_again_when_its_connections_were_cut(store: Store, database_url: str) -> None:
    await add(store, new_event())
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pipeflow'"
    execute(database_url, cut)
    with pytest.raises(StoreUnavailable, match="asked again by itself"):
        await store.counts()
    async with asyncio.timeout(10):
        while True:
            try:
                await add(store, new_event())
                break
            except StoreUnavailable:
                await asyncio.sleep(0.02)
    assert (await store.counts())["events"] == 2


async def test_five_connections_are_enough_for_everything_at_once(store: Store, database_url: str) -> None:
    store.on_change(lambda: None)
    await asyncio.gather(*(make_run(store, number) for number in range(50)), *(store.counts() for _ in range(50)))
    ((number,),) = execute(database_url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pipeflow'")
    assert int(str(number)) <= 4


async def test_process_that_freezes_in_a_transaction_keeps_others_waiting_ten_seconds_at_most(store: Store) -> None:
    assert isinstance(store, PostgresStore)
    async with store.database.connection() as db:
        cursor = await db.execute("SHOW idle_in_transaction_session_timeout")
        assert await cursor.fetchone() == ("10s",)
