"""Outgoing webhooks: what a change is told as, and the sender with its retries and bans. Imports httpx to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeflow.sandbox.answers import Record, v2_time
from pipeflow.sandbox.custom import show_hook
from pipeflow.sandbox.shapes_v2 import HIDDEN, TIMES

if TYPE_CHECKING:
    import httpx

    from pipeflow.sandbox.clock import Clock
    from pipeflow.sandbox.company import Change, Company

RETRIES = (3.0, 30.0, 150.0)
PATIENCE = 10.0
BAN_AFTER = 10
BAN_SECONDS = 1800.0
AT_ONCE = 16
_QUIET = frozenset({"update_time", "stage_change_time"})


def data_of(company: Company, kind: str, record: Record | None) -> Record | None:
    """Show a record as webhooks of version 2.0 do: neither of the REST generations."""
    if record is None:
        return None
    shown = {name: value for name, value in record.items() if name not in HIDDEN and name != "is_deleted"}
    for name in TIMES:
        if shown.get(name):
            shown[name] = v2_time(shown[name])
    if shown.get("visible_to") is not None:
        shown["visible_to"] = str(shown["visible_to"])
    if kind == "user":
        shown["id"] = str(shown["id"])
    if "custom_fields" in record:
        shown["custom_fields"] = show_hook(record["custom_fields"], company.custom_fields(kind).values())
    return shown


def previous_of(data: Record | None, before: Record | None) -> Record | None:
    """Give what changed, with the old values; for a deletion the last state."""
    if before is None or data is None:
        return before
    changed = {k: v for k, v in before.items() if data.get(k) != v and k not in _QUIET and k != "custom_fields"}
    old, new = before.get("custom_fields") or {}, data.get("custom_fields") or {}
    custom = {key: old.get(key) for key in {*old, *new} if old.get(key) != new.get(key)}
    return changed | ({"custom_fields": custom} if custom else {})


class Webhooks:
    """The webhooks of all companies, and what sends to them. Deliveries live as long as the loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: list[Record] = []
        self._failures: dict[int, int] = {}
        self._banned: dict[int, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._http: httpx.AsyncClient | None = None
        self.deliveries: list[Record] = []

    def of(self, company: Company) -> list[Record]:
        """List a company's webhooks."""
        return [one for one in self._all if one["company_id"] == company.id]

    def adopt(self, webhooks: list[Record]) -> None:
        """Take back the webhooks of an earlier start."""
        self._all.extend(webhooks)

    def add(self, company: Company, user_id: int, given: Record, version: str) -> Record:
        """Keep a new webhook."""
        made: Record = {
            "id": company.next_number("webhook"),
            "company_id": company.id,
            "owner_id": user_id,
            "user_id": given.get("user_id") or user_id,
            "admin_id": user_id,
            "event_action": given["event_action"],
            "event_object": given["event_object"],
            "subscription_url": given["subscription_url"],
            "version": version,
            "type": "general",
            "name": given.get("name"),
            "is_active": 1,
            "add_time": self._clock.stamp(),
            "remove_time": None,
            "remove_reason": None,
            "last_delivery_time": None,
            "last_http_status": None,
            "http_auth_user": given.get("http_auth_user"),
            "http_auth_password": given.get("http_auth_password"),
        }
        self._all.append(made)
        return made

    def remove(self, company: Company, webhook_id: Any) -> bool:
        """Forget a webhook; False where there is none."""
        found = [one for one in self.of(company) if one["id"] == webhook_id]
        for one in found:
            self._all.remove(one)
        return bool(found)

    async def reaches(self, url: str) -> bool:
        """Say whether a URL answers, without a redirect."""
        import httpx

        try:
            answer = await self._client().get(url, timeout=PATIENCE)
        except httpx.HTTPError:
            return False
        return not answer.is_redirect

    def tell(self, change: Change) -> None:
        """Send a change to every webhook that asks for it."""
        for webhook in self._wanting(change):
            if self._banned.get(webhook["id"], 0.0) > self._clock.seconds():
                continue
            task = asyncio.ensure_future(self._deliver(webhook, change))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    def _wanting(self, change: Change) -> Iterator[Record]:
        for webhook in self.of(change.company):
            fits = webhook["event_action"] in ("*", change.action) and webhook["event_object"] in ("*", change.kind)
            if fits and webhook["version"] == "2.0" and webhook["is_active"]:
                yield webhook

    async def _deliver(self, webhook: Record, change: Change) -> None:
        body = body_of(webhook, change)
        for attempt in range(1, len(RETRIES) + 2):
            body["meta"]["attempt"] = attempt
            status = await self._post(webhook, body)
            self.deliveries.append(
                {"webhook_id": webhook["id"], "event": change.event_id, "attempt": attempt, "status": status}
            )
            webhook |= {"last_http_status": status, "last_delivery_time": self._clock.stamp()}
            if 200 <= status < 300:
                return
            if attempt == 1:
                self._count_failure(webhook["id"])
            if attempt <= len(RETRIES):
                await self._clock.sleep(RETRIES[attempt - 1])

    async def _post(self, webhook: Record, body: Record) -> int:
        import httpx

        credentials = (webhook["http_auth_user"] or "", webhook["http_auth_password"] or "")
        async with self._slots:
            try:
                answer = await self._client().post(
                    webhook["subscription_url"],
                    content=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
                    headers={"content-type": "application/json", "user-agent": "Pipedrive Webhooks"},
                    auth=credentials if webhook["http_auth_user"] else httpx.USE_CLIENT_DEFAULT,
                )
            except httpx.HTTPError:
                return 0
        return answer.status_code

    def _count_failure(self, webhook_id: int) -> None:
        self._failures[webhook_id] = self._failures.get(webhook_id, 0) + 1
        if self._failures[webhook_id] >= BAN_AFTER:
            self._failures[webhook_id] = 0
            self._banned[webhook_id] = self._clock.seconds() + BAN_SECONDS

    def _client(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(timeout=PATIENCE, follow_redirects=False)
        return self._http


def body_of(webhook: Record, change: Change) -> Record:
    """Make the body of a delivery, version 2.0."""
    data = data_of(change.company, change.kind, change.after)
    before = data_of(change.company, change.kind, change.before)
    if change.action == "delete":
        data = None
    meta = {
        "action": change.action,
        "entity": change.kind,
        "entity_id": str(change.record_id),
        "company_id": str(change.company.id),
        "user_id": str(change.actor.user_id),
        "id": change.event_id,
        "correlation_id": change.correlation_id,
        "timestamp": change.time,
        "version": "2.0",
        "type": "general",
        "webhook_id": str(webhook["id"]),
        "webhook_owner_id": str(webhook["owner_id"]),
        "change_source": change.actor.source,
        "is_bulk_edit": change.actor.bulk,
        "attempt": 1,
        "host": f"{change.company.domain}.pipedrive.com",
        "permitted_user_ids": [str(user["id"]) for user in change.company.users],
    }
    return {"meta": meta | change.meta, "data": data, "previous": previous_of(data, before)}
