"""The writes of one attempt: the observer of the client that its handler is given. Imports the ledger and targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeflow.catalog import Operation
from pipeflow.client.answers import Response
from pipeflow.engine.targets import Target, target_of
from pipeflow.engine.writes import Ledger, Outcome
from pipeflow.errors import ClientError, ConnectionFailed, ResponseError, ServerError, UnexpectedBody
from pipeflow.store.base import Account, Run, Write


class RunWrites:
    """Notes the writes of one attempt: the observer of the client that its handler is given.

    `last_at` says when the last one was intended; None where there was none.
    """

    def __init__(self, ledger: Ledger, account: Account, run: Run, chain: tuple[str, ...]) -> None:
        self.last_at: float | None = None
        self._ledger = ledger
        self._store = ledger.store
        self._clock = ledger.clock
        self._account = account
        self._run = run
        self._chain = chain
        self._open: dict[int, Write] = {}

    async def before(self, operation: Operation, arguments: Mapping[str, Any]) -> object | None:
        """Commit the intent; raises StoreUnavailable, and the write is not sent, where the store cannot."""
        wanted = target_of(operation, arguments)
        self.last_at = self._clock()
        write = Write(
            id=0,
            run_id=self._run.id,
            handler=self._run.handler,
            chain=self._chain,
            account_id=self._account.id,
            company=self._account.company,
            kind=wanted.kind,
            record_id=wanted.record_id,
            operation=operation.id,
            values=wanted.values,
            before=await self._before(wanted),
            intended_at=self.last_at,
        )
        write = await self._ledger.intend(write, self._account.user_id)
        self._open[write.id] = write
        return write

    async def after(self, token: object | None, outcome: Response | ClientError) -> None:
        """Commit the outcome; never raises, as the write has happened."""
        if not isinstance(token, Write) or self._open.pop(token.id, None) is None:
            return
        if isinstance(outcome, Response):
            await self._ledger.settle(token, "done", _answer_of(outcome, token))
        else:
            await self._ledger.settle(token, _outcome_of(outcome), None)

    async def close(self) -> None:
        """End the attempt: a write that was cut off may have happened or not."""
        for write in list(self._open.values()):
            if self._open.pop(write.id, None) is not None:
                await self._ledger.settle(write, "unknown", None)

    async def _before(self, wanted: Target) -> dict[str, Any] | None:
        """Give the old values of the fields that are written, as far as events told them."""
        if wanted.record_id is None or wanted.effect == "create":
            return None
        key = (self._account.company, wanted.kind, wanted.record_id)
        known = (await self._store.records([key])).get(key)
        if known is None or known.state is None:
            return None
        state: dict[str, Any] = orjson.loads(known.state)
        if wanted.effect != "update":
            return state
        return _only(state, wanted.values)


def _only(state: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the part of a record's state that was written, and its time of update."""
    names = [*values, "update_time", "id"]
    found = {name: state[name] for name in names if name in state and name != "custom_fields"}
    custom, written = state.get("custom_fields"), values.get("custom_fields")
    if isinstance(custom, Mapping) and isinstance(written, Mapping):
        by_name = any(len(key) != 40 for key in written)
        found["custom_fields"] = {key: old for key, old in custom.items() if by_name or key in written}
    return found


def _answer_of(outcome: Response, write: Write) -> dict[str, Any] | None:
    """Give what is kept of an answer: all fields of the record, of custom fields those that were written."""
    try:
        data = outcome.data
    except UnexpectedBody:
        return None
    if isinstance(data, list):
        return {"items": [{"id": one.get("id")} for one in data if isinstance(one, Mapping)]}
    if not isinstance(data, Mapping):
        return None
    kept = {name: value for name, value in data.items() if name != "custom_fields"}
    part = _only(data, write.values).get("custom_fields")
    if part is not None:
        kept["custom_fields"] = part
    return kept


def _outcome_of(error: ClientError) -> Outcome:
    if isinstance(error, ConnectionFailed):
        return "unknown" if error.sent else "unsent"
    if isinstance(error, ResponseError) and not isinstance(error, ServerError):
        return "refused"
    return "unknown"
