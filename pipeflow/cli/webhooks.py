"""`pipeflow webhooks`: list the webhooks at Pipedrive, ours and others'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pipeflow.cli.options import AsJson, OfSandbox, listing

if TYPE_CHECKING:
    from pipeflow.cli.rows import Row
    from pipeflow.client.v1.models import Webhook as PipedriveWebhook
    from pipeflow.engine.accounts import Accounts
    from pipeflow.store.base import Account, Store, Webhook

app = listing("List the webhooks at Pipedrive, or show one.")


@app.callback()
def webhooks(ctx: typer.Context, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """List the webhooks at Pipedrive, ours and others'.

    Where Pipedrive cannot be asked, ours as last seen there.
    """
    if ctx.invoked_subcommand is not None:
        return
    from pipeflow.cli.compose import run_async
    from pipeflow.cli.output import print_json, print_table

    rows = run_async(_read(of_sandbox))
    if as_json:
        print_json(rows)
        return
    columns = ("id", "action", "object", "url", "version", "name", "active", "ours")
    print_table(columns, ([_word(row[column]) for column in columns] for row in rows), empty="No webhooks.")


@app.command("show", hidden=True)
def show(ctx: typer.Context, webhook_id: int, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Show one webhook."""
    from pipeflow.cli.compose import run_async
    from pipeflow.cli.output import print_fields, print_json
    from pipeflow.errors import PipeflowError

    above = ctx.parent.params if ctx.parent else {}
    found = [row for row in run_async(_read(of_sandbox or above["of_sandbox"])) if row["id"] == webhook_id]
    if not found:
        raise PipeflowError(f"There is no webhook {webhook_id}; `pipeflow webhooks` lists them.")
    if as_json or above["as_json"]:
        print_json(found)
    else:
        print_fields({name: _word(value) for name, value in found[0].items()})


async def _read(of_sandbox: bool) -> list[Row]:
    from pipeflow.cli.compose import opened_accounts

    rows: list[Row] = []
    async with opened_accounts(of_sandbox) as (store, accounts):
        for account in await accounts.connected():
            if account.acting:
                rows += await _of_company(store, accounts, account)
    return rows


async def _of_company(store: Store, accounts: Accounts, account: Account) -> list[Row]:
    """Ask Pipedrive as this account (`GET /v1/webhooks`)."""
    from pipeflow.cli.output import warn
    from pipeflow.cli.rows import webhook_row
    from pipeflow.engine.webhooks import is_ours
    from pipeflow.errors import ClientError

    try:
        found = await accounts.client_for(account).webhooks.get_webhooks()
    except ClientError as error:
        warn(f"Pipedrive could not be asked ({error}); these are ours, as last seen.")
        return [webhook_row(webhook, True) for webhook in await store.webhooks(account.company)]
    return [webhook_row(_seen(account, webhook), is_ours(webhook)) for webhook in found]


def _seen(account: Account, found: PipedriveWebhook) -> Webhook:
    from pipeflow.store.base import Webhook

    return Webhook(
        id=int(found.id or 0),
        company=account.company,
        account_id=account.id,
        action=found.event_action or "",
        object=found.event_object or "",
        url=found.subscription_url or "",
        version=str(found.version or ""),
        name=found.name or "",
        active=bool(found.is_active) and not found.remove_time,
        seen_at=0.0,
    )


def _word(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
