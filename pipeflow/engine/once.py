"""What `run.once` remembers: the results of calls, as JSON in the store. Imports the store's rows; no client."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from importlib import import_module
from typing import Any

import orjson
from pydantic import BaseModel

from pipeflow.errors import StoreUnavailable
from pipeflow.store.base import Store

AGAIN_SECONDS = 1.0

_OURS = "pipeflow.client."
_MODEL, _VALUE = "pipeflow.model", "value"

log = logging.getLogger("pipeflow.engine")


class OnceMemory:
    """Where `run.once` keeps its results: in the store, as JSON."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def once(self, run_id: int, key: str, call: Callable[[], Any]) -> Any:
        """Give what is remembered under `key`, or call and remember."""
        kept = await self._store.once(run_id, key)
        if kept is not None:
            return _recalled(json.loads(kept))
        result = call()
        if inspect.isawaitable(result):
            result = await result
        remembered = _remembered(result)
        while True:
            try:
                await self._store.remember(run_id, key, remembered, self._clock())
            except StoreUnavailable as error:
                # The call has been made: failing now would have the next attempt make its twin.
                log.warning("What run %d did once (%s) could not be stored and will be again: %s", run_id, key, error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return result


def _remembered(result: Any) -> bytes:
    """Write a result as JSON, whatever it is: the call has been made, and failing now would have its twin made."""
    try:
        return orjson.dumps(result, default=_as_json, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(str(result)).encode()


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        kind = type(value)
        return {_MODEL: f"{kind.__module__}:{kind.__qualname__}", _VALUE: value.model_dump(mode="json", by_alias=True)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set):
        return list(value)
    return str(value)


def _recalled(value: Any) -> Any:
    """Give a result as it was: the client's records as such, alone or in a list."""
    if isinstance(value, list):
        return [_recalled(each) for each in value]
    if not isinstance(value, dict) or value.keys() != {_MODEL, _VALUE}:
        return value
    module, _, name = str(value[_MODEL]).partition(":")
    if not module.startswith(_OURS):
        return value[_VALUE]
    try:
        return getattr(import_module(module), name).model_validate(value[_VALUE])
    except (ImportError, AttributeError, ValueError):  # another release remembered it
        return value[_VALUE]
