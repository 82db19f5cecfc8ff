"""Logging: calm lines for a terminal, JSON for machines. Sets up the standard logging through structlog."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

from pipeflow.engine.logcontext import ATTEMPT

_DIM, _RED, _YELLOW, _GREEN, _END = "\033[2m", "\033[31m", "\033[33m", "\033[32m", "\033[0m"
_COLOURS = {"warning": _YELLOW, "error": _RED, "critical": _RED}
_WORDS = {" succeeded": _GREEN, " dead": _RED, " failed": _RED, " skipped": _DIM}


def wants_json(log_format: Literal["console", "json"] | None) -> bool:
    """Say whether lines are for machines: as the setting says, else wherever no terminal shows them."""
    return log_format == "json" if log_format else not sys.stdout.isatty()


def set_up_logging(*, as_json: bool) -> None:
    """Send every log line to standard output: for a person, or one JSON object a line."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_attempt,
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if as_json
        else structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.processors.format_exc_info,
    ]
    render: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else _Plain(sys.stdout.isatty())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for chatty in ("apscheduler", "httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _add_attempt(_: Any, __: str, said: Any) -> Any:
    """Say in every line that is written inside an attempt whose it is: run, event, handler, company and account."""
    return {**(ATTEMPT.get() or {}), **said}


class _Plain:
    """A line for a person: the time, what happened, and where it was said when that is not obvious."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: Any, __: str, said: Any) -> str:
        level, text = said["level"], str(said["event"])
        line = text if level == "info" else f"{level}: {text}"
        if self._colours:
            line = self._coloured(level, line)
            line = f"{_DIM}{said['timestamp']}{_END}  {line}"
        else:
            line = f"{said['timestamp']}  {line}"
        return f"{line}\n{said['exception']}" if "exception" in said else line

    def _coloured(self, level: str, line: str) -> str:
        if colour := _COLOURS.get(level):
            return f"{colour}{line}{_END}"
        for word, colour in _WORDS.items():
            if word in line:
                before, _, after = line.rpartition(word)
                return f"{before}{colour}{word}{_END}{after}"
        return line
