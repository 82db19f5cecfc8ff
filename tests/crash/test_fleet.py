"""The short form of the storm over several machines. The long form is `python -m tests.crash.fleet`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.fleet import storm_over_fleet

pytestmark = pytest.mark.slow


async def test_webs_workers_and_database_may_end_at_any_time_and_nothing_is_lost(tmp_path: Path) -> None:
    found = await storm_over_fleet(tmp_path, kills=6, deliveries=960, outages=1, away=2, seed=5)
    assert found.acknowledged == 960
    assert found.trouble() == {}
