"""Asks Pipedrive for lists within a budget of API tokens, and reads its clock off the answers. Imports the client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from pipeflow.catalog import operation
from pipeflow.client.answers import Response
from pipeflow.client.client import Client
from pipeflow.client.pages import LARGEST_PAGE, OnePage, Page
from pipeflow.engine.shapes import updated_at


class BudgetSpentError(Exception):
    """What may be spent on looking is spent; the rest is looked at when there is more."""


class Purse:
    """The API tokens that a look may spend (None: as many as it takes)."""

    def __init__(self, most: float | None) -> None:
        self.most = most
        self.spent = 0

    @property
    def is_half_empty(self) -> bool:
        """Whether half of it is spent."""
        return self.most is not None and self.spent >= self.most / 2

    def pay(self, tokens: int) -> None:
        """Spend tokens, or raise BudgetSpentError."""
        if self.most is not None and self.spent + tokens > self.most:
            raise BudgetSpentError
        self.spent += tokens


@dataclass
class Asking:
    """Asks as one account. `alive` is called before each page, so that nobody takes a long look for a dead one.

    `until` is the latest moment that an answer told, in seconds on Pipedrive's clock; 0 before the first one.
    """

    client: Client
    purse: Purse
    alive: Callable[[], Awaitable[object]]
    until: float = 0.0

    async def pages(self, operation_id: str, arguments: Mapping[str, Any]) -> AsyncIterator[OnePage[dict[str, Any]]]:
        """Ask for a list, page after page, each paid for. Raises BudgetSpentError and ClientError."""
        asked = operation(operation_id)
        limit = next((one for one in asked.parameters if one.wire == "limit"), None)
        given = dict(arguments)
        if limit is not None:
            given.setdefault("limit", limit.schema.get("maximum", LARGEST_PAGE))
        before: object = None
        while True:
            self.purse.pay(asked.cost)
            await self.alive()
            page: OnePage[dict[str, Any]] = await Page(self.client.transport.send, asked, dict, given)
            self._note_time(page)
            yield page
            if page.next_cursor is None or page.next_cursor == before or asked.paging == "none":
                return
            before = page.next_cursor
            given["cursor" if isinstance(before, str) else "start"] = before

    async def one(self, operation_id: str, record_id: str) -> Response:
        """Ask for one record, paid for. Raises BudgetSpentError and ClientError."""
        asked = operation(operation_id)
        self.purse.pay(asked.cost)
        return await self.client.transport.send(asked, {"id": int(record_id)})

    def _note_time(self, page: OnePage[dict[str, Any]]) -> None:
        """Read Pipedrive's clock off an answer: what it says itself, or the newest change it shows."""
        moments = [moment for one in page.data if isinstance(one, dict) and (moment := updated_at(one))]
        with contextlib.suppress(ValueError):
            moments.append(parsedate_to_datetime(page.response.headers.get("date", "")).timestamp())
        self.until = max(self.until, *moments) if moments else self.until
