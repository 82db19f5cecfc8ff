"""When a job is due: computed from the calendar, never measured. Imports the registry's jobs; no I/O, no clock."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

from pipeflow.registry import Job

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_BACK = tuple(seconds * 60 for seconds in (2, 90, 1500, 12_000, 50_000, 540_000, 2_200_000))
"""How far to look for the latest due time, in seconds: two minutes first, then hours, days, months, four years."""


class DueTimes(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """The due times of one job in one time zone, as APScheduler asks for them and for anyone else.

    Intervals are multiples since 1970. Cron times stand on the wall clock of `zone`: a time that a change to summer
    time leaves out is due an hour later, one that the change back repeats is due once, the first time; where the hour
    is a wildcard, every hour that really passes counts.
    """

    def __init__(self, job: Job, zone: str = "UTC") -> None:
        self._every = job.every
        self._zone = ZoneInfo(zone)
        self._triggers = () if job.cron is None else _triggers(job.cron, self._zone)
        self._each_hour = job.cron is not None and job.cron.split()[1].startswith("*")

    def after(self, moment: float) -> float | None:
        """Give the first due time after `moment`; None where there is none within the calendar."""
        if self._every is not None:
            return (math.floor(moment / self._every) + 1) * self._every
        found = [due for trigger in self._triggers if (due := self._next(trigger, moment)) is not None]
        return min(found, default=None)

    def latest(self, moment: float) -> float | None:
        """Give the last due time that is not after `moment`; None where there was none in four years."""
        if self._every is not None:
            return math.floor(moment / self._every) * self._every
        for seconds in _LOOK_BACK:
            latest, due = None, self.after(moment - seconds)
            while due is not None and due <= moment:
                latest, due = due, self.after(due)
            if latest is not None:
                return latest
        return None

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Answer APScheduler."""
        due = self.after((previous_fire_time or now).timestamp())
        return None if due is None else datetime.fromtimestamp(due, UTC)

    def _next(self, trigger: CronTrigger, moment: float) -> float | None:
        start = math.floor(moment) + 1.0
        while True:
            found = trigger.get_next_fire_time(None, datetime.fromtimestamp(start, self._zone))
            if found is None:
                return None
            if self._each_hour or not datetime.fromtimestamp(found.timestamp(), self._zone).fold:
                return float(found.timestamp())
            start = found.timestamp() + 1.0


def _triggers(expression: str, zone: ZoneInfo) -> tuple[CronTrigger, ...]:
    """Read five cron fields as cron does: Sunday is 0 and 7, and where both kinds of day are given either suffices."""
    minute, hour, day, month, weekday = expression.split()
    fields = {"minute": minute, "hour": hour, "month": month, "timezone": zone}
    weekday = _weekdays(weekday)
    if day.startswith("*") or weekday.startswith("*"):
        return (CronTrigger(day=day, day_of_week=weekday, **fields),)
    return CronTrigger(day=day, day_of_week="*", **fields), CronTrigger(day="*", day_of_week=weekday, **fields)


def _weekdays(field: str) -> str:
    """Spell weekday numbers out, as APScheduler counts them from Monday and cron from Sunday."""
    return ",".join(_weekday(part) for part in field.lower().split(","))


def _weekday(part: str) -> str:
    matched = re.fullmatch(r"([0-7]|[a-z]{3})(?:-([0-7]|[a-z]{3}))?(?:/(\d+))?", part)
    if matched is None:
        return part
    first, last, step = matched.groups()
    start = _number(first)
    stop = _number(last) if last else (6 if step else start)
    days = range(start, stop + 1 if stop >= start else stop + 8, int(step or 1))
    return ",".join(_WEEKDAYS[number % 7] for number in days)


def _number(day: str) -> int:
    return int(day) if day.isdigit() else _WEEKDAYS.index(day)
