"""A folder to stand in, a store with history, and pipeflow as a user calls it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeflow.cli.app import app
from pipeflow.events import read_delivery
from pipeflow.store import open_store
from pipeflow.store.base import ALL, Account, Closing, Dispatch, NewEvent, NewRun, Store

COMPANY = 4410021
NOW = 1_795_000_000.0


def clean_environment(**more: str) -> dict[str, str]:
    """Give this environment without settings of pipeflow's, and with `more`."""
    ours = ("PIPEFLOW_", "PIPEDRIVE_", "DATABASE_URL", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with no setting made."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(folder: Path) -> Command:
    """Call pipeflow as a process of its own and wait for its end."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeflow", *arguments],
            cwd=folder,
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


@pytest.fixture
def pipeflow(folder: Path) -> Callable[..., Result]:
    """Call a pipeflow command in this process."""
    runner = CliRunner()

    def call(*arguments: str, answer: str | None = None) -> Result:
        return runner.invoke(app, list(arguments), input=answer)

    return call


@pytest.fixture
def listed(pipeflow: Callable[..., Result]) -> Callable[..., list[dict[str, Any]]]:
    """Call a listing command with `--json` and read what it prints."""

    def call(*arguments: str) -> list[dict[str, Any]]:
        result = pipeflow(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return call


def moved(deal: int, stage: int = 3, **meta: Any) -> bytes:
    """Write a delivery: a deal moved to another stage."""
    told = {
        "action": "change",
        "entity": "deal",
        "entity_id": str(deal),
        "company_id": str(COMPANY),
        "id": f"moved-{deal}-{stage}",
        "timestamp": "2026-11-03T09:41:22.057Z",
        "version": "2.0",
    }
    data = {"id": deal, "title": f"Deal {deal}", "stage_id": stage, "status": "open"}
    return json.dumps({"meta": told | meta, "data": data, "previous": {"stage_id": stage - 1}}).encode()


def event_of(raw: bytes, received_at: float) -> NewEvent:
    """Give the event that the receiver would store for a delivery."""
    head = read_delivery(raw, COMPANY, received_at)
    same = (
        "key",
        "name",
        "kind",
        "record_id",
        "action",
        "delivery_id",
        "occurred_at",
        "update_time",
        "partition",
        "status",
    )
    told = {name: getattr(head, name) for name in same}
    return NewEvent(company=COMPANY, source="delivery", raw=raw, received_at=received_at, **told)


@dataclass
class History:
    """What the store holds: ids of the runs by what became of them."""

    succeeded: int = 0
    dead: list[int] = field(default_factory=list)
    skipped: int = 0
    waiting: int = 0


async def write_history(store: Store) -> History:
    await store.save_account(Account(id=0, company=COMPANY, user_id=1, mode="token", company_name="Acme", name="Ada"))
    endings: list[tuple[str, Closing | None]] = [
        ("follow_up.call", Closing(0, "succeeded", "succeeded")),
        ("broken.first", Closing(0, "failed", "dead", error="KeyError: 'phone'", traceback="Traceback: line 12")),
        ("broken.second", Closing(0, "gave_up", "dead", error="no owner")),
        ("picky.look", Closing(0, "skipped", "skipped", error="nothing to do")),
        ("late.answer", Closing(0, "failed", "pending", due_at=NOW + 3600, error="Retry: later")),
    ]
    history = History()
    for number, (handler, closing) in enumerate(endings, start=1):
        now = NOW + number * 60
        (event_id,) = await store.add_events([event_of(moved(number), now)])
        assert event_id is not None
        names = ("deal.updated", "deal.stage_changed")
        runs = (NewRun(handler, f"{handler}|{COMPANY}|deal|{number}"),)
        (run,) = await store.dispatch([Dispatch(event_id, names, "dispatched", runs=runs)], ALL, now)
        await store.open_attempt(run.id, ALL, now)
        assert closing is not None
        told = {name: getattr(closing, name) for name in ("outcome", "status", "due_at", "error", "traceback")}
        await store.close_attempt(Closing(run.id, **told), ALL, now + 0.024)
        match told["status"]:
            case "succeeded":
                history.succeeded = run.id
            case "dead":
                history.dead.append(run.id)
            case "skipped":
                history.skipped = run.id
            case _:
                history.waiting = run.id
    unread = event_of(b"no JSON", NOW + 600)
    await store.add_events([unread])
    return history


@pytest.fixture
def history(folder: Path) -> History:
    """Fill `pipeflow.db` in this folder with five runs and an unreadable delivery."""

    async def write() -> History:
        store = open_store("sqlite:///pipeflow.db")
        await store.open(owner=True)
        try:
            return await write_history(store)
        finally:
            await store.close()

    return asyncio.run(write())


@dataclass
class Running:
    """`pipeflow run` as a process of its own, whose lines can be waited for."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def wait_for(self, text: str) -> str:
        """Read on until a line holds `text`; AssertionError shows what came instead."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f'"{text}" never came:\n{"".join(self.lines)}')

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end and give the exit code."""
        assert self.process.stdout is not None
        self.lines += list(self.process.stdout)
        return self.process.wait(timeout=60)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Running]]:
    """Start `pipeflow run` with these arguments; whatever still runs at the end is killed."""
    started: list[Running] = []

    def call(*arguments: str, **environment: str) -> Running:
        settings = {"PIPEFLOW_LOG_FORMAT": "console", "PIPEFLOW_PORT": "0", **environment}
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pipeflow", "run", *arguments],
            cwd=folder,
            env=clean_environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(Running(process))
        return started[-1]

    yield call
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
        if running.process.stdout:
            running.process.stdout.close()


@pytest.fixture
def recipe(folder: Path) -> Callable[[str], Path]:
    """Write a recipe into `recipes/`."""

    def write(source: str, name: str = "mine") -> Path:
        path = folder / "recipes" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return path

    return write
