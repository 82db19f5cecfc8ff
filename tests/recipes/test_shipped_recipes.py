"""The shipped recipes, tested as their users would test their own."""

from __future__ import annotations

from pipeflow.testing import RunningSandbox, make_event, run
from recipes.follow_up import call_after_stage_move
from recipes.stale_deals import deals_without_next_step
from recipes.won_deal_handover import hand_over


async def test_stage_move_plans_one_call_however_often_it_is_tried(sandbox: RunningSandbox) -> None:
    deal = await sandbox.client.deals.add_deal(title="Acme")
    event = make_event("deal.updated", {"id": deal.id, "title": "Acme", "stage_id": 2}, changes={"stage_id": 1})
    assert await run(call_after_stage_move, event, client=sandbox.client) == "succeeded"
    assert await run(call_after_stage_move, event, client=sandbox.client) == "succeeded"
    calls = await sandbox.client.activities.get_activities(deal_id=deal.id)
    assert [call.subject for call in calls] == ["Call about Acme"]


async def test_change_without_a_stage_move_plans_nothing(sandbox: RunningSandbox) -> None:
    event = make_event("deal.updated", {"id": 1, "title": "New name", "stage_id": 2}, changes={"title": "Old name"})
    assert await run(call_after_stage_move, event, client=sandbox.client) == "skipped"


async def test_won_deal_gets_a_note_and_a_handover(sandbox: RunningSandbox) -> None:
    deal = await sandbox.client.deals.add_deal(title="Acme", value=900, currency="EUR")
    won = {"id": deal.id, "title": "Acme", "value": 900, "currency": "EUR", "status": "won"}
    event = make_event("deal.updated", won, changes={"status": "open"})
    assert await run(hand_over, event, client=sandbox.client) == "succeeded"
    notes = await sandbox.client.notes.get_notes(deal_id=deal.id)
    assert notes[0].content == "<b>Won:</b> Acme, 900 EUR"


async def test_stale_deals_are_reported(sandbox: RunningSandbox) -> None:
    await sandbox.client.deals.add_deal(title="Nobody calls")
    assert await run(deals_without_next_step, client=sandbox.client) == "succeeded"
