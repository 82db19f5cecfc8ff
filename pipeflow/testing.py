"""The testing kit for recipes: make an event, run a handler on it, move a clock; pytest fixtures. May import all."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from pipeflow.client import Client
    from pipeflow.events import Event
    from pipeflow.store.base import Account, Run

COMPANY = 4410021
_ids = itertools.count(1)
_remembered: dict[tuple[int, str], Any] = {}


class FakeClock:
    """A clock that stands still until it is moved; calling it gives seconds since 1970."""

    def __init__(self, now: float = 1_760_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self.now += seconds


class _NamesAsKeys:
    """Custom fields in tests: names stand for themselves, so that no company's keys are needed."""

    def key(self, kind: str, name: str) -> str:
        return name

    def name(self, kind: str, key: str) -> str | None:
        return key

    def options(self, kind: str, key: str) -> Mapping[int, str]:
        return {}

    def type(self, kind: str, key: str) -> str | None:
        return None


def make_event(
    name: str,
    record: Mapping[str, Any],
    *,
    changes: Mapping[str, Any] | None = None,
    user_id: int = 5521007,
    occurred_at: datetime = datetime(2026, 11, 3, 9, 41, 22, tzinfo=UTC),
) -> Event[Any]:
    """Make an event as Pipedrive would deliver it.

        event = make_event("deal.updated", {"id": 7, "title": "Acme", "stage_id": 2}, changes={"stage_id": 1})

    `record` is the state after (for deletions the last one), `changes` the old values of what changed. `name` is the
    plain name; derived ones follow from the difference. Custom fields go by name or key, as deliveries tell them or
    plainly: `{"id": 7, "custom_fields": {"Contract value": 900}}`.
    """
    from pipeflow.events import build_event, normalise, pipedrive_action

    noun, _, verb = name.partition(".")
    meta = {
        "action": pipedrive_action(verb),
        "entity": noun,
        "entity_id": str(record.get("id", 1)),
        "company_id": str(COMPANY),
        "user_id": str(user_id),
        "id": str(uuid.uuid4()),
        "timestamp": occurred_at.isoformat(),
        "version": "2.0",
        "change_source": "app",
    }
    deleted = verb == "deleted"
    body = {
        "meta": meta,
        "data": None if deleted else dict(record),
        "previous": dict(record if deleted else changes or {}),
    }
    raw = json.dumps(body, default=str).encode()
    return build_event(
        normalise(raw),
        id=next(_ids),
        source="delivery",
        company=COMPANY,
        occurred_at=occurred_at.timestamp(),
        raw=raw,
        fields=_NamesAsKeys(),
    )


def read_event(delivery: str | Path | bytes) -> Event[Any]:
    """Make the event of a delivery: a file that `pipeflow events export` wrote, or a body as it came.

    event = read_event("tests/moved_deal.json")
    """
    from pipeflow.events import build_event, normalise, read_delivery

    raw = delivery if isinstance(delivery, bytes) else Path(delivery).read_bytes()
    head = read_delivery(raw, COMPANY, 0.0)
    return build_event(
        normalise(raw),
        id=next(_ids),
        source="delivery",
        company=head.claimed_company or COMPANY,
        occurred_at=head.occurred_at,
        raw=raw,
    )


class _Memory:
    """`run.once` across the attempts of one event, as the engine remembers it."""

    async def once(self, run_id: int, key: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if (run_id, key) not in _remembered:
            made: Any = call()
            _remembered[run_id, key] = await made if isinstance(made, Awaitable) else made
        return _remembered[run_id, key]


def _run_of(handler: str, number: int, event: Event[Any] | None) -> Run:
    from pipeflow.store.base import Run

    return Run(
        id=number,
        event_id=number,
        handler=handler,
        lane=None,
        company=COMPANY,
        kind=event.kind if event else "job",
        record_id=event.record_id if event else handler,
        partition=0,
        status="running",
        attempts=0,
        due_at=None,
        error=None,
        replay_of=None,
        created_at=0.0,
        finished_at=None,
        _memory=_Memory(),
    )


async def run(
    function: Callable[..., Any],
    event: Event[Any] | None = None,
    *,
    client: Client | None = None,
    account: Account | None = None,
) -> Literal["succeeded", "skipped", "unmatched"]:
    """Run a handler or job once as the engine would, and say what became of it; what it raises otherwise is raised.

        assert await run(call_after_stage_move, event, client=sandbox.client) == "succeeded"

    Running it again on the same event is a second attempt: `run.once` remembers.
    """
    from pipeflow.errors import ConfigError, Skip
    from pipeflow.registry import DEFAULT, Handler, logger_of

    entry = DEFAULT.find(function)
    if entry is None:
        raise ConfigError(f"{function!r} is no handler or job: decorate it with @on, @every or @cron.")
    if isinstance(entry, Handler):
        if event is None or not entry.matches(event.names):
            return "unmatched"
        if entry.when is not None and not entry.when(event):
            return "skipped"
    number = event.id if event else next(_ids)
    given = {
        "event": event,
        "client": client,
        "account": account,
        "logger": logger_of(entry),
        "run": _run_of(entry.name, number, event),
    }
    try:
        result = function(**{name: given[wanted] for name, wanted in entry.arguments.items()})
        if entry.is_async:
            await result
    except Skip:
        return "skipped"
    return "succeeded"


@dataclass
class RunningSandbox:
    """A fake Pipedrive that runs beside the test, and a client that acts in it."""

    url: str
    api_token: str
    client: Client


@pytest.fixture
def pipeflow_clock() -> FakeClock:
    """Give a clock that the test moves."""
    return FakeClock()


@pytest.fixture
def _sandbox_process(tmp_path: Path) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "pipeflow.sandbox", "--port", "0", "--seed", "1", "--rate", "0"]
    process = subprocess.Popen(  # noqa: S603  # our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        yield json.loads(process.stdout.readline() if process.stdout else "{}")
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
async def sandbox(_sandbox_process: dict[str, str]) -> AsyncIterator[RunningSandbox]:
    """Give a sandbox with sample data, over real HTTP."""
    from pipeflow.client import Client

    token = _sandbox_process["api_token"]
    async with Client(api_token=token, base_url=_sandbox_process["url"]) as client:
        yield RunningSandbox(_sandbox_process["url"], token, client)
