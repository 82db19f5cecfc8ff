"""Keep a sandbox's whole state in a JSON file, so that the next start continues where the last one ended."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any, Final

import orjson

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.delivery import Delivery, Try
from pipeflow.sandbox.sandbox import Sandbox

FORMAT: Final = 1
PLAIN: Final = (
    *("counters", "fields", "followers", "follower_log", "history", "conversions", "extras"),
    *("plan", "timezone"),
)


class Saver:
    """Writes the file a moment after a change, and when asked."""

    def __init__(self, sandbox: Sandbox, path: Path) -> None:
        self._sandbox = sandbox
        self._path = path
        self._saved = -1

    def save(self) -> None:
        """Write the file at once, whole or not at all."""
        self._write(dumped(self._sandbox), self._sandbox.version)

    async def watch(self, pause: float = 1.0) -> None:
        """Save whenever something changed, at most once every `pause` seconds."""
        while True:
            await asyncio.sleep(pause)
            if self._sandbox.version != self._saved:
                version = self._sandbox.version
                await asyncio.to_thread(self._write, dumped(self._sandbox), version)

    def _write(self, content: bytes, version: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.new")
        # It holds API tokens and webhooks' passwords, if only of sample data.
        fresh.touch(mode=0o600)
        fresh.write_bytes(content)
        fresh.replace(self._path)
        self._saved = version


def dumped(sandbox: Sandbox) -> bytes:
    """Write the state as JSON."""
    return orjson.dumps(
        {
            "format": FORMAT,
            "seed": sandbox.seed,
            "time": sandbox.clock.stamp(),
            "companies": [_company(company) for company in sandbox.companies.values()],
            "oauth": sandbox.oauth.dumped(),
            "team": sandbox.team.state(),
            "deliveries": [_delivery(delay, one) for delay, one in sandbox.webhooks.waiting()],
        },
        option=orjson.OPT_NON_STR_KEYS,
    )


def restore(sandbox: Sandbox, path: Path) -> None:
    """Give a sandbox the state of a file, if it is there; a ValueError says that it is another format's."""
    if not path.exists():
        return
    data = orjson.loads(path.read_bytes())
    if data.get("format") != FORMAT:
        raise ValueError(f"{path} is not a state file of this release; delete it to begin anew")
    token = sandbox.api_token
    # Sandbox time goes on from where it was, also if it had been moved ahead of ours.
    ahead = parse(data["time"]).timestamp() - sandbox.clock.seconds()
    if ahead > 0:
        sandbox.clock.advance(ahead)
    sandbox.seed = data["seed"]
    sandbox.companies.clear()
    for one in data["companies"]:
        sandbox.adopt(_restored(one, sandbox))
    sandbox.company.admin["token"] = token
    callbacks = {app.client_id: app.redirect_uri for app in sandbox.oauth.apps.values()}
    sandbox.oauth.restore(data["oauth"])
    for client_id, redirect_uri in callbacks.items():
        if client_id in sandbox.oauth.apps:
            sandbox.oauth.apps[client_id].redirect_uri = redirect_uri
    sandbox.team.restore(data["team"])
    for one in data["deliveries"]:
        delay = one.pop("delay")
        one["attempts"] = [Try(**attempt) for attempt in one["attempts"]]
        one["number"] = sandbox.webhooks.sender.next_number()
        delivery = Delivery(**{**one, "payload": one["payload"].encode()})
        sandbox.webhooks.sender.keep(delivery)
        sandbox.webhooks.sender.send(delivery, delay)


def _company(company: Company) -> Record:
    data: Record = {name: getattr(company, name) for name in ("id", "domain", "name", "seed", "noop_events", *PLAIN)}
    data["tables"] = {kind: list(table.values()) for kind, table in company.tables.items()}
    data["webhooks"] = list(company.webhooks.values())
    data["files"] = {str(number): base64.b64encode(content).decode() for number, content in company.files.items()}
    return data


def _restored(data: dict[str, Any], sandbox: Sandbox) -> Company:
    company = Company(data["id"], data["domain"], data["name"], sandbox.clock, data["seed"])
    company.noop_events = data["noop_events"]
    for name in (one for one in PLAIN if one in data):
        setattr(company, name, data[name])
    for kind, records in data["tables"].items():
        company.tables[kind] = {record["id"]: record for record in records}
    company.webhooks = {webhook["id"]: webhook for webhook in data["webhooks"]}
    company.files = {int(number): base64.b64decode(content) for number, content in data["files"].items()}
    return company


def _delivery(delay: float, delivery: Delivery) -> Record:
    names = ["company", "webhook_id", "event_id", "kind", "record_id", "action", "version", "time", "duplicate"]
    data: Record = {name: getattr(delivery, name) for name in names}
    data["attempts"] = [{"time": one.time, "status": one.status, "error": one.error} for one in delivery.attempts]
    return data | {"payload": delivery.payload.decode(), "delay": delay}
