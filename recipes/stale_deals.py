"""Report open deals that nobody plans to touch."""

from logging import Logger

from pipeflow import Client, cron


@cron("0 8 * * MON-FRI", timezone="account")
async def deals_without_next_step(client: Client, log: Logger) -> None:
    """List open deals without a next activity, the most valuable first. Reads only, so it is safe to repeat."""
    deals = client.deals.get_deals(status="open", include_fields="next_activity_id")
    stale = [deal async for deal in deals if not deal.next_activity_id]
    stale.sort(key=lambda deal: deal.value or 0, reverse=True)
    log.info("%d open deals have no next activity", len(stale))
    for deal in stale[:20]:
        log.info("  %s: %s %s", deal.title, deal.value, deal.currency)
