"""The examples of docs/client.md: each is run against a sandbox, and prints what it says it prints."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeflow.sandbox import Sandbox, running

PAGE = Path(__file__).parent.parent.parent / "docs" / "client.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"^\s*print\(.*\)  # -> (.*)$", re.MULTILINE)


def blocks(language: str) -> Iterator[tuple[int, str]]:
    """Give the line and the text of each block."""
    text = PAGE.read_text()
    for found in BLOCK.finditer(text):
        if found[1] == language:
            yield text.count("\n", 0, found.start(2)) + 1, found[2]


@pytest.fixture
async def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """Stand in an empty folder, with a sandbox where Pipedrive would be; gives its address and token."""
    sandbox = Sandbox(seed=1, deals=60)
    monkeypatch.chdir(tmp_path)
    async with running(sandbox) as url:
        monkeypatch.setenv("PIPEDRIVE_API_URL", url)
        yield url, sandbox.api_token


async def test_examples_run_and_print_what_they_promise(
    address: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    promises = 0
    for line, text in blocks("python"):
        source = "\n" * (line - 1) + text.replace('"…"', repr(address[1]))
        code = compile(source, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            coroutine = eval(code, names)
            if inspect.iscoroutine(coroutine):
                await coroutine
        printed = capsys.readouterr().out.splitlines()
        for promise in PROMISE.findall(text):
            assert promise in printed, f"{PAGE.name}:{line} printed {printed}"
            promises += 1
    assert promises > 15


@pytest.mark.slow
async def test_commands_run(address: tuple[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPEFLOW_")}
    environment |= {"PIPEDRIVE_API_URL": address[0], "PIPEDRIVE_API_TOKEN": address[1]}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    Path("offer.txt").write_text("Dear customer")
    ((_, commands),) = blocks("sh")
    for command in commands.splitlines():
        process = await asyncio.create_subprocess_shell(
            command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, trouble = await process.communicate()
        assert process.returncode == 0, f"{command}: {trouble.decode()}"
        assert said or ">" in command
    assert len(Path("deals.jsonl").read_text().splitlines()) > 50
