"""Custom fields by name in handlers: definitions kept in the store, fetched through the client. Imports accounts.

What is known of a company is one `Definitions`, shared with the clients of its accounts: whoever fetches, all know.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping

import orjson

from pipeflow.client.definitions import KINDS, Definitions, FieldDefinition
from pipeflow.client.model import home_of
from pipeflow.customs import is_custom_key
from pipeflow.engine.accounts import Accounts
from pipeflow.errors import ClientError, ConfigError, Forbidden, NotConnected, TimedOut
from pipeflow.events import Payload
from pipeflow.records import RECORDS
from pipeflow.registry import Handler
from pipeflow.store.base import Store

READ_AGAIN = 3600.0
PATIENCE = 5.0
_API_NAME = re.compile(r"[a-z][a-z0-9_]*")

log = logging.getLogger("pipeflow.engine")


class CompanyFields:
    """Knows the custom fields of every company whose events are handled.

    Definitions are read from the store once an hour, and fetched where an event or a predicate needs what they lack.
    """

    def __init__(self, store: Store, accounts: Accounts, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._read_at: dict[int, float] = {}
        self._saved: dict[int, int] = {}

    async def of(self, company: int) -> Definitions:
        """Give what is known of a company; what somebody has fetched since is kept in the store."""
        definitions = self._accounts.definitions(company)
        read_at = self._read_at.get(company)
        if read_at is not None and definitions.version != self._saved[company]:
            await self._save(company, definitions)
        elif read_at is None or self._clock() - read_at > READ_AGAIN:
            await self._read(company, definitions)
        return definitions

    async def for_event(self, company: int, payload: Payload | None, entry: object) -> Definitions:
        """Give what is known of a company, fetched first where the event or the handler's predicate needs more.

        Raises what the fetch raised, or ConfigError, only where the predicate names a field that is not there.
        """
        definitions = await self.of(company)
        if payload is None or (kind := home_of(payload.kind)) not in KINDS:
            return definitions
        wanted = _wanted(entry, payload.kind)
        if self._lacks(definitions, kind, payload, wanted):
            await self._fetch(company, definitions, kind)
        for name in wanted:
            if not _has(definitions, kind, name) and not _is_plain(name) and _names(entry, payload.kind):
                raise ConfigError(
                    f"{kind} has no custom field called {name!r}: it was renamed or deleted, or is misspelt. "
                    "Correct the recipe, then replay this run."
                )
        return definitions

    async def look(self, handlers: Iterable[Handler], company: int | None = None) -> list[str]:
        """Fetch what the handlers' patterns speak of, for every connected company or one, and check predicates' names.

        Gives a sentence for each name that leads nowhere, or to two fields. Where Pipedrive could not be asked, names
        are left to the runs.
        """
        told: list[str] = []
        entries = [(handler, noun) for handler in handlers for noun in _nouns(handler)]
        for account in await self._accounts.connected():
            if not account.acting or company not in (None, account.company):
                continue
            definitions = await self.of(account.company)
            for kind in {*definitions.all(), *(home_of(noun) for _, noun in entries)}:
                await self._fetch(account.company, definitions, kind, background=True)
            for handler, noun in entries:
                names = _wanted(handler, noun)
                told += [f"{handler.name}: {said}" for name in names if (said := _trouble(definitions, noun, name))]
        return told

    # -- fetching and keeping ------------------------------------------------------------------------------------------

    def _lacks(self, definitions: Definitions, kind: str, payload: Payload, wanted: Iterable[str]) -> bool:
        """Say whether an event tells of a field, or a predicate wants one, that is not known."""
        known = definitions.of(kind)
        told = payload.state.get("custom_fields")
        custom: Mapping[str, object] = told if isinstance(told, dict) else {}
        if known is None:
            # Activities have no fields of their own in most plans; where we may not look, only a wish is worth asking.
            common = kind != "activity" and not isinstance(definitions.trouble(kind), Forbidden)
            return bool(wanted) or common or any(value is not None for value in custom.values())
        if kind in definitions.missed or definitions.lacks(kind, [custom]):
            return True
        return any(not _knows(definitions, kind, name) for name in wanted)

    async def _fetch(self, company: int, definitions: Definitions, kind: str, *, background: bool = False) -> None:
        """Fetch a kind's definitions; trouble is remembered for whoever uses a name, and delays no handler for long."""
        account = await self._accounts.acting(company)
        if account is None:
            text = f"Company {company} has no connected account, so its custom fields are not known; connect one."
            definitions.fail(kind, NotConnected(text))
            return
        try:
            client = self._accounts.client_for(account)
            client.transport.background = background
            async with asyncio.timeout(None if background else PATIENCE):
                fetched = await client.fields.look_again(kind)
        except TimeoutError:
            text = f"The custom fields of {kind} could not be fetched within {PATIENCE:g} s."
            definitions.fail(kind, TimedOut(text, method="GET", path=f"/api/v2/{kind}Fields"))
        except ClientError as error:
            definitions.fail(kind, error)
            log.info("The custom fields of %s could not be fetched: %s", kind, error)
        else:
            if fetched:
                await self._save(company, definitions)

    async def _read(self, company: int, definitions: Definitions) -> None:
        for kind, kept in (await self._store.fields(company)).items():
            definitions.put(kind, _loaded(kept))
        self._read_at[company], self._saved[company] = self._clock(), definitions.version

    async def _save(self, company: int, definitions: Definitions) -> None:
        self._saved[company] = definitions.version
        for kind, fields in definitions.all().items():
            await self._store.save_fields(company, kind, _dumped(fields.values()), self._clock())


def _wanted(entry: object, kind: str) -> list[str]:
    """List the names in a handler's predicate that custom fields must have: neither keys nor fields of the record."""
    when = entry.when if isinstance(entry, Handler) else None
    if when is None or not when.fields:
        return []
    model = RECORDS.get(kind)
    own = model.model_fields if model else {}
    return [name for name in sorted(when.fields) if name not in own and not is_custom_key(name)]


def _nouns(handler: Handler) -> list[str]:
    """List the kinds that a handler's patterns name."""
    return [noun for noun in {pattern.partition(".")[0] for pattern in handler.patterns} if home_of(noun) in KINDS]


def _names(entry: object, kind: str) -> bool:
    return isinstance(entry, Handler) and kind in _nouns(entry)


def _is_plain(name: str) -> bool:
    """Say whether a name may be one of Pipedrive's own fields, of which deliveries tell more than we know."""
    return _API_NAME.fullmatch(name) is not None


def _has(definitions: Definitions, kind: str, name: str) -> bool:
    """Say whether a name leads to a field of a kind; raises what keeps that from being known."""
    try:
        definitions.key(kind, name)
    except KeyError:
        return False
    return True


def _knows(definitions: Definitions, kind: str, name: str) -> bool:
    """Say whether a name leads to one or more fields of a kind that is known."""
    return any(name in (each.name, each.key) for each in (definitions.of(kind) or {}).values())


def _trouble(definitions: Definitions, kind: str, name: str) -> str:
    """Say what is wrong with a name, if anything; of one that may be Pipedrive's own, only if it looks like a slip."""
    try:
        definitions.key(kind, name)
    except KeyError as error:
        return _slip(kind, name) if _is_plain(name) else str(error.args[0])
    except ConfigError as error:
        return "" if _is_plain(name) and definitions.of(kind) is None else str(error)
    except ClientError:
        return ""
    return ""


def _slip(kind: str, name: str) -> str:
    near = difflib.get_close_matches(name, RECORDS[kind].model_fields, 1, 0.8)
    return f"{kind} has no field called {name!r} that is known; did you mean {near[0]!r}?" if near else ""


def _dumped(fields: Iterable[FieldDefinition]) -> bytes:
    told = [[each.key, each.name, each.type, list(each.options.items())] for each in fields]
    return orjson.dumps(told)


def _loaded(kept: bytes) -> list[FieldDefinition]:
    return [FieldDefinition(key, name, type_, dict(options)) for key, name, type_, options in orjson.loads(kept)]
