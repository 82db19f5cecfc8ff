"""The page about the sandbox: every command in it works, and it leaves nothing out."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import httpx
import pytest

from pipeflow.sandbox import Sandbox
from pipeflow.sandbox.control import DOORS
from pipeflow.sandbox.faults import KINDS
from pipeflow.sandbox.grants import Switches
from pipeflow.sandbox.modes import Modes
from tests.sandbox.conftest import Receiver, act, subscribe

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("curl")
]


def read(command: str) -> tuple[str, str, str | None]:
    """Read a curl command as verb, path and body."""
    words = shlex.split(command, comments=True)[1:]
    method, path, body = None, "", None
    while words:
        word = words.pop(0)
        if word in ("-X", "-H", "-d"):
            value = words.pop(0)
            method, body = (value, body) if word == "-X" else (method, value if word == "-d" else body)
        else:
            path = word.replace("$S", "/_sandbox")
    return method or ("POST" if body else "GET"), path, body


async def test_every_command_of_the_page_works(api: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(api, receiver)
    await act(api, "change", kind="deal", id=2, changes={"value": 5})
    await api.get("/_sandbox/idle")
    assert len(COMMANDS) > 35
    for command in COMMANDS:
        method, path, body = read(command)
        await api.delete("/_sandbox/faults?kind=503")
        answer = await api.request(method, path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, f"{command}\n{answer.text}"


def test_page_names_every_door() -> None:
    there = {(method, path.partition("?")[0]) for method, path, _ in map(read, COMMANDS)}
    opened = {(method, f"/_sandbox/{door}") for method, door in DOORS}
    # Reading what a command beside it sets needs no example of its own.
    assert {one for one in opened - there if one[0] != "GET"} == set()


@pytest.mark.parametrize(
    "names",
    [
        [one.name for one in fields(Modes)],
        list(KINDS),
        [one.name for one in fields(Switches)],
        ["noop_events"],
    ],
)
def test_page_names_every_switch(names: list[str]) -> None:
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_sandbox_of_the_page_is_the_sandbox() -> None:
    assert Sandbox(seed=1, deals=4).api_token in PAGE
