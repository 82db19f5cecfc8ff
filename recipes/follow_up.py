"""Plan a follow-up call whenever a deal reaches a new stage."""

from datetime import timedelta

from pipeflow import Client, Event, Run, changed, on
from pipeflow.records import Deal


@on("deal.updated", when=changed("stage_id"))
async def call_after_stage_move(event: Event[Deal], client: Client, run: Run) -> None:
    """Plan a call for the deal's owner on the day after the move."""
    deal = event.record
    tomorrow = (event.occurred_at + timedelta(days=1)).date()
    await run.once(
        "call",
        lambda: client.activities.add_activity(
            subject=f"Call about {deal.title}",
            type="call",
            deal_id=deal.id,
            owner_id=deal.owner_id,
            due_date=tomorrow,
        ),
    )
