"""How long a user waits: for the import, for the help, and until `run` is ready.

    python bench/start.py --rounds 7

Each figure is the median of several fresh processes. The import is what `import pipeflow` adds to a bare interpreter;
`ready` is the time from the command to the first 200 of `/readyz`, the start of the sandbox included or not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

RECIPES = Path(__file__).parent.parent / "recipes"
PATIENCE = 30.0


def clean_environment(**more: str) -> dict[str, str]:
    """Give this environment without settings of pipeflow's, and with `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIPEFLOW_", "PIPEDRIVE_", "DATABASE_URL", "PORT"))
    }
    return {**kept, **more}


def timed(*command: str) -> float:
    """Run a command to its end and give the seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=clean_environment())
    return time.perf_counter() - started


def until_ready(folder: Path, *options: str, **environment: str) -> float:
    """Start `run` in a new folder and give the seconds until it says that it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment["PIPEFLOW_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "pipeflow", "run", str(RECIPES), "--port", str(port), *options]
    started = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=clean_environment(**environment))
    try:
        while not is_ready(port):
            if child.poll() is not None or time.perf_counter() - started > PATIENCE:
                sys.exit(f"`run` never became ready (exit code {child.returncode})")
            time.sleep(0.005)
        return time.perf_counter() - started
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(PATIENCE)


def is_ready(port: int) -> bool:
    """Ask `/readyz` once."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """Run a sandbox beside; gives the settings that reach it."""
    command = [sys.executable, "-m", "pipeflow.sandbox"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment())
    try:
        told = json.loads(child.stdout.readline() if child.stdout else b"")
        yield {"PIPEDRIVE_API_URL": told["url"], "PIPEDRIVE_API_TOKEN": told["api_token"]}
    finally:
        child.terminate()
        child.wait(PATIENCE)


def report(what: str, rounds: int, measure: Callable[[], float], less: float = 0.0) -> float:
    """Measure several times and print the median and the range."""
    found = [measure() - less for _ in range(rounds)]
    median = statistics.median(found)
    print(f"{what:<44} {median * 1000:7.0f} ms  (from {min(found) * 1000:.0f} to {max(found) * 1000:.0f})")
    return median


def in_new_folder(**environment: str) -> float:
    """Start `run` where nothing was before."""
    with tempfile.TemporaryDirectory() as folder:
        options = () if environment else ("--sandbox", "--rate", "0")
        return until_ready(Path(folder), *options, **environment)


def main() -> None:
    """Print what a user waits for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    bare = report("bare python", rounds, lambda: timed(sys.executable, "-c", "pass"))
    report("import pipeflow, above that", rounds, lambda: timed(sys.executable, "-c", "import pipeflow"), bare)
    words = "from pipeflow import Event; import pipeflow.records"
    report("with Event and records, above that", rounds, lambda: timed(sys.executable, "-c", words), bare)
    report("pipeflow --help", rounds, lambda: timed(sys.executable, "-m", "pipeflow", "--help"))
    with sandbox() as environment:
        report("run until ready, three recipes", rounds, lambda: in_new_folder(**environment))
    report("run --sandbox until ready, three recipes", rounds, in_new_folder)


if __name__ == "__main__":
    main()
