"""A lead that became a deal is told once, from whichever half arrives first, or alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeflow.engine.conversions import NAME, Conversions, tell_conversions
from pipeflow.events import build_event, normalise
from pipeflow.registry import Registry
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.converting import lead_to_deal
from pipeflow.store.base import StoredEvent
from tests.engine.watched import Watched, handler, watched


async def converted(house: Watched) -> tuple[str, dict[str, StoredEvent]]:
    """Turn a lead into a deal; give its id, and both halves as stored."""
    lead = next(house.sandbox.company.living("lead"))
    lead_to_deal(house.sandbox.company, lead["id"], {}, Actor(house.sandbox.company.admin["id"]))
    await house.deliver(*(one for one in house.changes if one.kind in ("deal", "lead") and one.action != "change"))
    return lead["id"], {event.name: event for event in await house.events(source="delivery")}


async def look(house: Watched, stored: StoredEvent) -> None:
    (account,) = await house.accounts.connected()
    event: Any = build_event(
        normalise(stored.raw),
        id=stored.id,
        source=stored.source,
        company=stored.company,
        occurred_at=stored.occurred_at,
        raw=stored.raw,
    )
    await Conversions(house.store, house.clock).look(event, house.accounts.client_for(account))


@pytest.mark.parametrize("halves", [["deal.added"], ["lead.deleted"], ["lead.deleted", "deal.added"]])
async def test_conversion_is_told_once_from_either_half(tmp_path: Path, halves: list[str]) -> None:
    async with watched(tmp_path, "lead.converted", "lead.deleted", "deal.added") as house:
        lead_id, stored = await converted(house)
        for name in halves:
            await look(house, stored[name])
        await house.dispatch()
        (event,) = [event for event in await house.events() if event.name == "lead.converted"]
        told = build_event(
            normalise(event.raw), id=1, source="poll", company=1, occurred_at=event.occurred_at, raw=event.raw
        )
        assert (event.record_id, event.names, event.status) == (lead_id, ("lead.converted",), "dispatched")
        assert str(told.record.deal_id) == stored["deal.added"].record_id
        assert told.record.title


async def test_deals_and_leads_that_have_nothing_to_do_with_each_other_tell_no_conversion(tmp_path: Path) -> None:
    async with watched(tmp_path, "deal.*", "lead.*") as house:
        house.sandbox.add("deal", title="Just a deal")
        house.sandbox.delete("lead", next(house.sandbox.company.living("lead"))["id"])
        await house.deliver(*house.changes)
        for stored in await house.events():
            await look(house, stored)
        assert [event.name for event in await house.events()] == ["deal.added", "lead.deleted"]


@pytest.mark.parametrize(("pattern", "asks"), [("lead.converted", True), ("*.converted", True), ("lead.*", False)])
async def test_nobody_looks_for_conversions_unless_a_handler_asks(tmp_path: Path, pattern: str, asks: bool) -> None:
    async with watched(tmp_path, "deal.*") as house:
        registry = Registry()
        registry.add(handler("a.h", pattern))
        tell_conversions(registry, house.store, house.clock)
    assert (NAME in registry.handlers) is asks
