"""When jobs are due, as recipes write it: intervals in words, cron expressions of five fields. Imports errors alone."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from pipeflow.errors import ConfigError

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),  # Sunday is 0 and 7
)
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def seconds_of(interval: str | timedelta, where: str) -> float:
    """Give the seconds of an interval; raises ConfigError for what is none."""
    if isinstance(interval, timedelta):
        seconds = interval.total_seconds()
    else:
        matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*(second|minute|hour|day|week)s?\s*", str(interval))
        if matched is None:
            raise ConfigError(f"{where}: {interval!r} is no interval; write '5 minutes', '1 hour' or a timedelta.")
        seconds = float(matched[1] or 1) * _UNITS[matched[2]]
    if seconds < 1:
        raise ConfigError(f"{where}: an interval is at least a second; {interval!r} is shorter.")
    return seconds


def check_cron(expression: Any, timezone: str | None, where: str) -> None:
    """Refuse what is no cron expression or time zone; raises ConfigError, naming the field."""
    fields = expression.split() if isinstance(expression, str) else ()
    if len(fields) != len(_FIELDS):
        raise ConfigError(
            f"{where}: {expression!r} is no cron expression; write five fields: minute hour day month weekday, "
            "such as '0 8 * * MON-FRI'."
        )
    for text, (name, least, most, words) in zip(fields, _FIELDS, strict=True):
        if not all(_is_part(part.lower(), least, most, words) for part in text.split(",")):
            known = f", {words[0].upper()}-{words[-1].upper()}" if words else ""
            raise ConfigError(
                f"{where}: {expression!r} is no cron expression; {text!r} is no {name}: write *, {least}-{most}{known}"
                ", a range such as 1-5, a step such as */2, or several with commas."
            )
    _check_timezone(timezone, where)


def _is_part(part: str, least: int, most: int, words: tuple[str, ...]) -> bool:
    matched = _PART.fullmatch(part)
    if matched is None:
        return False
    first, last, step = matched.groups()
    numbers = [_number(text, least, words) for text in (first, last) if text is not None]
    known = [number for number in numbers if number is not None and least <= number <= most]
    if len(known) < len(numbers):
        return False
    if words is _DAYS:
        return step is None or 1 <= int(step) <= len(_DAYS) - 1
    if len({text in words for text in (first, last) if text}) == 2 or (first in words and step):
        return False
    # A range that runs backwards, or a step beyond its end, is a slip: only weekdays go round.
    span = (known[1] if len(known) == 2 else most) - (known[0] if known else least)
    return span >= 0 and (step is None or 1 <= int(step) <= span)


def _number(text: str, least: int, words: tuple[str, ...]) -> int | None:
    if text in words:
        return words.index(text) + least
    return int(text) if text.isascii() and text.isdigit() else None


def _check_timezone(timezone: str | None, where: str) -> None:
    if timezone in (None, "account"):
        return
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"{where}: {timezone!r} is no time zone; write an IANA name such as 'Europe/Tallinn', or 'account'."
        ) from None
