"""What every log line inside an attempt says of it, whoever writes the line. Standard library and store rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pipeflow.store.base import Account, Run

ATTEMPT: ContextVar[Mapping[str, Any] | None] = ContextVar("ATTEMPT", default=None)
"""Of the attempt under way in this task or thread: run, event, handler, company and account."""


def about(run: Run, account: Account | None) -> dict[str, Any]:
    """Say whose attempt it is, by the keys under which logs have it."""
    told: dict[str, Any] = {"run_id": run.id, "event_id": run.event_id, "handler": run.handler, "company": run.company}
    return told if account is None else {**told, "account": account.id}
