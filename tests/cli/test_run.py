"""`pipeflow run` from start to end, as a process of its own against the sandbox."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeflow.vault import Vault
from tests.scenarios.product import eventually

from .conftest import COMPANY, Running, moved

SLOW = """
import asyncio
from pathlib import Path

from pipeflow import Event, on
from pipeflow.records import Deal


@on("deal.updated")
async def linger(event: Event[Deal]) -> None:
    Path("started").touch()
    print("the handler has started", flush=True)
    while not Path("go on").exists():
        await asyncio.sleep(0.01)
    Path("finished").touch()
"""

HANGING = """
import threading

from pipeflow import Event, on


@on("deal.updated")
def hang(event: Event) -> None:
    print("the handler has started", flush=True)
    threading.Event().wait()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def deliver(folder: Path, port: int, raw: bytes) -> int:
    """Deliver as Pipedrive would, with the credentials that its webhook was given."""
    key = (folder / ".sandbox" / "pipeflow.db.key").read_text()
    user, password = Vault([key]).webhook_credentials(COMPANY)
    basic = b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/webhooks/{COMPANY}",
        data=raw,
        headers={"authorization": f"Basic {basic}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        status: int = answer.status
        return status


def started(start: Callable[..., Running], port: int, *more: str) -> Running:
    running = start("recipes", "--sandbox", "--rate", "0", "--port", str(port), *more)
    running.wait_for("Ctrl-C ends it.")
    return running


def test_the_first_screen_says_what_is_connected_and_where_to_look(
    start: Callable[..., Running], recipe: Callable[[str], Path]
) -> None:
    recipe(SLOW)
    shown = "".join(started(start, free_port()).lines)
    assert "Acme" in shown
    assert "1 recipe, 1 handler, 0 jobs" in shown
    assert "mine.linger on deal.updated" in shown
    assert "1 added: change deal" in shown
    assert "pipeflow runs --sandbox" in shown


def test_an_event_and_its_run_are_told_in_a_line_each(
    start: Callable[..., Running], recipe: Callable[[str], Path], folder: Path
) -> None:
    recipe(SLOW)
    (folder / "go on").touch()
    port = free_port()
    running = started(start, port)
    assert deliver(folder, port, moved(12)) == 200
    assert "deal 12 'Deal 12' moved to stage 3 → mine.linger" in running.wait_for("→")
    assert "mine.linger on deal 12 succeeded in" in running.wait_for("succeeded")


def test_sigterm_lets_a_run_finish_while_the_receiver_still_stores(
    start: Callable[..., Running],
    recipe: Callable[[str], Path],
    folder: Path,
    listed: Callable[..., list[dict[str, Any]]],
) -> None:
    recipe(SLOW)
    port = free_port()
    running = started(start, port)
    deliver(folder, port, moved(12))
    running.wait_for("the handler has started")
    running.send(signal.SIGTERM)
    running.wait_for("Ending")
    assert deliver(folder, port, moved(13)) == 200
    (folder / "go on").touch()
    assert running.ended() == 0
    assert (folder / "finished").exists()
    runs = listed("runs")
    assert [(run["record_id"], run["status"]) for run in runs] == [("12", "succeeded")]
    assert {event["record_id"]: event["status"] for event in listed("events")} == {"12": "dispatched", "13": "stored"}


def test_a_run_that_outlasts_the_grace_time_is_handed_back_uncounted(
    start: Callable[..., Running],
    recipe: Callable[[str], Path],
    folder: Path,
    listed: Callable[..., list[dict[str, Any]]],
) -> None:
    recipe(SLOW)
    port = free_port()
    running = start("recipes", "--sandbox", "--rate", "0", "--port", str(port), PIPEFLOW_GRACE_SECONDS="0.1")
    running.wait_for("Ctrl-C ends it.")
    deliver(folder, port, moved(12))
    running.wait_for("the handler has started")
    running.send(signal.SIGINT)
    assert running.ended() == 0
    (run,) = listed("runs")
    assert (run["status"], run["attempts"]) == ("pending", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_may_be_asked_for_while_recipes_are_still_imported(
    start: Callable[..., Running], recipe: Callable[[str], Path], number: signal.Signals
) -> None:
    recipe("import time\n\nprint('importing', flush=True)\ntime.sleep(60)\n")
    running = start("recipes", "--sandbox", "--port", "0")
    running.wait_for("importing")
    running.send(number)
    assert running.ended() == 0


def test_the_second_ctrl_c_ends_at_once(
    start: Callable[..., Running], recipe: Callable[[str], Path], folder: Path
) -> None:
    recipe(SLOW)
    port = free_port()
    running = start("recipes", "--sandbox", "--rate", "0", "--port", str(port), PIPEFLOW_GRACE_SECONDS="3600")
    running.wait_for("Ctrl-C ends it.")
    deliver(folder, port, moved(12))
    running.wait_for("the handler has started")
    running.send(signal.SIGINT)
    running.wait_for("Ending")
    running.send(signal.SIGINT)
    assert running.ended() == 0
    assert not (folder / "finished").exists()


def test_a_thread_that_never_ends_does_not_keep_the_process(
    start: Callable[..., Running], recipe: Callable[[str], Path], folder: Path
) -> None:
    recipe(HANGING)
    port = free_port()
    running = start("recipes", "--sandbox", "--rate", "0", "--port", str(port), PIPEFLOW_GRACE_SECONDS="0.1")
    running.wait_for("Ctrl-C ends it.")
    deliver(folder, port, moved(12))
    running.wait_for("the handler has started")
    running.send(signal.SIGTERM)
    assert running.ended() == 0


def test_the_sandbox_ends_with_run(start: Callable[..., Running], recipe: Callable[[str], Path], folder: Path) -> None:
    recipe(SLOW)
    running = started(start, free_port())
    url = next(line.split()[1].rstrip(",") for line in running.lines if line.strip().startswith("Sandbox"))
    eventually((folder / ".sandbox" / "sandbox.json").exists, "the company on disk")
    running.send(signal.SIGINT)
    assert running.ended() == 0
    try:
        urllib.request.urlopen(f"{url}/v1/users/me", timeout=5)
        raise AssertionError("the sandbox still answers")
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        pass


def test_a_second_start_keeps_the_webhooks(
    start: Callable[..., Running], recipe: Callable[[str], Path], folder: Path
) -> None:
    recipe(SLOW)
    port = free_port()
    first = started(start, port)
    eventually((folder / ".sandbox" / "sandbox.json").exists, "the company on disk")
    first.send(signal.SIGINT)
    assert first.ended() == 0
    assert "1 kept: change deal" in "".join(started(start, port).lines)


def test_where_no_terminal_listens_every_line_is_json(
    start: Callable[..., Running], recipe: Callable[[str], Path]
) -> None:
    recipe(SLOW)
    running = start("recipes", "--sandbox", "--rate", "0", "--port", "0", PIPEFLOW_LOG_FORMAT="")
    ready = json.loads(running.wait_for('"ready"'))
    assert ready["recipes"].startswith("1 recipe")
    outside, here = ready["listening"].split(" from outside, port ")
    assert here == f"{outside.rpartition(':')[2]} here"
    running.send(signal.SIGINT)
    assert running.ended() == 0
    assert [json.loads(line)["event"] for line in running.lines][-1] == "Ended."
