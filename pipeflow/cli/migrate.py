"""`pipeflow migrate`: bring the store's schema up to date."""

from __future__ import annotations


def migrate() -> None:
    """Bring the store's schema up to date; safe to repeat."""
    from pipeflow.cli.compose import reading_settings, run_async, shown_database
    from pipeflow.cli.output import say
    from pipeflow.store import open_store

    settings = reading_settings(of_sandbox=False)

    async def work() -> None:
        store = open_store(settings.database_url)
        await store.open()
        await store.close()

    run_async(work())
    say(f"The store at {shown_database(settings.database_url)} is up to date.")
