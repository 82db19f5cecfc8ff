"""The two doors every generated method goes through. Behaviour lives in transport.py and pages.py."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeflow.catalog import Operation, operation
from pipeflow.client.answers import typed
from pipeflow.client.pages import Page

if TYPE_CHECKING:
    from pipeflow.client.auth import Configuration
    from pipeflow.client.client import Client

_warned: set[str] = set()


class Resource:
    """One resource of one generation, bound to whoever sends for it.

    Made by a client (`client.deals`), or alone: `WebhooksApi(Configuration(api_key="…"))`.
    """

    def __init__(self, owner: Client | Configuration | None = None) -> None:
        from pipeflow.client.client import Client

        self._client = owner if isinstance(owner, Client) else Client(owner)

    async def _send(self, operation_id: str, returns: Any, arguments: Mapping[str, Any]) -> Any:
        """Send an operation (a catalog id); `arguments` go by wire name; `returns` types the data."""
        sent = _living(operation(operation_id))
        response = await self._client.transport.send(sent, arguments)
        if sent.result == "bytes":
            return Path(arguments["to"]) if arguments.get("to") is not None else response.content
        if sent.result == "list":
            return [typed(_item_of(returns), item) for item in response.items]
        return typed(returns, response.data)

    def _page(self, operation_id: str, item: Any, arguments: Mapping[str, Any]) -> Page[Any]:
        """Prepare a GET list: awaitable for one page, iterable for all; `item` types one element."""
        return Page(self._client.transport.send, _living(operation(operation_id)), item, arguments)


def _item_of(returns: Any) -> Any:
    from typing import get_args, get_origin

    return get_args(returns)[0] if get_origin(returns) is list else returns


def _living(sent: Operation) -> Operation:
    """Warn once where Pipedrive has retired the operation."""
    if sent.retired is not None and sent.id not in _warned:
        _warned.add(sent.id)
        instead = f"use {sent.retired}" if sent.retired else "nothing replaces it"
        warnings.warn(f"Pipedrive retired {sent.attribute}: {instead}.", DeprecationWarning, stacklevel=4)
    return sent
