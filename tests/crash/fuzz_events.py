"""Look, led by coverage, for bodies that reading, naming and building an event cannot stand (`pip install atheris`).

python -m tests.crash.fuzz_events -max_total_time=60
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["pipeflow.events", "pipeflow.version1", "pipeflow.naming", "pipeflow.records"]
):
    from tests.core.test_fuzz import as_an_engine_does
    from tests.web.test_hostile import BODIES, WHOLE


def main() -> None:
    """Begin with the honest delivery and the strange bodies, and go on from there until told to stop."""
    corpus = Path(tempfile.mkdtemp())
    for number, body in enumerate([WHOLE, *(body for body in BODIES.values() if len(body) < 20_000)]):
        (corpus / str(number)).write_bytes(body)
    atheris.Setup([*sys.argv, "-max_len=4096", str(corpus)], as_an_engine_does)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
