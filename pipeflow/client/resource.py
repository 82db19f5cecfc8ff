"""The two doors every generated method goes through. Behaviour lives in transport.py and pages.py."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pipeflow.catalog import Operation, operation
from pipeflow.client.pages import Page
from pipeflow.client.reading import read
from pipeflow.client.refusals import instead_of

if TYPE_CHECKING:
    from pipeflow.client.auth import Configuration, TokenSource
    from pipeflow.client.client import Client

T = TypeVar("T")

_warned: set[str] = set()


class Resource:
    """One resource of one generation, bound to whoever sends for it.

    Made by a client (`client.deals`), or alone: `WebhooksApi(Configuration(api_key="…"))`.
    """

    def __init__(self, owner: Client | Configuration | TokenSource | None = None) -> None:
        from pipeflow.client.client import Client

        self._client = owner if isinstance(owner, Client) else Client(owner)

    @overload
    async def _send(self, operation_id: str, returns: None, arguments: Mapping[str, Any]) -> None: ...
    @overload
    async def _send(self, operation_id: str, returns: type[T], arguments: Mapping[str, Any]) -> T: ...
    async def _send(self, operation_id: str, returns: Any, arguments: Mapping[str, Any]) -> Any:
        """Send an operation (a catalog id); `arguments` go by wire name; `returns` types the data."""
        sent = _living(operation(operation_id))
        found = read(await self._client.fields.send(sent, arguments), returns)
        await self._client.fields.tell(found if isinstance(found, list) else (found,))
        return found

    async def _download(self, operation_id: str, arguments: Mapping[str, Any]) -> bytes | Path:
        """Fetch a file: its content, or the path in `arguments["to"]` that it was streamed to."""
        sent = _living(operation(operation_id))
        response = await self._client.transport.send(sent, arguments)
        return response.content if arguments.get("to") is None else Path(arguments["to"])

    def _page(self, operation_id: str, item: type[T], arguments: Mapping[str, Any]) -> Page[T]:
        """Prepare a GET list: awaitable for one page, iterable for all; `item` types one element."""
        fields = self._client.fields
        return Page(fields.send, _living(operation(operation_id)), item, arguments, tell=fields.tell)


def _living(sent: Operation) -> Operation:
    """Warn once where Pipedrive has retired the operation."""
    if sent.retired is not None and sent.id not in _warned:
        _warned.add(sent.id)
        text = f"Pipedrive retired client.{sent.attribute}: {instead_of(sent)}."
        warnings.warn(text, DeprecationWarning, stacklevel=4)
    return sent
