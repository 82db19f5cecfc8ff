"""Lists: awaitable for one page, iterable for all of them. Imports answers and the catalog."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from pipeflow.catalog import Operation, Parameter
from pipeflow.client.answers import Response
from pipeflow.client.model import UNSET
from pipeflow.client.reading import read_page

T = TypeVar("T")
Send = Callable[[Operation, Mapping[str, Any]], Awaitable[Response]]
Tell = Callable[[Sequence[Any]], Awaitable[None]]

log = logging.getLogger("pipeflow.client")

MANY = 10_000
LARGEST_PAGE = 500


class OnePage(Sequence[T]):
    """One page of a list: a sequence of records.

    `next_cursor` is where the next page begins (a cursor or a start), None at the end. `response` is the whole answer.
    """

    def __init__(self, data: list[T], response: Response, next_cursor: str | int | None) -> None:
        self.data = data
        self.response = response
        self.next_cursor = next_cursor

    @property
    def additional_data(self) -> dict[str, Any]:
        """What Pipedrive says beside the data."""
        return self.response.part("additional_data")

    @property
    def related_objects(self) -> dict[str, Any]:
        """Records that the data names, as Pipedrive sends them (version 1)."""
        return self.response.part("related_objects")

    @property
    def related_items(self) -> Any:
        """What a search gives beside its items."""
        data = self.response.data
        return data.get("related_items") if isinstance(data, dict) else None

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __repr__(self) -> str:
        more = "" if self.next_cursor is None else ", more to come"
        return f"<{len(self.data)} of {self.response.path}{more}>"


class Page(Generic[T]):
    """A list that was asked for and not fetched yet.

    page = await client.deals.get_deals(limit=50)     # one page
    async for deal in client.deals.get_deals(): ...   # all, page after page
    """

    def __init__(
        self,
        send: Send,
        operation: Operation,
        item: Any,
        arguments: Mapping[str, Any],
        most: int | None = None,
        *,
        tell: Tell | None = None,
    ) -> None:
        self._send = send
        self._tell = tell
        self._operation = operation
        self._item = item
        self._arguments = arguments
        self._most = most

    def take(self, most: int) -> Page[T]:
        """Stop after so many records; awaited, a page of at most so many."""
        return Page(self._send, self._operation, self._item, self._arguments, most, tell=self._tell)

    def __await__(self) -> Generator[Any, None, OnePage[T]]:
        return self._one().__await__()

    def __repr__(self) -> str:
        return f"<{self._operation.attribute}, not fetched: await it for one page, or loop over it with async for>"

    async def __aiter__(self) -> AsyncIterator[T]:
        seen = 0
        async for page in self._pages():
            for record in page.data:
                if self._most is not None and seen >= self._most:
                    return
                seen += 1
                if seen == MANY + 1:
                    log.info("%s: more than %d records; a filter or take(n) costs less", self._operation.path, MANY)
                yield record
            if self._most is not None and seen >= self._most:
                return

    async def _one(self) -> OnePage[T]:
        page = await self._fetch(self._arguments if self._most is None else self._largest_pages())
        if self._most is not None:
            del page.data[max(self._most, 0) :]
        return page

    async def _pages(self) -> AsyncIterator[OnePage[T]]:
        """Fetch page after page; stops where Pipedrive sends us round in circles."""
        arguments, operation = self._largest_pages(), self._operation
        start = arguments.get("start")
        places: set[str | int | None] = {start if isinstance(start, int) else 0, arguments.get("cursor")}
        content = b""
        while self._most is None or self._most > 0:
            page = await self._fetch(arguments, operation)
            if page.data and page.response.content == content:
                log.warning("%s: the same page came again; stopped", operation.path)
                return
            yield page
            place, content = page.next_cursor, page.response.content
            if place is None or operation.paging == "none":
                return
            if place in places or (isinstance(place, int) and place < max(p for p in places if isinstance(p, int))):
                log.warning("%s: Pipedrive sends back to %s, which was there before; stopped", operation.path, place)
                return
            places.add(place)
            name = "start" if isinstance(place, int) else "cursor"
            arguments, operation = {**arguments, name: place}, _taking(operation, name)

    async def _fetch(self, arguments: Mapping[str, Any], operation: Operation | None = None) -> OnePage[T]:
        response = await self._send(operation or self._operation, arguments)
        data, more = read_page(response, self._item)
        if self._tell is not None:
            await self._tell(data)
        return OnePage(data, response, _next(more, len(data)))

    def _largest_pages(self) -> Mapping[str, Any]:
        """Ask for as many records a page as are wanted and may be: a call costs the same."""
        limit = next((p for p in self._operation.parameters if p.wire == "limit"), None)
        if limit is None:
            return self._arguments
        given = self._arguments.get("limit", UNSET)
        largest = given if isinstance(given, int) else limit.schema.get("maximum", LARGEST_PAGE)
        return {**self._arguments, "limit": min(largest, self._most or largest)}


def _taking(operation: Operation, name: str) -> Operation:
    """Give the operation with `start` or `cursor`: some answer pages that cannot be asked for by the catalog."""
    if any(parameter.wire == name for parameter in operation.parameters):
        return operation
    asked = Parameter(name, name, "query", required=False, type="integer" if name == "start" else "string")
    return replace(operation, parameters=(*operation.parameters, asked))


def _next(more: Mapping[str, Any], count: int) -> str | int | None:
    """Find where the next page begins in `additional_data`, in any of the forms that Pipedrive uses."""
    cursor = more.get("next_cursor")
    if isinstance(cursor, str) and cursor:
        return cursor
    pagination = more.get("pagination") if isinstance(more.get("pagination"), dict) else more
    if not isinstance(pagination, dict) or not pagination.get("more_items_in_collection"):
        return None
    if isinstance(pagination.get("next_start"), int):
        return int(pagination["next_start"])
    start, limit = pagination.get("start"), pagination.get("limit")
    return start + (limit if isinstance(limit, int) else count) if isinstance(start, int) else None
