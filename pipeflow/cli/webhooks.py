"""`pipeflow webhooks`: list the webhooks at Pipedrive, compare ours with what is needed, bring them in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import AsJson, OfSandbox, Yes, listing

if TYPE_CHECKING:
    from pipeflow.cli.rows import Row
    from pipeflow.client.v1.models import Webhook as PipedriveWebhook
    from pipeflow.engine.accounts import Accounts
    from pipeflow.engine.webhookplan import Plan
    from pipeflow.engine.webhooks import WebhookKeeper
    from pipeflow.registry import Registry
    from pipeflow.store.base import Account, Store, Webhook

app = listing("List the webhooks at Pipedrive, or show one.")
Recipes = Annotated[str, typer.Argument(help="The recipes whose handlers need webhooks.")]


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


@app.command("diff")
def diff(recipes: Recipes = "recipes", as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Say what `sync` would add, keep and remove; change nothing."""
    from pipeflow.cli.compose import run_async
    from pipeflow.registry import load

    registry = load(recipes)

    async def work() -> list[Row]:
        async with _keeper(of_sandbox, registry) as keeper:
            return [row for made in await keeper.plans() for row in _rows_of(made)]

    _print(run_async(work()), as_json, "Nothing is needed, and nothing is there.")


@app.command("sync")
def sync(recipes: Recipes = "recipes", as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Bring our webhooks in order, as `run` does at its start and hourly; others' stay as they are."""
    from pipeflow.cli.compose import run_async
    from pipeflow.registry import load

    registry = load(recipes)

    async def work() -> list[Row]:
        async with _keeper(of_sandbox, registry) as keeper:
            changes = await keeper.sync()
        done = (("added", changes.added), ("kept", changes.kept), ("removed", changes.removed))
        return [_row(what, webhook) for what, webhooks in done for webhook in webhooks]

    _print(run_async(work()), as_json, "Nothing is needed, and nothing is there.")


@app.command("remove")
def remove(yes: Yes = False, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Remove all our webhooks at Pipedrive: nothing is delivered any more until `run` or `sync` makes them anew."""
    from pipeflow.cli.compose import run_async
    from pipeflow.registry import Registry

    if not yes:
        typer.confirm("Remove all our webhooks? Events are then found by looking alone", abort=True)

    async def work() -> list[Row]:
        async with _keeper(of_sandbox, Registry(), needs_address=False) as keeper:
            return [_row("removed", webhook) for webhook in await keeper.remove()]

    _print(run_async(work()), as_json, "None of ours is there.")


@asynccontextmanager
async def _keeper(of_sandbox: bool, registry: Registry, *, needs_address: bool = True) -> AsyncIterator[WebhookKeeper]:
    from pipeflow.cli.compose import opened_accounts, reading_settings, settings_trouble
    from pipeflow.engine.webhooks import WebhookKeeper
    from pipeflow.errors import ConfigError
    from pipeflow.vault import open_vault

    settings = reading_settings(of_sandbox)
    if of_sandbox and settings.public_url is None:
        settings = settings.model_copy(update={"public_url": f"http://127.0.0.1:{settings.port}"})
    if needs_address and settings.public_url is None:
        raise ConfigError(settings_trouble(settings)[-1])
    async with opened_accounts(of_sandbox) as (store, accounts):
        yield WebhookKeeper(store, registry, accounts, open_vault(settings), settings)


def _rows_of(made: Plan) -> list[Row]:
    added: list[Row] = [
        {"what": "add", "id": None, "company": made.account.company, "action": action, "object": noun, "why": None}
        for action, noun in made.add
    ]
    kept = [_row("keep", webhook) for webhook in made.keep]
    return added + kept + [_row("remove", removal.webhook, removal.why) for removal in made.remove]


def _row(what: str, webhook: Webhook, why: str | None = None) -> Row:
    return {
        "what": what,
        "id": webhook.id,
        "company": webhook.company,
        "action": webhook.action,
        "object": webhook.object,
        "why": why,
    }


def _print(rows: list[Row], as_json: bool, empty: str) -> None:
    from pipeflow.cli.output import print_json, print_table

    if as_json:
        print_json(rows)
        return
    print_table(("what", "id", "company", "action", "object", "why"), (list(row.values()) for row in rows), empty=empty)


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
