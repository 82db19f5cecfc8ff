"""The simulated Pipedrive beside `run --sandbox`: a process of its own, ended with ours. Imports errors only."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeflow.errors import PipeflowError

STARTING_SECONDS = 15.0
ENDING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SandboxAddress:
    """Where the sandbox listens, and the API token that it accepts."""

    url: str
    api_token: str


@asynccontextmanager
async def sandbox_process(state: Path, *, rate: float, seed: int | None) -> AsyncIterator[SandboxAddress]:
    """Run the sandbox inside the block, its company kept in the file `state`."""
    state.parent.mkdir(parents=True, exist_ok=True)
    command = ["--state", str(state), "--rate", str(rate), *(["--seed", str(seed)] if seed is not None else [])]
    its_end, our_end = os.pipe()
    try:
        process = await _start(command, its_end)
        os.close(its_end)
        try:
            yield await _address(process)
        finally:
            await _end(process)
    finally:
        os.close(our_end)


async def _start(arguments: Sequence[str], rope: int) -> asyncio.subprocess.Process:
    # In a session of its own, so that Ctrl-C in the terminal reaches us alone: handlers that finish still need it.
    # Its standard input is a rope: when we die, however we die, the pipe ends and the sandbox with it.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pipeflow.sandbox",
        *arguments,
        stdin=rope,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _address(process: asyncio.subprocess.Process) -> SandboxAddress:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        line = await asyncio.wait_for(process.stdout.readline(), STARTING_SECONDS)
        told = json.loads(line)
        return SandboxAddress(told["url"], told["api_token"])
    except (TimeoutError, ValueError, KeyError):
        raise PipeflowError("The sandbox did not start; `pipeflow sandbox` starts it alone and says why.") from None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), ENDING_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
