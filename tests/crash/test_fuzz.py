"""The short form of the fuzz. The long form is `python -m tests.crash.fuzz`."""

from __future__ import annotations

from pathlib import Path

from tests.crash.fuzz import hammer


async def test_a_real_process_answers_hostile_deliveries_without_failing_or_growing(tmp_path: Path) -> None:
    found = await hammer(tmp_path, deliveries=3000, seed=5)
    assert found.trouble() == []
    assert set(found.answers) <= {200, 403}
