"""`pipeflow accounts`: connect, list, show, disconnect and refresh accounts, and replace the key that hides them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import AsJson, OfSandbox, Yes, listing

if TYPE_CHECKING:
    from pipeflow.cli.rows import Row
    from pipeflow.store.base import Account, Store

app = listing("List the accounts, show one, or connect and disconnect them.")

AccountId = Annotated[int, typer.Argument(metavar="ID", show_default=False)]
_COLUMNS = ("id", "company", "company_name", "name", "mode", "status", "acting", "expires_at", "reason")


@app.callback()
def accounts(ctx: typer.Context, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """List the accounts that are or were connected."""
    if ctx.invoked_subcommand is None:
        _list(as_json, of_sandbox)


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """List the accounts that are or were connected."""
    _list(*_options(ctx, as_json, of_sandbox))


@app.command("show")
def show(ctx: typer.Context, account_id: AccountId, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """Show one account, with the scopes that were granted."""
    from pipeflow.cli.compose import opened_store, reading_settings, run_async
    from pipeflow.cli.output import print_fields, print_json
    from pipeflow.vault import open_vault

    as_json, of_sandbox = _options(ctx, as_json, of_sandbox)

    async def read() -> Row:
        async with opened_store(of_sandbox) as store:
            account = await _find(store, account_id)
        scopes = _scopes(account, open_vault(reading_settings(of_sandbox)))
        return _row(account) | {"scopes": scopes}

    row = run_async(read())
    if as_json:
        print_json([row])
    else:
        print_fields({**row, "scopes": ", ".join(row["scopes"])})


@app.command("connect")
def connect(as_json: AsJson = False) -> None:
    """Print the link at which a user of a company connects it, while `pipeflow run` runs."""
    from pipeflow.cli.compose import load_settings, settings_trouble
    from pipeflow.cli.output import print_json, say
    from pipeflow.errors import ConfigError

    settings = load_settings()
    if settings.client_id is None:
        raise ConfigError(
            "There is no OAuth app to connect with: set PIPEDRIVE_CLIENT_ID and PIPEDRIVE_CLIENT_SECRET, which "
            "Developer Hub shows for your app. (With PIPEDRIVE_API_TOKEN alone its account is connected by itself.)"
        )
    for sentence in settings_trouble(settings):
        raise ConfigError(sentence)
    link = f"{settings.public_url}/oauth/install"
    if as_json:
        print_json([{"url": link}])
        return
    say(link)
    say(f"\nOpen it in a browser; the app's callback URL in Developer Hub is {settings.public_url}/oauth/callback.")


@app.command("disconnect")
def disconnect(ctx: typer.Context, account_id: AccountId, yes: Yes = False, of_sandbox: OfSandbox = False) -> None:
    """Give an account's grant back to Pipedrive and forget its credentials."""
    from pipeflow.cli.compose import opened_accounts, run_async
    from pipeflow.cli.output import say

    _, of_sandbox = _options(ctx, False, of_sandbox)

    async def work() -> Account | None:
        async with opened_accounts(of_sandbox) as (store, accounts):
            found = await _find(store, account_id)
            if not yes:
                typer.confirm(f"Disconnect {found.name} of {found.company_name or found.company}?", abort=True)
            return await accounts.disconnect(account_id)

    ended = run_async(work())
    if ended is None:
        say("It is not connected.")
        return
    say(f"{ended.name} of {ended.company_name or ended.company} is disconnected.")
    if ended.mode == "token":
        say("`pipeflow run` connects it again as long as PIPEDRIVE_API_TOKEN is set.")


@app.command("refresh")
def refresh(ctx: typer.Context, account_id: AccountId, of_sandbox: OfSandbox = False) -> None:
    """Refresh an account's OAuth token now."""
    from pipeflow.cli.compose import opened_accounts, run_async
    from pipeflow.cli.output import say
    from pipeflow.cli.times import local
    from pipeflow.errors import PipeflowError

    _, of_sandbox = _options(ctx, False, of_sandbox)

    async def work() -> Account:
        async with opened_accounts(of_sandbox) as (store, accounts):
            if (await _find(store, account_id)).mode != "oauth":
                raise PipeflowError(f"Account {account_id} is one of an API token, which never ends.")
            await accounts.tokens.refresh(account_id)
            return await _find(store, account_id)

    fresh = run_async(work())
    say(f"Refreshed: the token lives until {local(fresh.expires_at)}.")


@app.command("rotate-key")
def rotate_key(ctx: typer.Context, of_sandbox: OfSandbox = False) -> None:
    """Encrypt all credentials with the newest key; a key that is kept in a file gets a new one in front first."""
    from pipeflow.cli.compose import opened_accounts, reading_settings, run_async
    from pipeflow.cli.output import say
    from pipeflow.errors import ConfigError
    from pipeflow.vault import add_kept_key, key_path, open_vault

    _, of_sandbox = _options(ctx, False, of_sandbox)
    settings = reading_settings(of_sandbox)
    kept = key_path(settings.sqlite_path) if settings.secret_key is None and settings.sqlite_path else None
    if open_vault(settings).keys == 1:
        if kept is None:
            raise ConfigError(
                "PIPEFLOW_SECRET_KEY holds one key: write the new one in front (new,old), restart `pipeflow run`, then "
                "call this again."
            )
        add_kept_key(kept)
        say(f"A new key is in {kept}, in front of the old one. Restart `pipeflow run`, then call this again.")
        return

    async def work() -> int:
        async with opened_accounts(of_sandbox) as (_, accounts):
            return await accounts.rotate()

    done = run_async(work())
    say(f"{done} accounts were encrypted anew with the newest key; the others were already.")
    where = kept or "PIPEFLOW_SECRET_KEY"
    say(f"The old keys may go from {where} once `pipeflow run` has made its webhooks anew: at its start, or hourly.")


def _options(ctx: typer.Context, as_json: bool, of_sandbox: bool) -> tuple[bool, bool]:
    """Take the options that stand before the subcommand's name for those behind it."""
    above = ctx.parent.params if ctx.parent else {}
    return as_json or bool(above.get("as_json")), of_sandbox or bool(above.get("of_sandbox"))


def _list(as_json: bool, of_sandbox: bool) -> None:
    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json, print_table

    async def read() -> list[Row]:
        async with opened_store(of_sandbox) as store:
            return [_row(account) for account in await store.accounts()]

    rows = run_async(read())
    if as_json:
        print_json(rows)
        return
    empty = "None is connected yet: `pipeflow accounts connect` gives the link."
    print_table(_COLUMNS, ([_word(row[column]) for column in _COLUMNS] for row in rows), empty=empty)


async def _find(store: Store, account_id: int) -> Account:
    from pipeflow.errors import PipeflowError

    found = next((one for one in await store.accounts() if one.id == account_id), None)
    if found is None:
        raise PipeflowError(f"There is no account {account_id}; `pipeflow accounts` lists them.")
    return found


def _row(account: Account) -> Row:
    from pipeflow.cli.rows import account_row

    return account_row(account)


def _scopes(account: Account, vault: object) -> list[str]:
    from pipeflow.store.connect import Grant
    from pipeflow.vault import Vault

    if account.mode != "oauth" or account.credentials is None or not isinstance(vault, Vault):
        return []
    return sorted(set(Grant.opened(vault, account.credentials).scope.replace(",", " ").split()))


def _word(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
