"""A dry run: reads are sent, writes are recorded and answered as if Pipedrive had done them. Imports writes' rows.

What is made gets a negative id, which no record of Pipedrive's has: reading it back is refused there.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from pipeflow.catalog import Operation
from pipeflow.client.answers import Response
from pipeflow.client.wire import prepare
from pipeflow.engine.targets import target_of
from pipeflow.errors import ClientError
from pipeflow.store.base import Account, Run, Write

Keep = Callable[[Write], Awaitable[object]]

log = logging.getLogger("pipeflow.engine")


class DryRun:
    """Makes the observers of a dry run; `keep` is handed each write that was not sent."""

    def __init__(self, keep: Keep, clock: Callable[[], float]) -> None:
        self._keep = keep
        self._clock = clock
        self._made = itertools.count(-1, -1)

    def watch(self, account: Account, run: Run, chain: tuple[str, ...]) -> DryWrites:
        """Give the observer of one attempt's client."""
        return DryWrites(self, account, run, chain)

    async def record(
        self, sent: Operation, arguments: Mapping[str, Any], account: Account, run: Run, chain: tuple[str, ...]
    ) -> Response:
        """Keep a write instead of sending it, and give the answer that Pipedrive might have given."""
        wanted = target_of(sent, arguments)
        record_id = wanted.record_id or str(next(self._made))
        now = self._clock()
        write = Write(
            id=0,
            run_id=run.id,
            handler=run.handler,
            chain=chain,
            account_id=account.id,
            company=account.company,
            kind=wanted.kind,
            record_id=wanted.record_id,
            operation=sent.id,
            values=wanted.values,
            before=None,
            intended_at=now,
            settled_at=now,
            outcome="dry",
        )
        await self._keep(write)
        log.info("Dry run, not sent: %s", told(write))
        data = {**wanted.values, "id": int(record_id) if record_id.lstrip("-").isdigit() else record_id}
        path = prepare(sent, arguments).path
        return Response(sent, path, 200, {}, orjson.dumps(_envelope(sent, data), default=str))


class DryWrites:
    """Stands between a handler's client and Pipedrive: the observer that answers every write itself."""

    def __init__(self, dry_run: DryRun, account: Account, run: Run, chain: tuple[str, ...]) -> None:
        self.last_at: float | None = None
        self._dry_run = dry_run
        self._about = account, run, chain

    async def before(self, operation: Operation, arguments: Mapping[str, Any]) -> Response:
        """Record the write and answer it."""
        return await self._dry_run.record(operation, arguments, *self._about)

    async def after(self, token: object | None, outcome: Response | ClientError) -> None:
        """Nothing was sent, so there is nothing to learn."""

    async def close(self) -> None:
        """Nothing is open."""


def told(write: Write) -> str:
    """Say in one line what a write does: `v2.deals.update_deal 42 stage_id=3 (follow_up.call, run 12)`."""
    from pipeflow.catalog import operation

    values = " ".join(f"{name}={value!r}" for name, value in write.values.items())
    subject = " ".join(filter(None, (operation(write.operation).attribute, write.record_id, values)))
    return f"{subject} ({write.handler}, run {write.run_id})"


def _envelope(sent: Operation, data: dict[str, Any]) -> Any:
    if sent.result == "bare":
        return data
    if sent.result == "none":
        return {"success": True}
    return {"success": True, "data": [data] if sent.result == "list" else data}
