"""The handler that one would write for an event. Imports records' names alone; no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence


def handler_for(names: Sequence[str]) -> str:
    """Write a handler that would have run on an event with these names, of which the most telling one is chosen."""
    from pipeflow.records import RECORDS

    name = names[-1]
    kind = names[0].partition(".")[0]
    record = RECORDS[kind].__name__ if kind in RECORDS else ""
    function = "on_" + re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
    lines = [
        "from pipeflow import Client, Event, on",
        *([f"from pipeflow.records import {record}"] if record else []),
        "",
        "",
        f'@on("{name}")',
        f"async def {function}(event: Event{f'[{record}]' if record else ''}, client: Client) -> None:",
        '    """Say here what this is for."""',
        "    ...",
    ]
    return "\n".join(lines)
