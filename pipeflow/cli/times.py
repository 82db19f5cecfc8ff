"""Times as the command line reads and writes them. Imports errors only."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pipeflow.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])[a-z]*", re.IGNORECASE)


def parse_since(text: str, now: float) -> float:
    """Read a duration back from `now` ("90s", "2h", "3d") or an ISO time (without a zone: local) as seconds since 1970.

    Raises ConfigError for anything else.
    """
    if duration := _DURATION.fullmatch(text.strip()):
        return now - float(duration[1]) * _UNITS[duration[2].lower()]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(
            f'"{text}" is no time: write a duration such as 90s, 15m, 2h or 3d, or a time such as 2026-11-03T09:41:00Z.'
        ) from None


def iso(seconds: float | None) -> str | None:
    """Write seconds since 1970 as ISO 8601 in UTC: `2026-11-03T09:41:22.057Z`."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(seconds: float | None) -> str:
    """Write seconds since 1970 for a person, in local time: `2026-11-03 09:41:22`."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def took(seconds: float) -> str:
    """Write a duration for a person: `24 ms`, `3.2 s`, `5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min"
