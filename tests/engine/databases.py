"""On which database a test is: `url_of` gives a file in its folder, or a PostgreSQL database where the test wants one.

A module of tests that all of them are for says `pytestmark = pytest.mark.usefixtures("each_database")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres import Postgres


class Databases:
    """The databases of one test, each by the path at which a file would be."""

    def __init__(self, new: Callable[[], str] | None) -> None:
        self.urls: dict[Path, str] = {}
        self._new = new

    def url(self, path: Path) -> str:
        """Give the same URL for the same path."""
        if path not in self.urls:
            self.urls[path] = self._new() if self._new else f"sqlite:///{path}"
        return self.urls[path]


_now = Databases(None)


def url_of(path: Path) -> str:
    """Name the database of this test that a file at `path` stands for."""
    return _now.url(path)


@pytest.fixture(params=["sqlite", "postgres"])
def each_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on SQLite, and again on PostgreSQL."""
    global _now
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
    _now = Databases(server.new_database if server else None)
    yield request.param
    made, _now = _now, Databases(None)
    for url in made.urls.values():
        if server:
            server.drop_database(url)
