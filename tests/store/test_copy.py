"""A store moves from SQLite into PostgreSQL whole, and goes on there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeflow.errors import StoreError
from pipeflow.store import open_store
from pipeflow.store.base import ALL, Account, EventFilter, Pause, RunFilter, Store, Write
from pipeflow.store.copy import copy_store
from tests.store.builders import COMPANY, NOW, add, closing, dispatch, failing, finish, make_run, new_event, state


def silent(_: str) -> None: ...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old.db"


async def fill(store: Store) -> None:
    """Put one of everything in."""
    await store.save_account(Account(0, COMPANY, 7, "oauth", acting=True, credentials=b"\x00sealed", connected_at=NOW))
    done = await make_run(store, 1, raw=bytes(range(256)))
    await finish(store, done)
    waiting = await make_run(store, 2)
    assert await store.open_attempt(waiting.id, ALL, NOW) is not None
    await store.close_attempt(failing(waiting, NOW + 60), ALL, NOW)
    begun = await make_run(store, 3)
    assert await store.open_attempt(begun.id, ALL, NOW) is not None
    await make_run(store, 3)
    await store.replay([done.id], NOW)
    await add(store, new_event("nul\u0000"))
    await store.save_records([state(1, 5.5)])
    await store.remember(done.id, "note", b'{"id": 1}', NOW)
    await store.add_write(
        Write(0, done.id, "a.one", ("a.one",), 1, COMPANY, "deal", "1", "v2.x", {"title": "A"}, None, NOW)
    )
    await store.save_watermark(COMPANY, "deal", 12.25, NOW)
    await store.save_fields(COMPANY, "deal", b"[]", NOW)
    await store.pause(Pause("handler", handler="b.two", reason="why", paused_at=NOW))


async def told(store: Store) -> list[object]:
    """Give everything that a store tells."""
    runs = await store.runs(RunFilter(limit=0, include_skipped=True))
    return [
        [event._replace(record_id=event.record_id[:3]) for event in await store.events(EventFilter(limit=0))],
        runs,
        [await store.attempts(run.id) for run in runs],
        await store.accounts(),
        await store.writes(),
        await store.watermarks(COMPANY),
        await store.fields(COMPANY),
        await store.pauses(),
        await store.counts(),
        await store.once(runs[-1].id, "note"),
        await store.records([(COMPANY, "deal", "1")]),
    ]


async def both(file: Path, url: str, do: Callable[[Store], object]) -> None:
    old = open_store(f"sqlite:///{file}")
    await old.open(owner=True)
    await do(old)  # type: ignore[misc]
    await old.close()
    await copy_store(file, url, silent)


async def test_copy_tells_what_the_original_tells(file: Path, postgres_url: str) -> None:
    old, new = open_store(f"sqlite:///{file}"), open_store(postgres_url)
    await old.open(owner=True)
    await fill(old)
    before = await told(old)
    await old.close()
    copied = await copy_store(file, postgres_url, silent)
    assert all(one.there == one.here for one in copied)
    assert sum(one.here for one in copied) > 20
    await new.open()
    assert await told(new) == before
    await new.close()


async def test_copy_goes_on_where_the_original_stopped(file: Path, postgres_url: str) -> None:
    await both(file, postgres_url, fill)
    new = open_store(postgres_url)
    await new.open()
    newest = (await new.runs(RunFilter(limit=1)))[0].id
    (suspect,) = await new.recover(ALL, NOW)
    assert suspect.record_id == "3"
    following = await finish(new, suspect)
    assert following is not None
    (run,) = await dispatch(new, await add(new, new_event(9)))
    assert run.id > newest
    await new.close()


async def test_copy_is_repeated_until_it_is_worked(file: Path, postgres_url: str) -> None:
    await both(file, postgres_url, fill)

    async def more(store: Store) -> None:
        await make_run(store, 5)

    await both(file, postgres_url, more)
    new = open_store(postgres_url)
    await new.open()
    assert len(await new.runs(RunFilter(record_id="5"))) == 1
    await add(new, new_event(6))
    with pytest.raises(StoreError, match="does not know"):
        await copy_store(file, postgres_url, silent)
    await new.close()


async def test_file_that_somebody_works_is_not_copied(file: Path, postgres_url: str) -> None:
    old = open_store(f"sqlite:///{file}")
    await old.open(owner=True)
    run = await make_run(old)
    with pytest.raises(StoreError, match="Stop that process first"):
        await copy_store(file, postgres_url, silent)
    assert await old.open_attempt(run.id, ALL, NOW) is not None
    await old.close_attempt(closing(run), ALL, NOW)
    await old.close()
