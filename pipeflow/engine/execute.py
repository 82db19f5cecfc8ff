"""One attempt: call the handler or job with what it asks for, and say how it ended. Imports accounts and retry."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.bounded import Bounded, Limit
from pipeflow.engine.dryrun import DryRun, DryWrites
from pipeflow.engine.fieldnames import CompanyFields
from pipeflow.engine.fuse import Fuse
from pipeflow.engine.logcontext import ATTEMPT, about
from pipeflow.engine.once import OnceMemory
from pipeflow.engine.retry import Decision, decide, readable
from pipeflow.engine.runwrites import RunWrites
from pipeflow.engine.threads import in_thread, leave_if_forked
from pipeflow.engine.writes import Ledger
from pipeflow.events import Event, FieldNames, Payload, build_event, normalise
from pipeflow.injection import Argument
from pipeflow.registry import Handler, Job, logger_of
from pipeflow.store.base import Account, Closing, Run, StoredEvent

_OF_ACCOUNT = frozenset({"account", "client"})


class Executor:
    """Executes attempts, and tells the fuse of those that wrote; in a `dry_run` nothing that they write is sent."""

    def __init__(
        self,
        ledger: Ledger,
        accounts: Accounts,
        fields: CompanyFields,
        delays: Sequence[float],
        dry_run: DryRun | None = None,
    ) -> None:
        store, clock = ledger.store, ledger.clock
        self._dry_run = dry_run
        self.fuse = Fuse(clock)
        self._fields = fields
        self._ledger = ledger
        self._accounts = accounts
        self._delays = delays
        self._clock = clock
        self._memory = OnceMemory(store, clock)

    async def execute(
        self, entry: Handler | Job, run: Run, stored: StoredEvent, payload: Payload | None = None
    ) -> tuple[Closing, float]:
        """Call `entry` and give how it ended, with the seconds for which its account must rest (0: none).

        `payload` is what the event's body tells, where somebody has read it already and needs it no more.
        Raises CancelledError where the engine takes the attempt back.
        """
        limit = Limit(entry.timeout)
        try:
            skipped = await limit.hold(self._call(entry, run, stored, payload, limit))
        except TimeoutError as error:
            late = TimeoutError(f"{entry.name} was still at work after {entry.timeout:g} s")
            return await self._failed(late if limit.expired() else error, run)
        except asyncio.CancelledError as error:
            if _is_taken_back():
                raise
            return await self._failed(RuntimeError(f"{entry.name} cancelled itself: {error}"), run)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  # what a handler raises becomes of its run alone
            return await self._failed(error, run)
        if skipped:
            return Closing(run.id, "skipped", "skipped", error=skipped), 0.0
        return Closing(run.id, "succeeded", "succeeded"), 0.0

    async def _call(
        self, entry: Handler | Job, run: Run, stored: StoredEvent, payload: Payload | None, limit: Limit
    ) -> str | None:
        """Call the function; give why it was skipped, if its predicate says so."""
        account = self._accounts.at_hand(run.company) or await self._accounts.acting(run.company)
        if account is None and not _OF_ACCOUNT.isdisjoint(entry.arguments.values()):
            raise await self._accounts.missing(run.company)
        if payload is None and stored.source != "tick":
            payload = normalise(stored.raw)
        fields = await self._fields.for_event(run.company, payload, entry)
        event = _event_of(stored, payload, account, run, fields)
        if isinstance(entry, Handler) and entry.when is not None and not entry.when(event, fields):
            return f"{entry.when} is false"
        writes = self._watch(account, run, stored.chain) if account else None
        given = {
            name: self._given(wanted, entry, run, event, account, writes) for name, wanted in entry.arguments.items()
        }
        mine = os.getpid()
        said = ATTEMPT.set(about(run, account))
        try:
            if entry.is_async:
                await Bounded(entry.function(**given), limit)
            else:
                await in_thread(partial(entry.function, **given), f"handler {entry.name}")
        finally:
            leave_if_forked(mine)
            ATTEMPT.reset(said)
            if writes is not None and writes.last_at is not None:
                self.fuse.wrote(run, stored.received_at, writes.last_at)
                await writes.close()
        return None

    def _watch(self, account: Account, run: Run, chain: tuple[str, ...]) -> RunWrites | DryWrites:
        """Give the observer of what an attempt writes."""
        if self._dry_run is not None:
            return self._dry_run.watch(account, run, chain)
        return RunWrites(self._ledger, account, run, chain)

    def _given(
        self,
        wanted: Argument,
        entry: Handler | Job,
        run: Run,
        event: Event[Any],
        account: Account | None,
        writes: RunWrites | DryWrites | None,
    ) -> Any:
        """Give what one parameter asks for."""
        if wanted == "event":
            return event
        if wanted == "run":
            # A dry run does nothing, so there is nothing to remember.
            return replace(run, _memory=self._memory if self._dry_run is None else None)
        if wanted == "logger":
            return logger_of(entry)
        assert account is not None  # noqa: S101  # `_call` asked for it
        if wanted == "account":
            return account
        client = self._accounts.client_for(account, run)
        client.transport.observer = writes
        return client

    async def _failed(self, error: BaseException, run: Run) -> tuple[Closing, float]:
        try:
            decision = decide(error, run.attempts, self._delays)
            if decision.verdict == "ask":
                decision = await self._ask(error, run, decision)
        except Exception as ours:  # noqa: BLE001 - the attempt is over, so that its run must not stay open
            decision = decide(ours, run.attempts, self._delays, asked=True)
        text = readable("".join(traceback.format_exception(error))[-8000:])
        pause = decision.after if decision.verdict == "pause" else 0.0
        return self._closing(decision, run, text), pause

    async def _ask(self, error: BaseException, run: Run, decision: Decision) -> Decision:
        """Ask Pipedrive who we are: only if that fails too is the account in trouble."""
        if await self._accounts.answers(run.company):
            return decide(error, run.attempts, self._delays, asked=True)
        return Decision("pause", decision.reason, decision.after)

    def _closing(self, decision: Decision, run: Run, text: str) -> Closing:
        if decision.verdict == "skip":
            return Closing(run.id, "skipped", "skipped", error=decision.reason)
        if decision.verdict == "dead":
            return Closing(run.id, "gave_up", "dead", error=decision.reason, traceback=text)
        due_at = self._clock() + decision.after
        if decision.verdict == "retry":
            return Closing(run.id, "failed", "pending", due_at=due_at, error=decision.reason, traceback=text)
        outcome: Any = "paused" if decision.verdict == "pause" else "released"
        return Closing(run.id, outcome, "pending", counted=False, due_at=due_at, error=decision.reason, traceback=text)


def _is_taken_back() -> bool:
    """Say whether it is the engine that cancels: a handler may as well have awaited something that was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _event_of(stored: StoredEvent, payload: Payload | None, account: Any, run: Run, fields: FieldNames) -> Event[Any]:
    return build_event(
        payload,
        id=stored.id,
        source=stored.source if run.replay_of is None else "replay",
        company=stored.company,
        occurred_at=stored.occurred_at,
        raw=stored.raw,
        names=stored.names or None,
        stale=stored.stale,
        account=account,
        fields=fields,
    )
