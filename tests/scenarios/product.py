"""The product as its users have it: real processes that speak real HTTP. For the scenarios alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 30.0


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look again until it is so, and give what was seen; AssertionError says what never came."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.1)
    raise AssertionError(f"{what}: not seen within {patience:g} s")


def clean_environment(**more: str) -> dict[str, str]:
    """Give this environment without pipeflow's own settings, and with `more`."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PIPEDRIVE_", "PIPEFLOW_", "DATABASE_URL", "PORT"))
    }
    return {**kept, **more}


@dataclass
class FakePipedrive:
    """The sandbox in a process of its own."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    url: str = field(init=False)
    token: str = field(init=False)

    def start(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeflow.sandbox", "--port", "0", "--seed", "1", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=clean_environment(),
        )
        assert self.process.stdout
        ready = json.loads(self.process.stdout.readline())
        self.url, self.token = ready["url"], ready["api_token"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request as a person's other tools would, and give the data of its answer."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-api-token": self.token, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer).get("data")


@dataclass
class Product:
    """`pipeflow run` beside a fake Pipedrive, in a folder of its own."""

    folder: Path
    pipedrive: FakePipedrive
    recipes: Path = ROOT / "recipes"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return (
            clean_environment(
                PIPEDRIVE_API_URL=self.pipedrive.url,
                PIPEDRIVE_API_TOKEN=self.pipedrive.token,
                PIPEFLOW_PUBLIC_URL=f"http://127.0.0.1:{self.port}",
                PIPEFLOW_PORT=str(self.port),
                PIPEFLOW_RETRY_DELAYS="0.2,0.2,0.2",
            )
            | self.more
        )

    @property
    def printed(self) -> str:
        return (self.folder / "run.log").read_text()

    def start(self, *options: str) -> None:
        with (self.folder / "run.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeflow", "run", str(self.recipes), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
            )
        eventually(self.ready, "a ready pipeflow")
        if "--poll" not in options:
            eventually(lambda: self.pipedrive.call("GET", "/v1/webhooks"), "our webhooks at Pipedrive")

    def started(self, log: BinaryIO, *options: str) -> subprocess.Popen[bytes]:
        """Start a process, which need not become ready."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeflow", "run", str(self.recipes), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=self.environment,
        )

    def ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"pipeflow ended:\n{self.printed}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """kill -9: nothing is closed, nothing is flushed."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ctrl-C, and give the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a pipeflow command beside the running one."""
        return subprocess.run(
            [sys.executable, "-m", "pipeflow", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=60,
            check=False,
        )

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a listing command and give its rows."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def activities(self, deal_id: int) -> list[dict[str, Any]]:
        """Give the activities of a deal as Pipedrive has them."""
        found: list[dict[str, Any]] = self.pipedrive.call("GET", f"/api/v2/activities?deal_id={deal_id}")
        return found
