"""What `pipeflow run` does from start to end: the order in which things come up and go down. Imports cli only."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pipeflow.cli.compose import (
    Service,
    build_service,
    dry_run_database,
    load_settings,
    look_at_fields,
    require_credentials,
)
from pipeflow.cli.listener import bind, new_loop, serving, tune_interpreter
from pipeflow.cli.logs import set_up_logging, wants_json
from pipeflow.cli.sandboxed import sandbox_process
from pipeflow.cli.screen import Screen, first_screen
from pipeflow.engine.watchdog import watching
from pipeflow.errors import ClientError, ConfigError, StoreError, StoreUnavailable, Unauthorized

if TYPE_CHECKING:
    from pipeflow.engine.webhooks import WebhookChanges
    from pipeflow.registry import Registry
    from pipeflow.settings import Settings

T = TypeVar("T")

ACCOUNT_PATIENCE = 5.0
DATABASE_PAUSE = 2.0
KNOWN_ACCOUNT_PATIENCE = 1.0
DRY_POLL = 15.0

log = logging.getLogger("pipeflow.run")


@dataclass(frozen=True)
class Plan:
    """What the user asked `run` for."""

    recipes: str
    sandbox: bool = False
    rate: float = 20.0
    seed: int | None = None
    only: Literal["web", "worker"] | None = None
    poll: float | None = None
    dry_run: bool = False
    listen: Mapping[str, Any] = field(default_factory=dict)


def dry(plan: Plan) -> Plan:
    """Give the same plan as a dry run: in a store of its own, and without webhooks but at the sandbox.

    Raises ConfigError where there is no API token: an OAuth account's tokens can serve one process alone.
    """
    settings = load_settings(plan.sandbox, **plan.listen)
    if not plan.sandbox and settings.api_token is None:
        raise ConfigError("A dry run acts through PIPEDRIVE_API_TOKEN; set it, or try the recipes with --sandbox.")
    listen = {**plan.listen, "database_url": dry_run_database(settings)}
    poll = plan.poll if plan.sandbox else plan.poll or DRY_POLL
    return replace(plan, dry_run=True, poll=poll, listen=listen)


def run_plan(plan: Plan) -> None:
    """Run until the user ends it. Raises ConfigError, StoreError or ClientError where it cannot start."""
    from pipeflow.registry import load
    from pipeflow.settings import misspelt

    settings = load_settings(plan.sandbox, **plan.listen)
    if not plan.sandbox:
        require_credentials(settings, polls=plan.poll is not None)
    if plan.only and settings.sqlite_path is not None:
        raise ConfigError(
            f"--only {plan.only} needs PostgreSQL, which both halves can reach: set PIPEFLOW_DATABASE_URL to "
            "postgresql://…, or leave --only away."
        )
    if plan.only and plan.sandbox:
        raise ConfigError("--sandbox is one process with everything; leave --only away.")
    registry = load(plan.recipes)
    set_up_logging(as_json=wants_json(settings.log_format))
    for sentence in misspelt():
        log.warning(sentence)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_run(plan, settings, registry))


async def _run(plan: Plan, settings: Settings, registry: Registry) -> None:
    stop = Stop()
    stop.listen()
    # A worker answers nobody; where a platform wants to ask whether it is alive, --port says where.
    listens = plan.only != "worker" or "port" in plan.listen
    with bind(settings.host, settings.port) if listens else nullcontext() as listening:
        port = listening.getsockname()[1] if listening else 0
        async with _pipedrive(plan, settings, port) as settings:
            settings = settings.model_copy(update={"port": port or settings.port})
            service = build_service(settings, registry, poll=plan.poll, dry_run=plan.dry_run)
            if await _opened(service, stop):
                try:
                    await _serve(service, plan, stop, listening)
                finally:
                    await service.store.close()
    log.info("Ended.")
    if service.engine.is_stubborn or has_stubborn_threads():
        leave(0)


async def _opened(service: Service, stop: Stop) -> bool:
    """Open the store; a database that is away is waited for. False where the user asks for the end meanwhile."""
    while True:
        try:
            await service.store.open(owner=True)
            return True
        except StoreUnavailable as error:
            if service.settings.sqlite_path is not None:
                raise
            log.warning("Waiting for the database: %s", error)
        try:
            await stop.unless(asyncio.sleep(DATABASE_PAUSE))
        except EndingError:
            return False


@asynccontextmanager
async def _pipedrive(plan: Plan, settings: Settings, port: int) -> AsyncIterator[Settings]:
    """Give the settings with which Pipedrive is reached: as they are, or those of a sandbox that runs beside us."""
    if not plan.sandbox:
        yield settings
        return
    folder = settings.sqlite_path.parent if settings.sqlite_path else Path(".sandbox")
    async with sandbox_process(folder / "sandbox.json", rate=plan.rate, seed=plan.seed) as there:
        yield load_settings(
            True,
            **plan.listen,
            api_token=there.api_token,
            api_url=there.url,
            public_url=f"http://127.0.0.1:{port}",
        )


async def _serve(service: Service, plan: Plan, stop: Stop, listening: socket.socket | None) -> None:
    """Listen, come up, work until the user ends it, and go down in the order that loses nothing."""
    async with serving(service.app(), listening) if listening else nullcontext():
        with watching(service.registry):
            await _work(service, plan, stop)


async def _work(service: Service, plan: Plan, stop: Stop) -> None:
    """Come up, work until the user ends it, and go down."""
    try:
        await stop.unless(_come_up(service, plan))
        await stop.wait()
    except EndingError:
        pass
    finally:
        service.ready = "ending"
        await service.roster.stop()
        await service.scheduler.stop()
        await service.engine.stop(service.settings.grace_seconds)
        await service.accounts.tokens.finish()


async def _come_up(service: Service, plan: Plan) -> None:
    """Start working, and only then ask Pipedrive for webhooks: it may look whether we are ready."""
    service.engine.observers.append(Screen(time.time))
    if plan.dry_run:
        log.warning("Dry run: what handlers write is shown here and by `pipeflow writes`, and not sent to Pipedrive.")
    company = await _connect(service)
    if plan.sandbox:
        await _keep_apart(service, company)
    if plan.only != "web":
        await service.engine.start()
    tune_interpreter()
    service.ready = True
    await service.roster.know()
    changes = await _register(service) if plan.only != "worker" else None  # Pipedrive asks whether the web is there
    if plan.only != "web":
        await service.scheduler.start()
    await service.roster.start()
    if plan.only == "worker":
        log.info("The worker is up.")
        return
    as_json = wants_json(service.settings.log_format)
    await first_screen(service, changes, sandbox=plan.sandbox, as_json=as_json)
    await look_at_fields(service.engine, service.registry)


async def _register(service: Service) -> WebhookChanges | None:
    """Make the webhooks. Trouble with them ends nothing: what is stored is worked, and what arrives too."""
    try:
        return await service.upkeep.register()
    except (ClientError, ConfigError) as error:
        log.error("The webhooks could not be registered, so new events may not arrive: %s", error)
        return None


async def _connect(service: Service) -> int | None:
    """Ask Pipedrive who we are. A known account works without the answer: a restart must not wait for Pipedrive."""
    if service.settings.api_token is None:
        await service.accounts.end_token_accounts()
        return None
    known = await service.store.accounts()
    patience = KNOWN_ACCOUNT_PATIENCE if await service.accounts.knows_token() else ACCOUNT_PATIENCE
    try:
        async with asyncio.timeout(patience if known else None):
            account = await service.accounts.ensure_token_account()
            return account.company
    except Unauthorized:
        raise ConfigError(
            "Pipedrive does not accept PIPEDRIVE_API_TOKEN. Copy it again (Personal preferences > API): a new one "
            "replaces the old one, and an admin can switch API access off."
        ) from None
    except (ClientError, TimeoutError) as error:
        if not known:
            raise
        log.warning("Pipedrive did not say who we are (%s); working with the accounts known so far.", error)
        return None


async def _keep_apart(service: Service, company: int | None) -> None:
    """Refuse to mix sample data with real data in one store."""
    others = {
        account.company_name or account.company
        for account in await service.store.accounts()
        if account.company != company
    }
    if company is not None and others:
        raise StoreError(
            f"The store at {service.settings.database_url} holds real data (of {', '.join(map(str, others))}); the "
            "sandbox keeps to itself. Unset PIPEFLOW_DATABASE_URL for --sandbox, or point it elsewhere."
        )


class EndingError(Exception):
    """The user asked for the end before the start was over."""


class Stop:
    """The user's wish to end: SIGTERM or Ctrl-C. The second one ends the process at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def listen(self) -> None:
        """Take the signals over from the loop's default."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._signalled)
            except NotImplementedError:
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._signalled))

    async def wait(self) -> None:
        """Wait until the user asks for the end."""
        await self._asked.wait()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Give the result of `work`; raises EndingError where the user asks for the end first."""
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return await task
            raise EndingError
        finally:
            for one in (task, asked):
                one.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)

    def _signalled(self) -> None:
        if self._asked.is_set():
            leave(0)
        self._asked.set()
        log.info("Ending: runs under way may finish. Ctrl-C again ends at once.")


def leave(code: int) -> None:
    """End the process whatever its threads do: a handler's thread cannot be stopped, and must not keep us."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def has_stubborn_threads() -> bool:
    """Say whether a thread is left that would keep the process alive."""
    return any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
