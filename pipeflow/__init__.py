"""Automations for Pipedrive: the public names, and nothing else. The heavy ones are imported when first named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeflow.client import Client
    from pipeflow.errors import GiveUp, Retry, Skip
    from pipeflow.events import Change, Event
    from pipeflow.predicates import by_user, changed, record
    from pipeflow.registry import cron, every, on
    from pipeflow.store.base import Account, Run

__all__ = [
    "Account",
    "Change",
    "Client",
    "Event",
    "GiveUp",
    "Retry",
    "Run",
    "Skip",
    "by_user",
    "changed",
    "cron",
    "every",
    "on",
    "record",
]

_HOME = {
    "Account": "pipeflow.store.base",
    "Change": "pipeflow.events",
    "Client": "pipeflow.client",
    "Event": "pipeflow.events",
    "GiveUp": "pipeflow.errors",
    "Retry": "pipeflow.errors",
    "Run": "pipeflow.store.base",
    "Skip": "pipeflow.errors",
    "by_user": "pipeflow.predicates",
    "changed": "pipeflow.predicates",
    "cron": "pipeflow.registry",
    "every": "pipeflow.registry",
    "on": "pipeflow.registry",
    "record": "pipeflow.predicates",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'pipeflow' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
