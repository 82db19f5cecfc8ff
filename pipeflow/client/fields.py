"""A company's custom fields by name: fetches definitions once, resolves what is written, lets records know their names.

Imports model and the catalog, and definitions and customwire once they are needed; sends through its transport.

Definitions are fetched when they are first needed: when a custom field is written by name, and when an answer has
values of custom fields. They are fetched again, at most once a minute, when a key or a name comes that they lack; where
that brings nothing new, less and less often.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pipeflow.catalog import Operation, operation
from pipeflow.client.answers import Response
from pipeflow.client.model import UNSET, CustomModel, custom_values, home_of
from pipeflow.errors import ClientError, ConfigError

if TYPE_CHECKING:
    import asyncio

    from pipeflow.client.client import Client
    from pipeflow.client.definitions import Definitions, FieldDefinition

log = logging.getLogger("pipeflow.client")

REMEMBERED_COMPANIES = 1000
_KIND_OF = {
    "DealsApi": "deal",
    "LeadsApi": "lead",
    "OrganizationsApi": "organization",
    "PersonsApi": "person",
    "ProductsApi": "product",
    "ProjectsApi": "project",
}
_known: WeakKeyDictionary[asyncio.AbstractEventLoop, OrderedDict[str, Definitions]] = WeakKeyDictionary()
_fetching: dict[tuple[Definitions, str], asyncio.Task[None]] = {}


class Fields:
    """The custom fields of the company a client acts in: `client.fields`.

        await client.fields.load("deal")                   # only where names are read before anything was fetched
        for field in await client.fields.of("deal"):
            print(field.key, field.name, field.type)

    Clients of one account share what was fetched; `definitions` is what is known already. `now` gives seconds that only
    grow.
    """

    def __init__(
        self,
        client: Client,
        definitions: Definitions | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._given = definitions
        self._now = now

    @property
    def definitions(self) -> Definitions:
        """What is known so far; shared by the clients of one account."""
        # Asked for anew each time: an OAuth grant may become another company's.
        return _shared(self._client.transport.configuration.account) if self._given is None else self._given

    async def of(self, kind: str) -> Sequence[FieldDefinition]:
        """Give the custom fields of a kind of record (`deal`, `person`, …), fetched if they are not known.

        `GET /api/v2/dealFields` and its like, 10 tokens a page of 500. Raises ClientError where that fails.
        """
        await self.load(kind)
        return list((self.definitions.of(kind) or {}).values())

    async def load(self, *kinds: str) -> None:
        """Fetch what is not known yet of these kinds, else of all; raises ClientError where that fails."""
        for kind in _homes(kinds):
            if self.definitions.of(kind) is None:
                await self._fetch(kind)

    async def refresh(self, *kinds: str) -> None:
        """Fetch these kinds again, else all; raises ClientError where that fails."""
        for kind in _homes(kinds):
            await self._fetch(kind)

    async def look_again(self, kind: str) -> bool:
        """Fetch a kind again and say True; not within a minute, nor up to an hour where it brought nothing new."""
        kind, definitions = home_of(kind), self.definitions
        if definitions.is_fresh(kind, self._now()) and (definitions, kind) not in _fetching:
            return False
        await self._fetch(kind)
        return True

    # -- writing -------------------------------------------------------------------------------------------------------

    async def send(self, sent: Operation, arguments: Mapping[str, Any]) -> Response:
        """Send an operation whose `custom_fields` may go by name: what leaves has keys and Python values."""
        given = arguments.get("custom_fields") if sent.custom_fields else None
        if not given:
            return await self._client.transport.send(sent, arguments)
        written = await self._written(_KIND_OF[sent.id.split(".")[1]], given)
        return await self._client.transport.send(sent, {**arguments, "custom_fields": written})

    async def _written(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        from pipeflow.client.fieldset import definition_of
        from pipeflow.customs import Field

        found: dict[str, Any] = {}
        for name, value in given.items():
            if value is UNSET:
                continue
            key = await self._key(kind, name)
            if key in found:
                raise ConfigError(f"{name!r} is given twice: by its name and by its key {key}.")
            told = definition_of(name) if isinstance(name, Field) else None
            found[key] = await self._meant(kind, key, value, told)
        return found

    async def _meant(self, kind: str, key: str, value: Any, told: FieldDefinition | None) -> Any:
        """Give a value the type of its field, where that is known; an unknown option is looked up again."""
        from pipeflow.client.customwire import meant

        known = self._definition(kind, key) or told
        if known is None:
            return value
        try:
            return meant(value, known)
        except ValueError:
            if known.type not in ("enum", "set") or not await self.look_again(kind):
                raise
        return meant(value, self._definition(kind, key) or known)

    def _definition(self, kind: str, key: str) -> FieldDefinition | None:
        return (self.definitions.of(kind) or {}).get(key)

    async def _key(self, kind: str, name: str) -> str:
        """Find a key; a key, also a suffixed one, needs no look-up; an unknown name is looked up again."""
        from pipeflow.customs import is_custom_key

        if is_custom_key(name[:40]):
            return name
        await self.load(kind)
        try:
            return self.definitions.key(kind, name)
        except KeyError:
            await self.look_again(kind)
        try:
            return self.definitions.key(kind, name)
        except KeyError as error:
            raise ConfigError(str(error.args[0])) from None

    # -- reading -------------------------------------------------------------------------------------------------------

    async def tell(self, records: Sequence[Any]) -> None:
        """Let records know their fields' names and types. Never raises: who uses a name is told what went wrong."""
        mine = [record for record in records if isinstance(record, CustomModel)]
        if not mine:
            return
        definitions = self.definitions
        kind = home_of(mine[0].kind)
        if kind in definitions.missed or definitions.lacks(kind, [custom_values(record) for record in mine]):
            try:
                await self.look_again(kind)
            except ClientError as error:
                log.info("The custom fields of %s could not be fetched: %s", kind, error)
        for record in mine:
            record.__dict__["_fields"] = definitions

    # -- fetching ------------------------------------------------------------------------------------------------------

    async def _fetch(self, kind: str) -> None:
        """Fetch a kind once for any number of callers."""
        import asyncio

        mine = (self.definitions, kind)
        fetching = _fetching.get(mine)
        if fetching is None:
            fetching = _fetching[mine] = asyncio.get_running_loop().create_task(self._fetch_all(*mine))
            fetching.add_done_callback(lambda done: _forget(mine, done))
        await asyncio.shield(fetching)

    async def _fetch_all(self, definitions: Definitions, kind: str) -> None:
        definitions.asked[kind] = self._now()
        try:
            definitions.put(kind, await self._pages(kind))
        except ClientError as error:
            definitions.fail(kind, error)
            raise

    async def _pages(self, kind: str) -> list[FieldDefinition]:
        from pipeflow.client.definitions import read_definitions
        from pipeflow.client.pages import Page

        noun = kind.capitalize()
        asked = operation(f"v2.{noun}FieldsApi.get{noun}Fields")
        pages: Page[Any] = Page(self._client.transport.send, asked, Any, {})
        return read_definitions([each async for each in pages if isinstance(each, Mapping)])


def _forget(which: tuple[Definitions, str], done: asyncio.Task[None]) -> None:
    """Let go of a fetch that is over; whoever still waits is told how it ended."""
    del _fetching[which]
    if not done.cancelled():
        done.exception()


def _homes(kinds: Sequence[str]) -> Sequence[str]:
    from pipeflow.client.definitions import KINDS

    return list(dict.fromkeys(map(home_of, kinds or KINDS)))


def _shared(account: str) -> Definitions:
    """Give what the clients of an account know together, as long as their loop lives."""
    import asyncio

    from pipeflow.client.definitions import Definitions

    companies = _known.setdefault(asyncio.get_running_loop(), OrderedDict())
    found = companies.setdefault(account, Definitions())
    companies.move_to_end(account)
    if len(companies) > REMEMBERED_COMPANIES:
        companies.popitem(last=False)
    return found
