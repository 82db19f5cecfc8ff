"""`pipeflow doctor`: every setting, the store, accounts, webhooks and recipes, and what to do about what is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import OfSandbox

LOOKS = 3

if TYPE_CHECKING:
    from pipeflow.settings import Settings
    from pipeflow.store.base import Store


def doctor(
    recipes: Annotated[str, typer.Argument(help="The recipes to look at.")] = "recipes", of_sandbox: OfSandbox = False
) -> None:
    """Check settings, store, accounts, webhooks and recipes.

    Exit code 1 when something is wrong, with what to do about it.
    """
    from pipeflow.cli.compose import run_async, settings_trouble
    from pipeflow.cli.output import print_table, say
    from pipeflow.settings import describe, misspelt

    settings, wrong = _read_settings(of_sandbox)
    has_store = not wrong
    say("Settings")
    print_table(("variable", "value", "meaning"), describe(settings), empty="")
    wrong += misspelt()
    wrong += [] if of_sandbox else settings_trouble(settings)
    wrong += _look_at_several_machines(settings)
    wrong += _look_at_recipes(recipes)
    wrong += run_async(_look_at_store(settings)) if has_store else []
    if not wrong:
        say("\nAll is well.")
        return
    say("\nWhat to do")
    for number, sentence in enumerate(wrong, start=1):
        say(f"{number:>3}. {sentence}")
    raise typer.Exit(1)


def _read_settings(of_sandbox: bool) -> tuple[Settings, list[str]]:
    """Read the settings; on a platform without a disk that lasts, as if there were the database that it needs."""
    from pipeflow.cli.compose import load_settings, reading_settings
    from pipeflow.errors import ConfigError

    try:
        return reading_settings(of_sandbox), []
    except ConfigError as error:
        if "DYNO" not in os.environ:
            raise
        return load_settings(of_sandbox, database_url="postgresql://not-set-yet"), [str(error)]


def _look_at_several_machines(settings: Settings) -> list[str]:
    """Say what is missing where the store is on PostgreSQL, and processes share nothing else."""
    if settings.sqlite_path is not None:
        return []
    wrong = []
    if settings.secret_key is None:
        wrong.append(
            "PIPEFLOW_SECRET_KEY is not set; with PostgreSQL all processes need the same one. "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one."
        )
    if not (find_spec("psycopg") and find_spec("procrastinate")):
        wrong.append("PostgreSQL needs more packages: pip install 'pipeflow[postgres]'.")
    return wrong


def _look_at_recipes(recipes: str) -> list[str]:
    from pipeflow.cli.output import say
    from pipeflow.cli.screen import describe_times
    from pipeflow.errors import ConfigError
    from pipeflow.registry import load

    say("\nRecipes")
    try:
        registry = load(recipes)
    except ConfigError as error:
        say(f"{recipes} cannot be loaded")
        return [str(error)]
    for handler in registry.handlers.values():
        say(f"{handler.name} on {', '.join(handler.patterns)}")
    for job in registry.jobs.values():
        say(f"{job.name} {describe_times(job.every, job.cron, job.timezone)}")
    if registry.handlers or registry.jobs:
        return []
    return [f"There is no handler and no job in {recipes}: `pipeflow new NAME` writes a recipe to begin with."]


async def _look_at_store(settings: Settings) -> list[str]:
    from pipeflow.cli.compose import shown_database
    from pipeflow.cli.output import say
    from pipeflow.errors import StoreError
    from pipeflow.store import open_store

    shown = shown_database(settings.database_url)
    say("\nStore")
    if settings.sqlite_path and not settings.sqlite_path.exists():
        say(f"{shown}: not made yet, `pipeflow run` makes it")
        return []
    store = open_store(settings.database_url)
    try:
        await store.open()
    except StoreError as error:
        say(f"{shown}: cannot be opened")
        return [str(error)]
    try:
        counts = await store.counts()
        say(f"{shown}: " + ", ".join(f"{number} {name}" for name, number in counts.items()))
        dead = counts.get("dead", 0)
        wrong = [f"{dead} runs are dead: `pipeflow runs --status dead` lists them."] if dead else []
        wrong += await _look_at_workers(store, counts)
        return wrong + await _look_at_waits(store) + await _look_at_accounts(store)
    finally:
        await store.close()


async def _look_at_waits(store: Store) -> list[str]:
    """Name what waits for a person: lanes that the fuse parked, and what somebody paused."""
    from pipeflow.cli.output import say
    from pipeflow.cli.pauses import told
    from pipeflow.store.base import RunFilter

    pauses, parked = await store.pauses(), await store.runs(RunFilter(limit=0, parked=True))
    for pause in pauses:
        say(f"{told(pause)} is paused{f': {pause.reason}' if pause.reason else ''}")
    if not parked:
        return []
    return [f"Parked, as it looks like a loop: {len(parked)} of the lanes; `pipeflow runs --parked` lists them."]


async def _look_at_workers(store: Store, counts: Mapping[str, int]) -> list[str]:
    from pipeflow.cli.compose import several_workers
    from pipeflow.cli.output import say

    workers = await several_workers(store)
    if workers is None:
        return []
    say(f"workers alive: {workers}")
    waiting = counts["undispatched"] + counts["pending"]
    if workers or not waiting:
        return []
    return [f"{waiting} events and runs wait, and no worker is there: `pipeflow run recipes/ --only worker`."]


async def _look_at_accounts(store: Store) -> list[str]:
    from pipeflow.cli.output import print_table, say

    accounts, webhooks = await store.accounts(), await store.webhooks()
    say("\nAccounts")
    print_table(
        ("company", "name", "user", "mode", "status", "why"),
        ((a.company, a.company_name, a.name, a.mode, a.status, a.reason) for a in accounts),
        empty="None is connected yet.",
    )
    say("\nWebhooks, as last seen")
    print_table(
        ("id", "company", "action", "object", "url", "active"),
        ((w.id, w.company, w.action, w.object, w.url, "yes" if w.active else "no") for w in webhooks),
        empty="None.",
    )
    wrong = await _look_at_proofs(store)
    wrong += [
        f"The account of {a.name} at {a.company_name or a.company} must be connected again ({a.reason}): "
        "`pipeflow accounts connect` gives the link."
        for a in accounts
        if a.status == "needs_reconnect"
    ]
    wrong += [
        f"Webhook {w.id} ({w.action} {w.object}) is not active: `pipeflow run` makes it anew."
        for w in webhooks
        if not w.active
    ]
    return wrong


async def _look_at_proofs(store: Store) -> list[str]:
    """Show the last look for what was missed, of each company."""
    from pipeflow.cli.output import say
    from pipeflow.engine.reconcile import describe

    say("\nLooks for what was missed (UTC)")
    wrong: list[str] = []
    shown = 0
    for company in sorted({one.company for one in await store.accounts() if one.status != "disconnected"}):
        for proof in await store.proofs(company, limit=LOOKS):
            shown += 1
            say(f"company {company}, {describe(proof)} ({proof.tokens} tokens)")
        last = await store.proofs(company, limit=1)
        if last and last[0].error:
            wrong.append(f"The last look for what company {company} missed was not complete: {last[0].error}")
    if not shown:
        say("None yet.")
    return wrong
