"""A lead that became a deal: `lead.converted`, told once, from whichever half of it arrives. Imports client and store.

Pipedrive delivers the creation of a deal and the deletion of a lead, and neither names the other; the deal itself knows
the lead it was made from. A handler of our own asks for it, with the retries and the order that handlers have.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson

from pipeflow.client.client import Client
from pipeflow.errors import Gone, NotFound
from pipeflow.events import Event, partition_of
from pipeflow.registry import DEFAULT_TIMEOUT, Handler, Registry
from pipeflow.store.base import NewEvent, Store

NAME = "pipeflow.conversions"
VERB = "converted"
LOOK_BACK = timedelta(seconds=120)
PAGES = 3


def tell_conversions(registry: Registry, store: Store, clock: Callable[[], float]) -> None:
    """Let conversions be told, where a handler asks for `lead.converted`."""
    wanted = (pattern for handler in registry.handlers.values() for pattern in handler.patterns)
    if any(pattern.partition(".")[2] == VERB for pattern in wanted):
        registry.add(_handler(Conversions(store, clock).look))


class Conversions:
    """Finds the deal that a lead became, or the lead that a deal was made from, and stores the event."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def look(self, event: Event[Any], client: Client) -> None:
        """Look whether the added deal, or the deleted lead, was half of a conversion."""
        is_deal = event.kind == "deal"
        other = await (_lead_of(event, client) if is_deal else _deal_of(event, client))
        if other is not None:
            await self._tell(event, *((other, event.record_id) if is_deal else (event.record_id, other)))

    async def _tell(self, event: Event[Any], lead_id: str, deal_id: str) -> None:
        key = (event.company, "lead", lead_id)
        last = (await self._store.records([key])).get(key)
        state = orjson.loads(last.state) if last is not None and last.state else _handed_on(event)
        meta = {
            "action": VERB,
            "entity": "lead",
            "entity_id": lead_id,
            "company_id": str(event.company),
            "timestamp": event.occurred_at.isoformat(),
            "version": "2.0",
        }
        if event.actor_id is not None:
            meta["user_id"] = str(event.actor_id)
        body = {"meta": meta, "data": {**state, "id": lead_id, "deal_id": int(deal_id)}, "previous": None}
        await self._store.add_events(
            [
                NewEvent(
                    company=event.company,
                    key=f"conversion:{lead_id}:{deal_id}",
                    name=f"lead.{VERB}",
                    kind="lead",
                    record_id=lead_id,
                    action=VERB,
                    source="poll",
                    raw=orjson.dumps(body),
                    received_at=self._clock(),
                    partition=partition_of(event.company, "lead", lead_id),
                    occurred_at=event.occurred_at.timestamp(),
                    actor_id=meta.get("user_id"),
                )
            ]
        )


def _handed_on(event: Event[Any]) -> dict[str, Any]:
    """Give what a deal has of the lead that nobody told us of before it was gone."""
    if event.kind != "deal":
        return {}
    deal = event.record
    told = {"title": deal.title, "owner_id": deal.owner_id, "person_id": deal.person_id, "organization_id": deal.org_id}
    return {name: value for name, value in told.items() if value is not None}


async def _lead_of(event: Event[Any], client: Client) -> str | None:
    """Give the lead that a deal was made from (`GET /api/v2/deals/{id}`)."""
    told = event.record.source_lead_id
    if told is not None:
        return str(told)
    try:
        deal = await client.v2.deals.get_deal(int(event.record_id))
    except (NotFound, Gone):
        return None
    return deal.source_lead_id


async def _deal_of(event: Event[Any], client: Client) -> str | None:
    """Find the deal that a lead became among those that changed since (`GET /api/v2/deals`)."""
    since = (event.occurred_at - LOOK_BACK).strftime("%Y-%m-%dT%H:%M:%SZ")
    deals = client.v2.deals.get_deals(updated_since=since, sort_by="update_time", limit=500)
    async for deal in deals.take(PAGES * 500):
        if deal.source_lead_id == event.record_id:
            return str(deal.id)
    return None


def _handler(function: Callable[..., Any]) -> Handler:
    return Handler(
        name=NAME,
        patterns=("deal.added", "lead.deleted"),
        function=function,
        when=None,
        ordered=True,
        ignore_self=True,
        timeout=DEFAULT_TIMEOUT,
        concurrency=None,
        arguments={"event": "event", "client": "client"},
        record_types=(),
        is_async=True,
        file=__file__,
        line=1,
        summary="Find the leads that became deals.",
    )
