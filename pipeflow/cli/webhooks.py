"""`pipeflow webhooks`: list the webhooks at Pipedrive, ours and others'."""

from __future__ import annotations

from typing import Any

import typer

from pipeflow.cli.options import AsJson, OfSandbox, listing

app = listing("List the webhooks at Pipedrive, or show one in full: `pipeflow webhooks 12`.")

_COLUMNS = ("id", "action", "object", "url", "version", "name", "active", "ours")


@app.callback()
def webhooks(ctx: typer.Context, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """List the webhooks at Pipedrive, or show one in full: `pipeflow webhooks 12`."""
    if ctx.invoked_subcommand is not None:
        return
    from pipeflow.cli.compose import run_async
    from pipeflow.cli.output import print_json, print_table

    rows = run_async(_rows(of_sandbox))
    if as_json:
        print_json(rows)
        return
    print_table(_COLUMNS, (tuple(row.values()) for row in rows), empty="There are no webhooks.")


@app.command("show", hidden=True)
def show(webhook_id: int, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Show one webhook in full."""
    from pipeflow.cli.compose import run_async
    from pipeflow.cli.output import print_fields, print_json
    from pipeflow.errors import StoreError

    found = [row for row in run_async(_rows(of_sandbox)) if row["id"] == webhook_id]
    if not found:
        raise StoreError(f"There is no webhook {webhook_id}; `pipeflow webhooks` lists them.")
    if as_json:
        print_json(found)
        return
    print_fields(found[0])


async def _rows(of_sandbox: bool) -> list[dict[str, Any]]:
    """Ask Pipedrive, as each acting account, for its webhooks (`GET /v1/webhooks`)."""
    from pipeflow.cli.compose import opened_store, reading_settings
    from pipeflow.engine.accounts import Accounts
    from pipeflow.engine.webhooks import is_ours
    from pipeflow.vault import open_vault

    settings = reading_settings(of_sandbox)
    rows: list[dict[str, Any]] = []
    async with opened_store(of_sandbox) as store:
        accounts = Accounts(store, open_vault(settings), settings)
        for account in await accounts.connected():
            if not account.acting:
                continue
            for found in await accounts.client_for(account).webhooks.get_webhooks():
                rows.append(
                    {
                        "id": found.id,
                        "action": found.event_action,
                        "object": found.event_object,
                        "url": found.subscription_url,
                        "version": found.version,
                        "name": found.name,
                        "active": bool(found.is_active) and not found.remove_time,
                        "ours": is_ours(found),
                    }
                )
    return rows
