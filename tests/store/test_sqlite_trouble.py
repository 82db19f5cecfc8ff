"""What goes wrong with a file: one bad operation fails alone, trouble changes nothing, and all goes on after it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pipeflow.errors import StoreError, StoreUnavailable
from pipeflow.store.base import ALL, EventFilter, RunFilter
from pipeflow.store.sqlite import SQLiteStore
from tests.store.builders import COMPANY, NOW, add, make_run, new_event


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    opened = SQLiteStore(tmp_path / "store.db")
    await opened.open(owner=True)
    yield opened
    await opened.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def add_until_refused(store: SQLiteStore, kept: list[int]) -> None:
    """Add events, noting their ids in `kept`, for as long as the store takes them (but not for ever)."""
    async with asyncio.timeout(10):
        while True:
            kept.append(await add(store, new_event(raw=bytes(3_000))))


async def test_bad_operation_fails_alone_among_those_committed_with_it(store: SQLiteStore) -> None:
    good = [store.add_events([new_event(number)]) for number in range(20)]
    bad = [
        store.add_events([new_event(record_id=None)]),
        store.add_events([new_event(actor_id="\ud800")]),
        store.add_events([new_event(), new_event(company=2**70)]),
    ]
    more = [store.save_watermark(COMPANY, "deal", 5.0, NOW), store.add_events([new_event(99)])]
    answers = await asyncio.gather(*good, *bad, *more, return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(failed) == 3
    for error in failed:
        assert isinstance(error, StoreError)
        assert not isinstance(error, StoreUnavailable)
    assert (await store.counts())["events"] == 21
    assert await store.watermarks(COMPANY) == {"deal": 5.0}


async def test_full_disk_loses_nothing_and_is_forgotten_once_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    store = SQLiteStore(small_disk / "store.db")
    await store.open(owner=True)
    kept: list[int] = []
    with pytest.raises(StoreUnavailable, match=r"full disk .* nothing was changed"):
        await add_until_refused(store, kept)
    assert kept
    with pytest.raises(StoreUnavailable):
        await store.add_events([new_event(number, raw=bytes(3_000)) for number in range(100)])
    assert [event.id for event in await store.events(EventFilter(limit=0))] == kept[::-1]
    ballast.unlink()
    kept.append(await add(store, new_event()))
    await store.close()
    await store.open(owner=True)
    assert [event.id for event in await store.events(EventFilter(limit=0))] == kept[::-1]
    await store.close()


async def test_locked_database_is_unavailable_until_it_is_free(store: SQLiteStore, tmp_path: Path) -> None:
    run = await make_run(store)
    with sqlite3.connect(tmp_path / "store.db", isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.open_attempt(run.id, ALL, NOW)
        assert await store.runs(RunFilter()) == [run]
        waiting = asyncio.ensure_future(store.open_attempt(run.id, ALL, NOW))
        await asyncio.sleep(0)
        holder.execute("COMMIT")
    assert await waiting is not None


async def test_file_that_was_taken_away_is_missed_and_not_made_anew(store: SQLiteStore, tmp_path: Path) -> None:
    await add(store, new_event())
    (tmp_path / "store.db").rename(tmp_path / "away.db")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await add_until_refused(store, [])
    with pytest.raises(StoreUnavailable):
        await add(store, new_event())
    assert not (tmp_path / "store.db").exists()
    (tmp_path / "away.db").rename(tmp_path / "store.db")
    known = (await store.counts())["events"]
    await add(store, new_event())
    assert (await store.counts())["events"] == known + 1


async def test_read_only_folder_is_named_when_opening(small_disk: Path) -> None:
    store = SQLiteStore(small_disk / "store.db")
    await store.open()
    await store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for owner in (True, False):
        with pytest.raises(StoreUnavailable, match=str(small_disk)):
            await store.open(owner=owner)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    await store.open(owner=True)
    await add(store, new_event())
    await store.close()


async def test_lists_and_reads_go_on_while_many_are_stored(store: SQLiteStore) -> None:
    adding = [asyncio.ensure_future(store.add_events([new_event(number)])) for number in range(500)]
    seen = [len(await store.events(EventFilter(limit=0))) for _ in range(5)]
    await asyncio.gather(*adding)
    assert seen == sorted(seen)
    assert (await store.counts())["events"] == 500
