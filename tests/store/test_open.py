"""Opening and closing: by URL, one owner, other processes beside it, files of others."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from pipeflow.errors import ConfigError, SchemaOutdated, StoreError, StoreUnavailable
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import ALL, RunFilter, Store
from tests.store.builders import NOW, add, closing, dispatch, finish, make_run, new_event, sqlite_only


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:///folder/", "mysql://u:secret@h/d", "x.db"]
)
def test_url_that_names_no_store_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url)
    assert "sqlite:///pipeflow.db" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_relative_url_is_relative_to_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.db")
    await store.open()
    await store.close()
    assert (tmp_path / "here.db").exists()


async def test_store_stays_where_it_is_though_somebody_changes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.db")
    await store.open(owner=True)
    monkeypatch.chdir("/")
    try:
        await store.save_watermark(1, "deal", 5.0, 5.0)
        assert await store.watermarks(1) == {"deal": 5.0}
    finally:
        await store.close()


async def test_url_is_read_as_the_settings_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///my%20events.db", "sqlite:///my other events.db"):
        store = open_store(url)
        await store.open()
        await store.close()
        path = Settings.load(database_url=url).sqlite_path
        assert path is not None
        assert path.exists()


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        await open_store(f"sqlite:///{tmp_path}/nowhere/x.db").open(owner=True)


async def test_store_remembers_when_it_is_opened_again(store: Store, database_url: str) -> None:
    run = await make_run(store)
    await store.close()
    await store.open(owner=True)
    assert await store.runs(RunFilter()) == [run]


async def test_closed_store_says_so(store: Store) -> None:
    await store.close()
    for call in (
        lambda: store.counts(),
        lambda: store.add_events([new_event()]),
        lambda: store.due_runs(ALL, NOW, limit=1),
        lambda: store.open_attempt(1, ALL, NOW),
    ):
        with pytest.raises(StoreUnavailable, match="not open"):
            await call()
    await store.close()


async def test_closing_commits_what_is_under_way(store: Store) -> None:
    adding = [asyncio.ensure_future(store.add_events([new_event(number)])) for number in range(100)]
    await asyncio.sleep(0)
    await store.close()
    assert None not in [event_id for (event_id,) in await asyncio.gather(*adding)]
    await store.open()
    assert (await store.counts())["events"] == 100


@sqlite_only
async def test_second_owner_is_told_who_the_first_is(store: Store, database_url: str) -> None:
    second = open_store(database_url)
    with pytest.raises(StoreError, match=rf"process {os.getpid()} on .* since .*Stop that process") as refused:
        await second.open(owner=True)
    assert not isinstance(refused.value, StoreUnavailable)
    await second.open()
    await second.close()
    await store.close()
    await second.open(owner=True)
    await second.close()


@sqlite_only
async def test_only_the_owner_works_runs(store: Store, other: Store) -> None:
    run = await make_run(store)
    for call in (
        other.dispatch([], ALL, NOW),
        other.open_attempt(run.id, ALL, NOW),
        other.close_attempt(closing(run), ALL, NOW),
        other.recover(ALL, NOW),
    ):
        with pytest.raises(StoreError, match="Only the owner"):
            await call


async def test_owner_is_told_of_what_another_adds_and_replays(store: Store, other: Store) -> None:
    told = asyncio.Event()
    store.on_change(told.set)
    event_id = await add(other, new_event())
    await asyncio.wait_for(told.wait(), 5)
    (run,) = await dispatch(store, event_id)
    await finish(store, run)
    told.clear()
    (again,) = await other.replay([run.id], NOW)
    await asyncio.wait_for(told.wait(), 5)
    assert await store.due_runs(ALL, NOW, limit=10) == [again]


async def test_everybody_adds_at_the_same_time(store: Store, other: Store) -> None:
    events = [new_event(number) for number in range(200)]
    answers = await asyncio.gather(*(one.add_events([event]) for event in events for one in (store, other)))
    assert sum(event_id is not None for (event_id,) in answers) == 200
    assert (await other.counts())["events"] == 200


async def test_schema_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    await store.open()
    await store.close()
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("PRAGMA user_version = 9999")
    with pytest.raises(SchemaOutdated, match="newer release"):
        await store.open()


async def test_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "theirs.db") as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="another program"):
        await open_store(f"sqlite:///{tmp_path}/theirs.db").open(owner=True)
    (tmp_path / "text.db").write_text("This is no database, and it is longer than a header of a hundred bytes. " * 3)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await open_store(f"sqlite:///{tmp_path}/text.db").open(owner=True)


async def test_database_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match=r"^The database sales at 127\.0\.0\.1 does not answer") as refused:
        await open_store("postgresql://me:secret@127.0.0.1:1/sales").open()
    assert "secret" not in str(refused.value)


async def test_database_that_does_not_exist_is_a_mistake_and_not_waited_for(postgres_url: str) -> None:
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        await open_store(postgres_url.replace(name, "nowhere")).open()
