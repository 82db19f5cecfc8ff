"""The only place that builds things: settings, vault, store, engine and web application. May import everything."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from pipeflow.errors import ConfigError, StoreError
from pipeflow.settings import Settings

if TYPE_CHECKING:
    from pipeflow.cli.rehearsal import Rehearsal
    from pipeflow.client import Client
    from pipeflow.engine.accounts import Accounts
    from pipeflow.engine.ownership import Ownership
    from pipeflow.engine.roster import Roster
    from pipeflow.engine.scheduler import Scheduler
    from pipeflow.engine.upkeep import Upkeep
    from pipeflow.engine.worker import Engine
    from pipeflow.registry import Registry
    from pipeflow.store.base import Account, Store, Write
    from pipeflow.vault import Vault
    from pipeflow.web.app import App

T = TypeVar("T")

HOUR = 3600.0
DAY = 86400.0
PURGED_AT_ONCE = 200
SANDBOX_DATABASE = "sqlite:///.sandbox/pipeflow.db"
NO_ACCOUNT = (
    "No such account is connected here. Set PIPEDRIVE_API_TOKEN (in Pipedrive: Personal preferences > API), in the "
    "environment or in a file .env; or connect an account at /oauth/install while `pipeflow run` runs."
)

log = logging.getLogger("pipeflow.run")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


def load_settings(of_sandbox: bool = False, **overrides: Any) -> Settings:
    """Read the settings; `of_sandbox` moves the store's default place, so that sample data never mixes with real data.

    Raises ConfigError for a setting that cannot be.
    """
    settings = Settings.load(**overrides)
    if of_sandbox and "database_url" not in settings.model_fields_set:
        return Settings.load(**{**overrides, "database_url": SANDBOX_DATABASE})
    return settings


def dry_run_database(settings: Settings) -> str:
    """Name the store of a dry run, beside the one in use: `pipeflow.dry-run.db`. What it says is done was not done."""
    path = settings.sqlite_path or Path("pipeflow.db")
    return f"sqlite:///{quote(str(path.with_suffix('.dry-run.db')))}"


def shown_database(database_url: str) -> str:
    """Write a database URL without its password."""
    parts = urlsplit(database_url)
    if not parts.password:
        return database_url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def reading_settings(of_sandbox: bool) -> Settings:
    """Read the settings for a command that looks into the store that `run` made.

    Where no database is set and only the sandbox's is there, it is that one: after `run --sandbox`, plain `runs` works.
    Else where only a dry run's is there, it is that one.
    """
    settings = load_settings(of_sandbox)
    places = [settings]
    if "database_url" not in settings.model_fields_set:
        places.append(load_settings(of_sandbox=True))
    places += [load_settings(of_sandbox, database_url=dry_run_database(place)) for place in places]
    return next((place for place in places if place.sqlite_path is None or place.sqlite_path.exists()), settings)


@asynccontextmanager
async def opened_store(of_sandbox: bool = False, *, dry_run: bool = False) -> AsyncIterator[Store]:
    """Open the store for a command beside a running `run`, or the one of a dry run; StoreError where there is none."""
    from pipeflow.store import open_store

    settings = reading_settings(of_sandbox)
    if dry_run and settings.database_url != dry_run_database(load_settings(of_sandbox)):
        settings = load_settings(of_sandbox, database_url=dry_run_database(settings))
    path = settings.sqlite_path
    if path and not path.exists():
        raise StoreError(f"There is no store at {settings.database_url} yet: `pipeflow run` makes it.")
    store = open_store(settings.database_url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_accounts(of_sandbox: bool = False) -> AsyncIterator[tuple[Store, Accounts]]:
    """Open the store and the accounts in it, to ask Pipedrive as one of them."""
    from pipeflow.engine.accounts import Accounts
    from pipeflow.vault import open_vault

    async with opened_store(of_sandbox) as store:
        settings = reading_settings(of_sandbox)
        yield store, Accounts(store, open_vault(settings), settings)


@asynccontextmanager
async def opened_client(of_sandbox: bool = False, company: int | None = None) -> AsyncIterator[Client]:
    """Give a client of `PIPEDRIVE_API_TOKEN`, else of the account in the store that acts for the company.

    Raises ConfigError where there is none, or where there are several companies and none was named.
    """
    from pipeflow.client import Client, Configuration

    settings = reading_settings(of_sandbox)
    if settings.api_token is not None and not of_sandbox and company is None:
        token = settings.api_token.get_secret_value()
        async with Client(Configuration(api_key=token, base_url=settings.api_url)) as client:
            yield client
        return
    path = settings.sqlite_path
    if path and not path.exists():
        raise ConfigError(NO_ACCOUNT)
    async with opened_accounts(of_sandbox) as (_, accounts):
        acting = [account for account in await accounts.connected() if account.acting]
        async with accounts.client_for(_chosen(acting, company)) as client:
            yield client


def _chosen(accounts: Sequence[Account], company: int | None) -> Account:
    """Choose the account of the company, or the only one."""
    if company is not None:
        accounts = [account for account in accounts if account.company == company]
    if not accounts:
        raise ConfigError(NO_ACCOUNT)
    if len(accounts) > 1:
        names = ", ".join(f"{account.company} ({account.company_name})" for account in accounts)
        raise ConfigError(f"Several companies are connected; say which with --company: {names}.")
    return accounts[0]


@dataclass
class Service:
    """Everything that `run` starts and stops, built and not yet started. `ready` is True, or why not yet."""

    settings: Settings
    vault: Vault
    store: Store
    registry: Registry
    accounts: Accounts
    engine: Engine
    scheduler: Scheduler
    upkeep: Upkeep
    roster: Roster
    poll: float | None = None
    ready: bool | str = "starting"

    def app(self) -> App:
        """Build the web application over the store."""
        from pipeflow.web.app import create_app

        return create_app(self.store, self.settings, self.vault, ready=lambda: self.ready)


def build_service(
    settings: Settings, registry: Registry, *, poll: float | None = None, dry_run: bool = False
) -> Service:
    """Put together what `run` needs; opens and starts nothing. `poll`: look every so many seconds, without webhooks."""
    from pipeflow.engine.accounts import Accounts
    from pipeflow.engine.conversions import tell_conversions
    from pipeflow.engine.reconcile import Reconciler
    from pipeflow.engine.roster import Roster
    from pipeflow.engine.scheduler import Scheduler
    from pipeflow.engine.tokens import EVERY_SECONDS
    from pipeflow.engine.upkeep import Upkeep
    from pipeflow.engine.webhooks import WebhookKeeper
    from pipeflow.engine.worker import Engine
    from pipeflow.store import open_store
    from pipeflow.vault import open_vault

    store = open_store(settings.database_url)
    tell_conversions(registry, store, time.time)
    vault = open_vault(settings)
    accounts = Accounts(store, vault, settings)
    scheduler = Scheduler(store, registry, accounts)
    keeper = None if poll else WebhookKeeper(store, registry, accounts, vault, settings)
    upkeep = Upkeep(scheduler, keeper, Reconciler(store, registry, accounts, settings, poll=poll))
    engine = Engine(store, registry, settings, accounts, ownership=ownership_of(store), dry_run=dry_run)
    scheduler.own("The look at custom fields", DAY, lambda: look_at_fields(engine, registry))
    scheduler.own("The look at who the accounts are", DAY, accounts.look_again, alone=True)
    scheduler.own("The refresh of OAuth tokens", EVERY_SECONDS, accounts.tokens.refresh_ending)
    roster = Roster(store, accounts)
    roster.follow += [
        upkeep.follow,
        scheduler.follow,
        lambda company: look_at_fields(engine, registry, company),
        engine.go_on,
    ]
    days = settings.retention_days
    scheduler.own("Forgetting old history", HOUR, lambda: forget_history(store, days, time.time()), alone=True)
    return Service(
        settings=settings,
        vault=vault,
        store=store,
        registry=registry,
        accounts=accounts,
        engine=engine,
        scheduler=scheduler,
        upkeep=upkeep,
        roster=roster,
        poll=poll,
    )


def ownership_of(store: Store) -> Ownership | None:
    """Say who hands out partitions: procrastinate on PostgreSQL, nobody (None) where one process owns a file."""
    from pipeflow.store.sqlite import SQLiteStore

    if isinstance(store, SQLiteStore):
        return None
    from pipeflow.engine.ownership import HandedOut
    from pipeflow.store.postgres import PostgresStore

    assert isinstance(store, PostgresStore)  # noqa: S101 - there are these two
    return HandedOut(store)


async def several_workers(store: Store) -> int | None:
    """Count the workers that are alive on PostgreSQL; None where one process owns a file."""
    from pipeflow.store.sqlite import SQLiteStore

    if isinstance(store, SQLiteStore):
        return None
    from pipeflow.engine.ownership import STALLED
    from pipeflow.store.postgres import PostgresStore
    from pipeflow.store.postgres_jobs import Jobs

    assert isinstance(store, PostgresStore)  # noqa: S101 - there are these two
    return await Jobs(store.database).workers(STALLED)


async def look_at_fields(engine: Engine, registry: Registry, company: int | None = None) -> None:
    """Fetch the companies' custom fields anew and warn of predicates that name a field which is not there."""
    for sentence in await engine.fields.look(registry.handlers.values(), company):
        log.warning("%s", sentence)


def rehearsal(store: Store, recipes: str, of_sandbox: bool) -> Rehearsal:
    """Put together what executes a run here without sending what it writes."""
    from pipeflow.cli.rehearsal import Rehearsal
    from pipeflow.engine.accounts import Accounts
    from pipeflow.engine.dryrun import DryRun
    from pipeflow.engine.execute import Executor
    from pipeflow.engine.fieldnames import CompanyFields
    from pipeflow.engine.writes import Ledger
    from pipeflow.registry import load
    from pipeflow.vault import open_vault

    registry, settings = load(recipes), reading_settings(of_sandbox)
    accounts = Accounts(store, open_vault(settings), settings)
    writes: list[Write] = []

    async def keep(write: Write) -> None:
        writes.append(write)

    fields, dry_run = CompanyFields(store, accounts), DryRun(keep, time.time)
    executor = Executor(Ledger(store, time.time), accounts, fields, settings.retry_delays, dry_run)
    return Rehearsal(store, registry, executor, writes)


async def forget_history(store: Store, days: float, now: float) -> None:
    """Delete events older than so many days whose runs have ended; a little at a time, so that the writer is free."""
    gone = PURGED_AT_ONCE
    while gone == PURGED_AT_ONCE:
        gone = await store.purge(now - days * 86400, limit=PURGED_AT_ONCE)


def settings_trouble(settings: Settings, *, polls: bool = False) -> list[str]:
    """Say what is missing for a way into Pipedrive and back; who polls needs no way back, but for an OAuth app."""
    if settings.api_token is None and (settings.client_id is None or settings.client_secret is None):
        return [
            "There is no way into Pipedrive yet. Set PIPEDRIVE_API_TOKEN (in Pipedrive: Personal preferences > API) "
            "or PIPEDRIVE_CLIENT_ID and PIPEDRIVE_CLIENT_SECRET (of an OAuth app, in Developer Hub), "
            "and PIPEFLOW_PUBLIC_URL (the https address at which Pipedrive reaches this machine), in the environment "
            "or in a file .env. Or try it against a simulated Pipedrive, without any account: `pipeflow run --sandbox`."
        ]
    if settings.public_url is None and not (polls and settings.client_id is None):
        return [
            "PIPEFLOW_PUBLIC_URL is not set: the https address at which Pipedrive reaches this machine, such as "
            "https://hooks.example.com; webhooks are registered there. Set it in the environment or in a file .env, "
            "or try it against a simulated Pipedrive: `pipeflow run --sandbox`. Without any address of your own, "
            "`pipeflow run --poll 60` asks Pipedrive every 60 s what changed."
        ]
    return []


def require_credentials(settings: Settings, *, polls: bool = False) -> None:
    """Refuse to start without a way into Pipedrive and back, saying what to set; raises ConfigError."""
    for sentence in settings_trouble(settings, polls=polls):
        raise ConfigError(sentence)
