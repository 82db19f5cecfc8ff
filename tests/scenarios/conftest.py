"""A running product for each scenario, and Pipedrive's official Node client."""

from __future__ import annotations

import shutil
import subprocess
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


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the client with npm and give the folder; skips where there is no Node.js or no registry."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("Node.js is not on this machine")
    folder = tmp_path_factory.mktemp("node")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "pipedrive@33.7.0"]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm reached no registry within 90 s")
    if done.returncode:
        pytest.skip(f"npm could not install the official client: {done.stderr[-200:]}")
    return folder
