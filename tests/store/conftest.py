"""The `store` fixture: every test that takes it is a promise of the contract and runs against each backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pipeflow.store import open_store
from pipeflow.store.base import Store

Reopen = Callable[..., Awaitable[Store]]


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database of the backend under test."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """Open an empty store as its owner."""
    opened = open_store(database_url)
    await opened.open(owner=True)
    yield opened
    await opened.close()


@pytest.fixture
async def other(store: Store, database_url: str) -> AsyncIterator[Store]:
    """Open the same store a second time, as another process would: not as its owner."""
    opened = open_store(database_url)
    await opened.open()
    yield opened
    await opened.close()
