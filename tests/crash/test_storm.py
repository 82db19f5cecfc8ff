"""The short form of the storm: a few ends at random instants. The long form is `python -m tests.crash.storm`."""

from __future__ import annotations

from pathlib import Path

from tests.crash.storm import storm


async def test_no_acknowledged_event_is_lost_doubled_or_out_of_order_through_kills(tmp_path: Path) -> None:
    found = await storm(tmp_path, kills=6, deliveries=1200, seed=3)
    assert found.acknowledged == 1200
    assert found.trouble() == {}
