"""The two doors every generated method goes through. Behaviour lives in transport.py and pages.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeflow.client.auth import Configuration, OAuth2Configuration
    from pipeflow.client.client import Client
    from pipeflow.client.pages import Page


class Resource:
    """One resource of one generation, bound to whoever sends for it."""

    def __init__(self, owner: Client | Configuration | OAuth2Configuration | None = None) -> None:
        raise NotImplementedError

    async def _send(self, operation: str, returns: Any, arguments: Mapping[str, Any]) -> Any:
        """Send `operation` (a catalog id); `arguments` by wire name, `UNSET` ones left out; `returns` types the data."""
        raise NotImplementedError

    def _page(self, operation: str, item: Any, arguments: Mapping[str, Any]) -> Page[Any]:
        """Prepare a GET list: awaitable for one page, iterable for all; `item` types one element."""
        raise NotImplementedError
