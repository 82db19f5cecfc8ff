"""A running product for each scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.product import FakePipedrive, Product


@pytest.fixture
def pipedrive(tmp_path: Path) -> Iterator[FakePipedrive]:
    fake = FakePipedrive(tmp_path)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def product(tmp_path: Path, pipedrive: FakePipedrive) -> Iterator[Product]:
    running = Product(tmp_path, pipedrive)
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.kill()
