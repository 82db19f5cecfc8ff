"""Ten workers on one PostgreSQL and a job every second, on a clock that runs faster: each tick becomes exactly one run.

    python -m tests.crash.ticks --workers 10 --seconds 3600 --speed 10

Every process is `pipeflow run --only worker` as users have it, under libfaketime (Debian's package `faketime`), which
lets its clocks run so many times as fast.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.crash.fleet import Machine
from tests.postgres import Postgres
from tests.scenarios.product import FakePipedrive, eventually

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
RECIPE = '''
from pipeflow import every


@every("1 second")
async def tick() -> None:
    """Do nothing, often."""
'''


@contextmanager
def working(folder: Path, url: str, number: int, speed: int) -> Iterator[None]:
    """Run so many workers, whose fast clocks are as far apart as their starts."""
    recipes = folder / "recipes"
    recipes.mkdir()
    (recipes / "clock.py").write_text(RECIPE)
    fake = FakePipedrive(folder)
    fake.start()
    fast = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"+0 x{speed}"}
    machines = [Machine(folder / f"worker {n}", fake, recipes, more={"DATABASE_URL": url}) for n in range(number)]
    for machine in machines:
        machine.folder.mkdir()
    assert machines[0].command("migrate").returncode == 0
    for machine in machines:
        machine.more |= fast
        machine.begin()
    try:
        yield
    finally:
        for machine in machines:
            machine.kill()
        fake.stop()


def ask(url: str, question: str) -> list[tuple[object, ...]]:
    """Ask the database."""
    with psycopg.connect(url) as db:
        return db.execute(question.encode()).fetchall()


def report(url: str) -> bool:
    """Print what became of the ticks; True where one has not exactly one run, or is missing."""
    rows = ask(
        url,
        "SELECT e.occurred_at, count(r.id) FROM pipeflow.events AS e LEFT JOIN pipeflow.runs AS r ON r.event_id = e.id "
        "WHERE e.source = 'tick' AND e.status <> 'stored' GROUP BY e.id ORDER BY e.occurred_at",
    )
    moments = [float(str(moment)) for moment, _ in rows]
    twice = len(moments) - len(set(moments))
    missing = round(moments[-1] - moments[0]) + 1 - len(set(moments)) if moments else 0
    wrong = Counter(number for _, number in rows if number != 1)
    statuses = dict(ask(url, "SELECT status, count(*) FROM pipeflow.runs GROUP BY status"))  # type: ignore[arg-type]
    print(
        f"{len(rows):,} ticks, {missing} missing, {twice} twice, {dict(wrong)} with another number of runs; {statuses}"
    )
    return bool(twice or wrong or not rows)


def main() -> None:
    """Let the clock run, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--speed", type=int, default=10)
    asked = parser.parse_args()
    if LIBRARY is None:
        sys.exit("libfaketime is not here: apt-get install faketime")
    server = Postgres()
    try:
        url = server.new_database()
        with tempfile.TemporaryDirectory() as folder, working(Path(folder), url, asked.workers, asked.speed):
            wanted = "SELECT count(*) FROM pipeflow.events WHERE source = 'tick'"
            eventually(lambda: int(str(ask(url, wanted)[0][0])) >= asked.seconds, "the ticks", asked.seconds)
        sys.exit(report(url))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
