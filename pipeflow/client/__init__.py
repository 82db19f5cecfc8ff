"""A complete, typed client of Pipedrive. Knows nothing of events, stores and servers; imported lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeflow.catalog import Operation, operations
    from pipeflow.client.auth import Configuration, TokenSource
    from pipeflow.client.client import Client
    from pipeflow.client.limits import Limits
    from pipeflow.client.model import UNSET, Model
    from pipeflow.client.oauth import OAuth2Configuration, Token
    from pipeflow.client.pages import OnePage, Page

__all__ = [
    "UNSET",
    "Client",
    "Configuration",
    "Limits",
    "Model",
    "OAuth2Configuration",
    "OnePage",
    "Operation",
    "Page",
    "Token",
    "TokenSource",
    "operations",
]

_HOME = {
    "Client": "pipeflow.client.client",
    "Configuration": "pipeflow.client.auth",
    "Limits": "pipeflow.client.limits",
    "Model": "pipeflow.client.model",
    "OAuth2Configuration": "pipeflow.client.oauth",
    "OnePage": "pipeflow.client.pages",
    "Operation": "pipeflow.catalog",
    "Page": "pipeflow.client.pages",
    "Token": "pipeflow.client.oauth",
    "TokenSource": "pipeflow.client.auth",
    "UNSET": "pipeflow.client.model",
    "operations": "pipeflow.catalog",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'pipeflow.client' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
