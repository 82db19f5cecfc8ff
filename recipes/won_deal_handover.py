"""Hand a won deal over: a note on the deal and an activity for its owner."""

from html import escape

from pipeflow import Client, Event, Run, on
from pipeflow.records import Deal


@on("deal.won")
async def hand_over(event: Event[Deal], client: Client, run: Run) -> None:
    """Write down what was won, and plan the hand-over meeting."""
    deal = event.record
    summary = f"<b>Won:</b> {escape(deal.title or '')}, {deal.value or 0:g} {deal.currency or ''}"
    await run.once("note", lambda: client.notes.add_note(content=summary, deal_id=deal.id))
    await run.once(
        "activity",
        lambda: client.activities.add_activity(
            subject=f"Hand over {deal.title}",
            type="meeting",
            deal_id=deal.id,
            owner_id=deal.owner_id,
        ),
    )
