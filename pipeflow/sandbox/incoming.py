"""A request as it came over the wire: headers, query, and the body in whichever form it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import orjson

from pipeflow.sandbox.answers import RefusedError
from pipeflow.sandbox.multipart import Upload, read_form, read_multipart

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(slots=True)
class Incoming:
    """A request as it was read. `fields` is the parsed body, `broken` why it could not be parsed."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    raw: bytes
    base_url: str
    fields: Any = None
    files: dict[str, Upload] = field(default_factory=dict)
    broken: RefusedError | None = None

    @property
    def object(self) -> dict[str, Any]:
        """The body as an object; an absent or odd body is an empty one."""
        return self.fields if isinstance(self.fields, dict) else {}


async def read_request(scope: Scope, receive: Receive) -> Incoming:
    """Read a request to its end."""
    raw = bytearray()
    while True:
        message = await receive()
        raw += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qsl(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)
    base_url = f"{scope.get('scheme', 'http')}://{headers.get('host', '127.0.0.1')}"
    incoming = Incoming(scope["method"], scope["path"], query, headers, bytes(raw), base_url)
    _parse(incoming)
    return incoming


def _parse(incoming: Incoming) -> None:
    kind = incoming.headers.get("content-type", "")
    if not incoming.raw:
        return
    if kind.startswith("multipart/form-data"):
        try:
            incoming.fields, incoming.files = read_multipart(kind, incoming.raw)
        except RefusedError as refused:
            incoming.broken = refused
        return
    if kind.startswith("application/x-www-form-urlencoded"):
        incoming.fields = read_form(incoming.raw)
        return
    try:
        incoming.fields = orjson.loads(incoming.raw)
    except orjson.JSONDecodeError:
        incoming.fields = incoming.raw[:1000].decode("utf-8", "replace")
        incoming.broken = RefusedError("The body is not valid JSON", 400, code="ERR_INVALID_JSON")
