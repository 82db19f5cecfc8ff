"""A receiver over a real SQLite file, and a way to call it without a network."""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import Account, EventFilter, Store, StoredEvent
from pipeflow.vault import Vault
from pipeflow.web.app import App, create_app

COMPANY = 4410021
OTHER_COMPANY = 4410022
KEYS = ["the newest key of the receiver tests", "an older key that is still accepted here"]

DELIVERY: dict[str, Any] = {
    "meta": {
        "action": "change",
        "entity": "deal",
        "entity_id": "20417",
        "company_id": str(COMPANY),
        "user_id": "5521007",
        "id": "0f8e5c1a-4d1b-4a8e-9b0e-2f6c3a7d1e55",
        "correlation_id": "7c2d9b34-5a10-4f0e-8d4c-9e1b6a2f3c77",
        "timestamp": "2026-11-03T09:41:22.057Z",
        "version": "2.0",
        "type": "general",
        "webhook_id": "770131",
        "webhook_owner_id": "5521001",
        "change_source": "app",
        "is_bulk_edit": False,
        "attempt": 1,
        "host": "acme-1a2b3c.pipedrive.com",
        "permitted_user_ids": ["5521002", "5521003"],
    },
    "data": {"id": 20417, "title": "Forty chairs", "stage_id": 3, "status": "open", "custom_fields": {}},
    "previous": {"stage_id": 2},
}


def delivery(**meta: Any) -> dict[str, Any]:
    """Write a delivery whose `meta` differs in these fields."""
    body = copy.deepcopy(DELIVERY)
    body["meta"].update(meta)
    return body


def basic(user: str, password: str) -> str:
    """Write an Authorization header."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Answer:
    """What the application sent back; `status` 0 when it sent nothing."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Sender:
    """Calls the application as a server does."""

    app: App
    store: Store
    vault: Vault
    now: float = 1_795_000_000.0

    def authorization(self, company: int = COMPANY) -> str:
        """Write the header that Pipedrive was told for this company."""
        return basic(*self.vault.webhook_credentials(company))

    async def deliver(self, body: Any, *, company: int = COMPANY, **headers: str | None) -> Answer:
        """Post one delivery as Pipedrive would; a header given as None is left out."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            "content-type": "application/json",
            "content-length": str(len(raw)),
            "authorization": self.authorization(company),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self.call("POST", f"/webhooks/{company}", given, [{"body": raw}])

    async def call(
        self, method: str, path: str, headers: dict[str, Any] | None = None, messages: Sequence[dict[str, Any]] = ()
    ) -> Answer:
        """Send a request whose body comes in these messages; the sender hangs up after the last."""
        told = [
            (name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items() if value is not None
        ]
        scope = {"type": "http", "method": method, "path": path, "headers": told, "query_string": b"", "root_path": ""}
        waiting = [{"type": "http.request", **message} for message in messages or [{"body": b""}]]
        answer = Answer()

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return answer

    async def events(self) -> list[StoredEvent]:
        """List what was stored, newest first."""
        return await self.store.events(EventFilter(limit=0))


@pytest.fixture
async def sender(tmp_path: Path) -> AsyncIterator[Sender]:
    store = open_store(f"sqlite:///{tmp_path / 'receiver.db'}")
    await store.open()
    await store.save_account(Account(id=0, company=COMPANY, user_id=1, mode="token"))
    await store.save_account(Account(id=0, company=OTHER_COMPANY, user_id=2, mode="token"))
    vault = Vault(KEYS)
    settings = Settings.load(secret_key=",".join(KEYS))
    sender = Sender(create_app(store, settings, vault, ready=lambda: True, clock=lambda: sender.now), store, vault)
    yield sender
    await store.close()
