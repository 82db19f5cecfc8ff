"""Take deliveries off their connection: uvicorn's HTTP protocol, with a short way for what Pipedrive sends all day.

Imports the receiver. A delivery of the usual shape, from a sender known already, is stored without a task and a scope
of its own, at half the cost. Whatever is unusual goes on to the application, which answers everything.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeflow.errors import StoreUnavailable, WebhookError
from pipeflow.store.base import NewEvent
from pipeflow.web.receiver import Message, Receiver

log = logging.getLogger("pipeflow.web.protocol")


class _Nobody:
    """Stands where uvicorn tells an application that more has come: here none waits for it."""

    def set(self) -> None:
        """Do nothing."""


class _Taken:
    """A delivery on the short way, in the place of uvicorn's cycle: the flags that its protocol reads and sets."""

    __slots__ = ("company", "disconnected", "keep_alive", "parts", "response_complete")
    message_event = _Nobody()

    def __init__(self, company: int) -> None:
        self.company = company
        self.parts: list[bytes] = []
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True


class DeliveryProtocol(HttpToolsProtocol):
    """A connection; `receiver` is set by `delivery_protocol`."""

    receiver: Receiver
    _taken: _Taken | None = None

    def on_headers_complete(self) -> None:
        """Take the request, or have uvicorn make a task for it."""
        company = self.receiver.known_sender(self.url, self.headers) if self._is_usual() else None
        if company is None:
            super().on_headers_complete()
            return
        self._taken = _Taken(company)
        self.cycle = self._taken  # type: ignore[assignment]  # what uvicorn knows of a cycle here, it has

    def on_body(self, body: bytes) -> None:
        """Keep what has come of a body."""
        if self._taken is None:
            super().on_body(body)
        else:
            self._taken.parts.append(body)

    def on_message_complete(self) -> None:
        """Have the delivery stored; its end answers."""
        if self._taken is None:
            super().on_message_complete()
            return
        taken, self._taken = self._taken, None
        raw = taken.parts[0] if len(taken.parts) == 1 else b"".join(taken.parts)
        try:
            event, stored = self.receiver.take(taken.company, raw)
        except (WebhookError, StoreUnavailable) as error:
            self._answer(taken, self.receiver.refusal(self._key(), error))
        else:
            stored.add_done_callback(partial(self._end, taken, event))

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a sender that hung up in the middle of its delivery."""
        if self._taken is not None:
            self._taken = None
            self.receiver.counters["gone"] += 1
        super().connection_lost(exc)

    def _is_usual(self) -> bool:
        """Say whether this is a plain POST on a connection where no other request is under way."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
        )

    def _end(self, taken: _Taken, event: NewEvent, stored: asyncio.Future[list[int | None]]) -> None:
        try:
            (event_id,) = stored.result()
        except (WebhookError, StoreUnavailable) as error:
            self._answer(taken, self.receiver.refusal(self._key(), error))
        except (Exception, asyncio.CancelledError):
            log.exception("A delivery met an error of our own; it is answered 500, so that it comes again")
            self._answer(taken, _FAILED)
        else:
            self.receiver.note(event, event_id)
            self._answer(taken, _STORED)

    def _answer(self, taken: _Taken, answer: bytes | tuple[Message, Message]) -> None:
        taken.response_complete = True
        if taken.disconnected or self.transport.is_closing():
            return
        self.transport.write(answer if isinstance(answer, bytes) else _written(*answer))
        if not taken.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _key(self) -> str:
        return self.url.rpartition(b"/")[2].decode("ascii")


def delivery_protocol(receiver: Receiver) -> type[DeliveryProtocol]:
    """Make the protocol of the connections to `receiver`'s application, for `uvicorn.Config(http=…)`."""
    return type("DeliveryProtocol", (DeliveryProtocol,), {"receiver": receiver})


def _written(start: Message, body: Message) -> bytes:
    """Write an answer as it goes over the wire."""
    headers: list[tuple[bytes, bytes]] = start["headers"]
    lines: list[bytes] = [b"%s: %s" % pair for pair in headers]
    content: Any = body["body"]
    return b"\r\n".join([_status_line(start["status"]), *lines, b"", content])


def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()


_STORED = _status_line(200) + b"\r\ncontent-length: 0\r\n\r\n"
_FAILED = _status_line(500) + b"\r\ncontent-length: 0\r\n\r\n"
