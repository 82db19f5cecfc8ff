"""What log lines say of the attempt in which they were written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .conftest import Running

TALKING = """
import logging

from pipeflow import Client, every


@every("1 second")
async def talk(client: Client) -> None:
    logging.getLogger("somebody.elses").warning("said inside")


@every("1 second")
def talk_in_a_thread() -> None:
    logging.getLogger("somebody.elses").warning("said in a thread")
"""


def test_every_line_inside_an_attempt_says_whose_it_is(
    recipe: Callable[[str], Path], start: Callable[..., Running]
) -> None:
    recipe(TALKING)
    running = start("--sandbox", "--rate", "0", PIPEFLOW_LOG_FORMAT="json")
    for text, handler in (("said inside", "mine.talk"), ("said in a thread", "mine.talk_in_a_thread")):
        line = json.loads(running.wait_for(text))
        assert (line["handler"], line["company"], line["account"]) == (handler, 4410021, 1)
        assert {"run_id", "event_id"} <= line.keys()
