"""What a store keeps and promises: the rows and the `Store` protocol. May import errors, events and settings; no I/O.

Times are seconds since 1970 as floats, and `now` is always an argument: a store has no clock. Ids are integers that
grow in the order of commits. Every method either has committed when it returns, or raises `StoreUnavailable` and has
changed nothing.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

# Rows that are made for every event or run are not frozen: freezing makes making one three times as dear. Nobody
# changes a row all the same; `dataclasses.replace` makes another.
T = TypeVar("T")

PARTITIONS = 64
"""The number of partitions: fixed, as it is part of what is stored."""

REFUSED = "webhooks:refused"
"""The watermark that says when a delivery was last refused for its credentials: the receiver's alarm."""

Source = Literal["delivery", "poll", "tick", "replay", "account"]
"""How we learned of an event; `account`: pipeflow tells what became of one of its own accounts."""
EventStatus = Literal["stored", "dispatched", "unmatched", "unreadable", "twin", "echo"]
"""stored: not dispatched yet · dispatched: runs were made · unmatched: no handler wanted it · unreadable: no JSON
object of a shape we know, kept as it came · twin: the late delivery of a change that polling had found already ·
echo: only handlers that caused it themselves would hear it."""
RunStatus = Literal["pending", "running", "succeeded", "skipped", "dead"]
AttemptOutcome = Literal["succeeded", "skipped", "failed", "gave_up", "paused", "released", "interrupted"]
"""failed: an exception or Retry · gave_up: GiveUp · paused: trouble of the account, does not count · released: handed
back at shutdown, does not count · interrupted: the process died with it."""
AccountStatus = Literal["connected", "paused", "needs_reconnect", "disconnected"]


class NewEvent(NamedTuple):
    """An event on its way into the store; `key` is what makes it the same event (unique within the company)."""

    company: int
    key: str
    name: str
    kind: str
    record_id: str
    action: str
    source: Source
    raw: bytes
    received_at: float
    partition: int
    delivery_id: str | None = None
    occurred_at: float | None = None
    update_time: float | None = None
    actor_id: str | None = None
    bulk: bool = False
    status: EventStatus = "stored"


class StoredEvent(NamedTuple):
    """An event as it stands in the store. `names` and `stale` are known once it was dispatched.

    `cause_run_id` is the run whose write this event echoes, `chain` the handlers in the chain of runs that caused it.
    """

    id: int
    company: int
    key: str
    name: str
    names: tuple[str, ...]
    kind: str
    record_id: str
    action: str
    source: Source
    raw: bytes
    received_at: float
    partition: int
    delivery_id: str | None
    occurred_at: float | None
    update_time: float | None
    actor_id: str | None
    bulk: bool
    stale: bool
    status: EventStatus
    dispatched_at: float | None
    cause_run_id: int | None = None
    chain: tuple[str, ...] = ()


@dataclass(slots=True)
class NewRun:
    """A run that a dispatch makes. `lane` None: the handler opted out of order."""

    handler: str
    lane: str | None


@dataclass(slots=True)
class RecordState:
    """The last state of a record that events told: what polling is compared with. Outlives retention.

    Polling told the changes after `polled_from` up to `polled_to`: a delivery of one of them is its late twin.
    """

    company: int
    kind: str
    record_id: str
    update_time: float | None
    source: Source
    state: bytes | None
    deleted: bool = False
    polled_from: float | None = None
    polled_to: float | None = None


@dataclass(slots=True)
class Dispatch:
    """What dispatching decided for one event: committed in one piece, runs and record included."""

    event_id: int
    names: tuple[str, ...]
    status: EventStatus
    stale: bool = False
    cause_run_id: int | None = None
    chain: tuple[str, ...] = ()
    runs: tuple[NewRun, ...] = ()
    record: RecordState | None = None


class Memory(Protocol):
    """Where `Run.once` keeps its results."""

    async def once(self, run_id: int, key: str, call: Callable[[], Awaitable[Any]]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Run:
    """One handler on one event, or one job on one tick.

    `attempts` counts the closed attempts that count against the retry list. `due_at` is when the next attempt may
    start; None while an earlier run of the same lane is open, and once the run has ended. `crashes` counts attempts
    that died alone with their process. `replay_of` is the run that this one replays.
    """

    id: int
    event_id: int
    handler: str
    lane: str | None
    company: int
    kind: str
    record_id: str
    partition: int
    status: RunStatus
    attempts: int
    due_at: float | None
    error: str | None
    replay_of: int | None
    created_at: float
    finished_at: float | None
    priority: int = 0
    crashes: int = 0
    parked: bool = False
    _memory: Memory | None = field(default=None, repr=False, compare=False)

    async def once(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call `call` once in this run's life and give its result on every attempt, so that a retry makes no twin.

            note = await run.once("note", lambda: client.notes.add_note(content="Hello", deal_id=deal.id))

        The result is kept as JSON, and the client's records come back as such. An exception is not kept.
        """
        if self._memory is None:
            made: Any = call()
            result: T = await made if isinstance(made, Awaitable) else made
            return result
        kept: T = await self._memory.once(self.id, key, call)
        return kept


@dataclass(slots=True)
class Attempt:
    """One try of a run. `alone`: it ran as a suspect, with nothing beside it. `counted`: against the retry list."""

    run_id: int
    number: int
    started_at: float
    finished_at: float | None
    outcome: AttemptOutcome | None
    counted: bool
    alone: bool
    error: str | None
    traceback: str | None


@dataclass(slots=True)
class Closing:
    """How an attempt ended. `status` is the run's from now on; `due_at` goes with `pending`."""

    run_id: int
    outcome: AttemptOutcome
    status: RunStatus
    counted: bool = True
    due_at: float | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One Pipedrive company and user we may act as. `credentials` is encrypted; it stays out of repr.

    `acting` marks the one of its company that handlers act through. `version` grows with every save: a save of an
    older version is refused (compare and swap).
    """

    id: int
    company: int
    user_id: int
    mode: Literal["token", "oauth"]
    status: AccountStatus = "connected"
    name: str = ""
    company_name: str = ""
    company_domain: str = ""
    api_domain: str = ""
    timezone: str = "UTC"
    is_admin: bool = False
    acting: bool = False
    credentials: bytes | None = field(default=None, repr=False)
    expires_at: float | None = None
    last_used_at: float | None = None
    paused_until: float | None = None
    reason: str | None = None
    connected_at: float = 0.0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One of our registrations at Pipedrive, as last seen there."""

    id: int
    company: int
    account_id: int
    action: str
    object: str
    url: str
    version: str
    name: str
    active: bool
    seen_at: float


@dataclass(frozen=True, slots=True)
class Write:
    """One change a handler made, or is making, through the client.

    `record_id` None: a creation whose answer is not known yet. `settled_at` None: the outcome is not known yet. The
    outcome `dry`: a dry run recorded it, and it was never sent.
    """

    id: int
    run_id: int | None
    handler: str
    chain: tuple[str, ...]
    account_id: int
    company: int
    kind: str
    record_id: str | None
    operation: str
    values: Mapping[str, Any]
    before: Mapping[str, Any] | None
    intended_at: float
    settled_at: float | None = None
    outcome: Literal["done", "refused", "unsent", "unknown", "dry"] | None = None
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Work that waits because a person said so: all of an account's company, of a handler, or of one record.

    Pause("account", company=4410021)
    Pause("handler", handler="follow_up.call_after_stage_move")
    Pause("record", company=4410021, kind="deal", record_id="42")
    """

    what: Literal["account", "handler", "record"]
    company: int = 0
    handler: str = ""
    kind: str = ""
    record_id: str = ""
    reason: str = ""
    paused_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What one reconciliation found between `since` and `until` on Pipedrive's clock: all known, or added now.

    `error` says what kept it from looking at everything; `tokens` is what it cost.
    """

    company: int
    kinds: tuple[str, ...]
    since: float
    until: float
    changes: int
    known: int
    added: int
    proven_at: float
    error: str | None = None
    tokens: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list, newest first; `limit` 0 means all. `caused`: only those that tell a write of a run."""

    limit: int = 50
    status: str | None = None
    name: str | None = None
    company: int | None = None
    kind: str | None = None
    record_id: str | None = None
    source: str | None = None
    since: float | None = None
    until: float | None = None
    ids: tuple[int, ...] | None = None
    caused: bool = False


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list, newest first; `limit` 0 means all. Skipped runs only when `status` asks for them.

    `parked`: only those that the fuse has parked.
    """

    limit: int = 50
    status: str | None = None
    handler: str | None = None
    company: int | None = None
    kind: str | None = None
    record_id: str | None = None
    event_id: int | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None
    ids: tuple[int, ...] | None = None
    include_skipped: bool = False
    parked: bool = False


Owned = Mapping[int, int]
"""The partitions a worker owns, each with the epoch at which it got it. On one machine: all, at epoch 0."""

ALL: Owned = dict.fromkeys(range(PARTITIONS), 0)


class Store(Protocol):
    """Everything pipeflow remembers. One owner process works the runs; any process may list, add and replay."""

    async def open(self, *, owner: bool = False) -> None:
        """Open and bring the schema up to date; `owner` also takes the lock that only one process may hold.

        Raises StoreError, naming the owner's process and start, where another process owns it; SchemaOutdated where
        a newer release made it.
        """

    async def close(self) -> None:
        """Commit what is under way and let go; later calls raise StoreUnavailable."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the loop after each commit, here or elsewhere, that gave the worker something to do."""

    # Events -------------------------------------------------------------------------------------------------------
    def add_events(self, events: Sequence[NewEvent]) -> Future[list[int | None]]:
        """Store events and say their ids; None for one known already (same company and key).

        A `poll` event is stored only where nothing as new is known of its record, in the same statement.
        """
        ...

    async def undispatched(self, owned: Owned, *, limit: int, after: int = 0) -> list[StoredEvent]:
        """Give events that wait for dispatch, oldest first, with ids above `after`."""
        ...

    async def undispatched_past(
        self, owned: Owned, *, companies: Collection[int], limit: int, after: int
    ) -> tuple[list[StoredEvent], int]:
        """Give those of all companies but these, and the id behind which there may be more: the next `after`."""
        ...

    async def dispatch(self, dispatches: Sequence[Dispatch], owned: Owned, now: float) -> list[Run]:
        """Commit dispatch decisions and give the runs made; `UNIQUE(event, handler)`: no run is made twice.

        A run whose lane is free is due now; one behind another waits with `due_at` None. Dispatches of partitions no
        longer owned are left out.
        """
        ...

    async def records(self, keys: Iterable[tuple[int, str, str]]) -> dict[tuple[int, str, str], RecordState]:
        """Look up record states by (company, kind, record id)."""
        ...

    async def save_records(self, states: Sequence[RecordState]) -> None:
        """Keep states that no event told, of records of which nothing as new is known."""
        ...

    async def record_ids(self, company: int, kind: str, *, after: str = "", limit: int) -> list[str]:
        """List the ids of known records that are not deleted, in the order of their text, from behind `after`."""
        ...

    async def events(self, wanted: EventFilter) -> list[StoredEvent]:
        """List events, newest first."""
        ...

    # Runs ---------------------------------------------------------------------------------------------------------
    async def recover(self, owned: Owned, now: float) -> list[Run]:
        """Close attempts left open by a dead owner as interrupted and give their runs, oldest first: the suspects.

        An attempt that ran alone adds to `crashes`; at three the run is dead and not among the answers. A run stays a
        suspect, and is among the answers again, until an attempt of it ends in order.
        """
        ...

    async def due_runs(
        self,
        owned: Owned,
        now: float,
        *,
        limit: int,
        handlers: Collection[str] | None = None,
        resting: Collection[int] = (),
        plenty: Collection[tuple[int, str, int]] = (),
    ) -> list[Run]:
        """Give pending runs that may start, by priority, due time and id. Runs that wait add no cost.

        Paused and parked ones are left out, and so are those of other handlers than `handlers` (None: all), of the
        companies that are `resting`, and of the (company, handler, priority) of which whoever asks has `plenty`.
        """
        ...

    async def next_due_at(
        self, owned: Owned, *, handlers: Collection[str] | None = None, resting: Collection[int] = ()
    ) -> float | None:
        """Say when the next run that `due_runs` would give becomes due, which may be past; None where there is none."""
        ...

    def open_attempt(self, run_id: int, owned: Owned, now: float, *, alone: bool = False) -> Awaitable[Attempt | None]:
        """Record that an attempt starts; None where the run is not pending and due any more, or no longer ours.

        A run that is paused or parked does not start either. It is under way once it is called, awaited or not, so
        that what is called in one turn of the loop is one commit; the same goes for `close_attempt`.
        """
        ...

    def close_attempt(self, closing: Closing, owned: Owned, now: float) -> Awaitable[Run | None]:
        """Record how the open attempt of a run ended; give the run that its lane's end made due, if any.

        A run that has ended, or whose partition is no longer ours, is left as it is.
        """
        ...

    async def runs(self, wanted: RunFilter) -> list[Run]:
        """List runs, newest first."""
        ...

    async def attempts(self, run_id: int) -> list[Attempt]:
        """List a run's attempts, oldest first."""
        ...

    async def replay(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Make a new run for each of these, at the end of its lane and linked to the old one."""
        ...

    async def park_runs(self, run_ids: Sequence[int], owned: Owned, now: float, *, reason: str) -> list[Run]:
        """Keep pending runs from starting until they are released, and with them their lanes: the fuse. Give them."""
        ...

    async def release_runs(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Let parked runs start again; give those that were parked."""
        ...

    async def retry_runs(self, run_ids: Sequence[int], now: float) -> list[Run]:
        """Make pending runs that wait for a time due now; give them."""
        ...

    async def skip_runs(self, run_ids: Sequence[int], now: float, *, reason: str) -> list[Run]:
        """End pending runs as skipped, and let their lanes go on; give them."""
        ...

    async def dispatch_again(self, event_ids: Sequence[int]) -> list[int]:
        """Have events dispatched once more that no handler wanted, as there may be one now; give those."""
        ...

    async def move_due_times(self, owned: Owned, by: float) -> None:
        """Move the due times of all pending runs by so many seconds: after the clock was set."""
        ...

    async def pause(self, pause: Pause) -> None:
        """Keep runs from starting until `resume`; attempts under way end as they do."""
        ...

    async def resume(self, pause: Pause) -> bool:
        """End a pause of the same account, handler or record; False where there is none."""
        ...

    async def pauses(self) -> list[Pause]:
        """List what is paused, oldest first."""
        ...

    async def once(self, run_id: int, key: str) -> bytes | None:
        """Give what `run.once(key, …)` remembered, as JSON; replays share nothing with what they replay."""
        ...

    async def remember(self, run_id: int, key: str, result: bytes, now: float) -> None:
        """Keep the result of `run.once(key, …)`."""
        ...

    # Accounts, webhooks, fields -----------------------------------------------------------------------------------
    async def accounts(self) -> list[Account]:
        """List accounts in the order in which they were connected."""
        ...

    async def save_account(self, account: Account) -> Account | None:
        """Insert (`id` 0) or update an account; None where a newer version is stored (compare and swap).

        (company, user_id, mode) is unique: inserting one that exists updates it and keeps its id.
        """
        ...

    async def webhooks(self, company: int | None = None) -> list[Webhook]:
        """List our webhooks as last seen."""
        ...

    async def save_webhooks(self, company: int, webhooks: Sequence[Webhook]) -> None:
        """Replace what is known of the company's webhooks."""
        ...

    async def fields(self, company: int) -> dict[str, bytes]:
        """Give the company's field definitions as JSON, by kind."""
        ...

    async def save_fields(self, company: int, kind: str, definitions: bytes, now: float) -> None:
        """Keep the company's field definitions of one kind."""
        ...

    # Writes and watermarks ----------------------------------------------------------------------------------------
    async def add_write(self, write: Write) -> int:
        """Commit the intent of a write before it is sent; give its id."""
        ...

    async def settle_write(
        self,
        write_id: int,
        outcome: Literal["done", "refused", "unsent", "unknown"],
        now: float,
        *,
        record_id: str | None = None,
        answer: Mapping[str, Any] | None = None,
    ) -> None:
        """Commit how a write ended."""
        ...

    async def writes(
        self, *, company: int | None = None, kind: str | None = None, run_id: int | None = None, since: float = 0.0
    ) -> list[Write]:
        """List writes intended since then, oldest first."""
        ...

    async def watermarks(self, company: int) -> dict[str, float]:
        """Give the company's watermarks by kind."""
        ...

    async def save_watermark(self, company: int, kind: str, value: float, now: float) -> None:
        """Move a watermark; it never goes back."""
        ...

    async def add_proof(self, proof: Proof) -> int:
        """Keep what a reconciliation found; give its id."""
        ...

    async def proofs(self, company: int | None = None, *, limit: int = 50) -> list[Proof]:
        """List what reconciliations found, newest first."""
        ...

    # Leases -------------------------------------------------------------------------------------------------------
    async def take_lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Become the only one who does what `name` stands for, until `now + seconds`; False while another one is.

            if await store.take_lease(f"refresh:{account.id}", holder, now, 30):
                ...

        Taking one's own lease again prolongs it. `holder` names a process or a task, such as a random text.
        """
        ...

    async def release_lease(self, name: str, holder: str) -> None:
        """End a lease at once; one of another holder stays as it is."""
        ...

    # Upkeep -------------------------------------------------------------------------------------------------------
    async def purge(self, before: float, *, limit: int) -> int:
        """Delete up to `limit` events older than `before` whose runs have ended, with those runs; say how many.

        Proofs and writes without a run go with them, once they are as old.
        """
        ...

    async def counts(self) -> dict[str, int]:
        """Count events and runs by status, cheaply: `events`, `undispatched`, `pending`, `running`, `dead`."""
        ...
