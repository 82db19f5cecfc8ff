"""Receive deliveries: authenticate, read the little that storing needs, store, answer. Raw ASGI in front of the routes.

May import errors, events, vault and the store's rows. It never waits for a handler: 200 means that the body is
committed, 503 that it is not, so that Pipedrive sends it again.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from binascii import Error as NotBase64
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

from pipeflow.errors import BadCredentials, BodyTooLarge, StoreUnavailable, WebhookError
from pipeflow.events import read_delivery
from pipeflow.store.base import REFUSED, NewEvent, Store
from pipeflow.vault import Vault

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREFIX = "/webhooks/"
_PREFIX = PREFIX.encode()
BODY_LIMIT = 1024 * 1024
COMPANIES_FRESH_FOR = 60.0
MISS_PAUSE = 1.0
LOG_PAUSE = 10.0
REMEMBERED_HEADERS = 8

log = logging.getLogger("pipeflow.web.receiver")


class _RefusedError(WebhookError):
    """A delivery answered with `status` and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _SenderGoneError(Exception):
    """The sender hung up before its body was complete: there is nobody to answer."""


@dataclass(slots=True)
class _Company:
    """A connected company and the `Authorization` headers found right before, so that checking costs a comparison."""

    id: int
    accepted: list[bytes] = field(default_factory=list)


class Companies:
    """The companies that deliveries may come from, read from the store at most once a second."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Company] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def remembered(self, key: str, now: float) -> _Company | None:
        """Give the company where it is known without asking the store, as it nearly always is."""
        return self._known.get(key) if 0 <= now - self._read_at < COMPANIES_FRESH_FOR else None

    async def find(self, key: str) -> _Company | None:
        """Give the company that `key` of a webhook's path names; None where it is not connected.

        Raises StoreUnavailable where that cannot be known now.
        """
        company = self._known.get(key)
        try:
            await self._read(MISS_PAUSE if company is None else COMPANIES_FRESH_FOR)
        except StoreUnavailable:
            if company is None:
                raise
            return company
        return self._known.get(key)

    def forget(self) -> None:
        """Read them again before the next delivery is taken in."""
        self._read_at = float("-inf")

    async def _read(self, fresh_for: float) -> None:
        async with self._reading:
            if 0 <= self._clock() - self._read_at < fresh_for:
                return
            accounts = await self._store.accounts()
            connected = {account.company for account in accounts if account.status != "disconnected"}
            self._known = {str(number): self._known.get(str(number)) or _Company(number) for number in connected}
            self._read_at = self._clock()


class Receiver:
    """The ASGI application behind `POST /webhooks/{key}`.

    `counters` counts deliveries by what became of them: `stored`, `known` (delivered before), `unreadable`,
    `gone` (the sender hung up) and `refused_<status>`.
    """

    def __init__(self, store: Store, vault: Vault, *, clock: Callable[[], float]) -> None:
        self.counters: Counter[str] = Counter()
        self._store = store
        self._vault = vault
        self._clock = clock
        self._companies = Companies(store, clock)
        self._loud = _Loud(clock)
        self._alarmed: dict[str, float] = {}

    def forget_companies(self) -> None:
        """Look at the next delivery who is connected: a company came or went just now."""
        self._companies.forget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._store_delivery(scope, receive)
        except _SenderGoneError:
            self.counters["gone"] += 1
            return
        except (WebhookError, StoreUnavailable) as error:
            start, body = self.refusal(scope["path"][len(PREFIX) :], error)
            if isinstance(error, BadCredentials):
                await self._alarm(scope["path"][len(PREFIX) :])
        else:
            start, body = _STORED
        await send(start)
        await send(body)

    async def _store_delivery(self, scope: Scope, receive: Receive) -> None:
        if scope["method"] != "POST":
            raise _RefusedError(405, "Webhooks are delivered by POST.")
        now = self._clock()
        key = scope["path"][len(PREFIX) :]
        company = self._companies.remembered(key, now) or await self._companies.find(key)
        if company is None:
            raise _RefusedError(404, "No connected company has this address.")
        self._check_headers(scope["headers"], company)
        message = await receive()
        raw = message.get("body", b"")
        if len(raw) > BODY_LIMIT or message.get("more_body", False) or message["type"] == "http.disconnect":
            raw = await _read_on(message, receive)
        event, stored = self.take(company.id, raw)
        (event_id,) = await stored
        self.note(event, event_id)

    def known_sender(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> int | None:
        """Give the company of a request that is a delivery beyond doubt, as its headers alone show; else None."""
        if not url.startswith(_PREFIX):
            return None
        company = self._companies.remembered(url[len(PREFIX) :].decode("latin-1"), self._clock())
        if company is None:
            return None
        is_known = is_json = is_short = False
        for name, value in headers:
            if name == b"authorization":
                is_known = any(compare_digest(accepted, value) for accepted in company.accepted)
            elif name == b"content-type":
                is_json = value == b"application/json" or _is_json(value)
            elif name == b"content-length":
                is_short = len(value) < 7
            elif name == b"transfer-encoding":
                return None
        return company.id if is_known and is_json and is_short else None

    def take(self, company: int, raw: bytes) -> tuple[NewEvent, asyncio.Future[list[int | None]]]:
        """Begin to store a delivery of a company that has proven who it is; `note` what comes of it.

        Raises WebhookError where the delivery says that it is another's, StoreUnavailable.
        """
        now = self._clock()
        head = read_delivery(raw, company, now)
        if head.claimed_company is not None and head.claimed_company != company:
            raise _RefusedError(403, f"The delivery says that it is of company {head.claimed_company}.")
        event = NewEvent(
            company,
            head.key,
            head.name,
            head.kind,
            head.record_id,
            head.action,
            "delivery",
            raw,
            now,
            head.partition,
            head.delivery_id,
            head.occurred_at,
            head.update_time,
            head.actor_id,
            head.bulk,
            head.status,
        )
        return event, self._store.add_events((event,))

    def note(self, event: NewEvent, event_id: int | None) -> None:
        """Count a delivery that is stored, and say of one that cannot be read where it is kept."""
        self.counters["known" if event_id is None else event.status] += 1
        if event.status == "unreadable" and event_id is not None:
            self._loud.warn(
                "unreadable", "A delivery for company %s cannot be read; kept as event %s", event.company, event_id
            )

    def _check_headers(self, headers: list[tuple[bytes, bytes]], company: _Company) -> None:
        authorization = b""
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                if value != b"application/json" and not _is_json(value):
                    raise _RefusedError(415, "A delivery is application/json.")
            elif name == b"content-length" and len(value) >= 7 and _is_too_long(value):
                raise BodyTooLarge("A delivery has at most 1 MiB.")
        for accepted in company.accepted:
            if compare_digest(accepted, authorization):
                return
        self._check_credentials(authorization, company)

    def _check_credentials(self, authorization: bytes, company: _Company) -> None:
        credentials = _basic(authorization)
        if credentials is None or not self._vault.accepts(company.id, *credentials):
            raise BadCredentials("These are not the credentials of this company's webhooks.")
        if len(company.accepted) < REMEMBERED_HEADERS:
            company.accepted.append(authorization)

    async def _alarm(self, key: str) -> None:
        """Let whoever keeps the webhooks know, in whichever process: theirs may have other credentials."""
        now = self._clock()
        if 0 <= now - self._alarmed.get(key, float("-inf")) < LOG_PAUSE:
            return
        self._alarmed[key] = now
        with suppress(StoreUnavailable):
            await self._store.save_watermark(int(key), REFUSED, now, now)

    def refusal(self, key: str, error: WebhookError | StoreUnavailable) -> tuple[Message, Message]:
        """Count a refusal, say it where it matters, and give the answer to it; `key` is that of the webhook's path."""
        status = _status(error)
        self.counters[f"refused_{status}"] += 1
        where = key[:40]
        if status == 401:
            self._loud.warn(
                f"401 {where}",
                "A delivery for company %s has wrong credentials and was refused. After ten of these Pipedrive bans "
                "the webhook and its events are lost. Ours are looked at within minutes; see `pipeflow webhooks`.",
                where,
            )
        elif status in (403, 503):
            self._loud.warn(f"{status} {where}", "A delivery for company %s was answered %s: %s", where, status, error)
        return _answer(status, str(error) if status != 503 else "Not stored; send it again.", _EXTRA.get(status, ()))


class _Loud:
    """Warnings that are heard but cannot flood the log: one of a sort in ten seconds, with the number left out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def warn(self, sort: str, message: str, *values: object) -> None:
        now = self._clock()
        if 0 <= now - self._said.get(sort, float("-inf")) < LOG_PAUSE:
            self._left_out[sort] += 1
            return
        if len(self._said) > 1000:
            self._said.clear()
        self._said[sort] = now
        more = self._left_out.pop(sort, 0)
        log.warning(message + (" (and %d more like it)" if more else ""), *values, *([more] if more else []))


async def _read_on(message: Message, receive: Receive) -> bytes:
    """Read a body that did not come in one piece, refusing it as soon as it is too large."""
    parts: list[bytes] = []
    size = 0
    while message["type"] != "http.disconnect":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_LIMIT:
            raise BodyTooLarge("A delivery has at most 1 MiB.")
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    raise _SenderGoneError


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def _is_too_long(content_length: bytes) -> bool:
    return not content_length.isdigit() or int(content_length[:20]) > BODY_LIMIT


def _basic(authorization: bytes) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def _status(error: WebhookError | StoreUnavailable) -> int:
    match error:
        case BadCredentials():
            return 401
        case BodyTooLarge():
            return 413
        case _RefusedError():
            return error.status
        case _:
            return 503


_EXTRA: dict[int, tuple[tuple[bytes, bytes], ...]] = {
    401: ((b"www-authenticate", b'Basic realm="pipeflow"'),),
    405: ((b"allow", b"POST"),),
    503: ((b"retry-after", b"5"),),
}


def _answer(status: int, text: str, extra: tuple[tuple[bytes, bytes], ...] = ()) -> tuple[Message, Message]:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), *extra]
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


_STORED = _answer(200, "")
