"""One look at a company's Pipedrive: lists what changed, and stores the events that nobody delivered.

Imports client, store rows and the shapes. What it finds is a delivery that never came, in the shape of one: with the
state after, and with what changed against the last state known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeflow.catalog import operation
from pipeflow.client.pages import OnePage
from pipeflow.engine.asking import Asking, BudgetSpentError
from pipeflow.engine.followers import compare_followers
from pipeflow.engine.found import found_event
from pipeflow.engine.retry import decide
from pipeflow.engine.shapes import added_at, as_delivered, differences, is_deleted, updated_at
from pipeflow.engine.sources import OFTEN, ONE_OF, Need, Source, wants
from pipeflow.errors import BadRequest, ClientError, Forbidden, Gone, Invalid, NotFound, PaymentRequired
from pipeflow.store.base import NewEvent, Proof, RecordState, Store

OVERLAP = 60.0
IDS_AT_ONCE = 100
MANY = 100
MOST_PAGES = 100
_MOMENT = 0.001
_OF_ONE_LIST = (BadRequest, Forbidden, NotFound, Gone, Invalid, PaymentRequired)
"""What one list refuses (a plan or a scope does not have it), while the others may answer."""

Listed = Mapping[str, Any]


@dataclass
class Look:
    """What is being looked at, and what was found so far. Times are seconds on Pipedrive's clock, but for `now`.

    `alone`: there are no deliveries, so that all that is known of records came from lists like these. `costs` is what
    lists cost that are read whole, `rest` for how many seconds Pipedrive wants to be left alone.
    """

    store: Store
    asking: Asking
    company: int
    needs: Collection[Need]
    now: float
    alone: bool = False
    added: int = 0
    changed: set[tuple[str, str]] = field(default_factory=set)
    since: float | None = None
    kinds: dict[str, None] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    unfinished: list[Source] = field(default_factory=list)
    refused: list[Source] = field(default_factory=list)
    costs: dict[str, int] = field(default_factory=dict)
    rest: float = 0.0

    async def at(self, sources: Sequence[Source]) -> Proof:
        """Look at each source, from its watermark on; a source without one begins here and tells nothing.

        A list that this plan or app has not is left out and named in the proof. Other trouble ends the look, and what
        was not looked at is in `unfinished`.
        """
        watermarks = await self.store.watermarks(self.company)

        async def look(source: Source) -> None:
            await self._look_at(source, watermarks.get(source.name), has_states=_states(source) in watermarks)

        return await self._each(sources, look)

    async def begin(self, sources: Sequence[Source]) -> Proof:
        """Set the watermark of each source, and do no more: what changes from now on is found, whatever happens."""
        self.kinds = dict.fromkeys(source.kind for source in sources)
        return await self._each(sources, self._begin)

    async def _each(self, sources: Sequence[Source], work: Callable[[Source], Awaitable[object]]) -> Proof:
        for number, source in enumerate(sources):
            spent = self.asking.purse.spent
            try:
                await work(source)
                if source.way in ("whole", "followers"):
                    self.costs[source.name] = self.asking.purse.spent - spent
            except BudgetSpentError:
                self.unfinished += [source, *sources[number + 1 :]]
                self.troubles.append(f"not looked at for want of tokens: {_names(self.unfinished)}")
                self.rest = OFTEN
                break
            except _OF_ONE_LIST as error:
                self.refused.append(source)
                self.troubles.append(str(error))
            except ClientError as error:
                self.unfinished += [source, *sources[number + 1 :]]
                self.troubles.append(f"{error} Not looked at: {_names(self.unfinished)}.")
                decision = decide(error, 0, ())
                self.rest = decision.after if decision.verdict == "pause" else 0.0
                break
        return self._proof()

    def _proof(self) -> Proof:
        until = self.asking.until or self.now
        return Proof(
            company=self.company,
            kinds=tuple(self.kinds),
            since=until if self.since is None else self.since,
            until=until,
            changes=len(self.changed),
            known=len(self.changed) - self.added,
            added=self.added,
            proven_at=self.now,
            error="; ".join(self.troubles) or None,
            tokens=self.asking.purse.spent,
        )

    async def _look_at(self, source: Source, watermark: float | None, *, has_states: bool) -> None:
        if watermark is None:
            begun = await self._begin(source)
            await self._acquaint(source, begun)
            return
        if not has_states:
            await self._acquaint(source, watermark)
        self.kinds[source.kind] = None
        if source.way == "known":
            await self._ask_for_known(source)
            return
        if watermark:
            self.since = watermark if self.since is None else min(self.since, watermark)
        if source.way == "followers":
            await compare_followers(self, source, watermark - OVERLAP)
            await self._move(source, self.asking.until)
        elif source.way == "whole":
            await self._compare_whole(source)
        else:
            await self._compare(source, watermark)

    # Beginning --------------------------------------------------------------------------------------------------------
    async def _begin(self, source: Source) -> float:
        """Set the watermark at the newest change there is; give it. A list that is read whole is kept."""
        arguments = _newest_first(source)
        if source.way == "followers" or arguments != source.arguments:
            arguments["limit"] = 1
        begun = 0.0
        if source.way == "whole":
            async for page in self._whole(source):
                await self._save(source.kind, _records(page))
            begun = self.asking.until
        elif source.way != "known":
            async for page in self.asking.pages(source.operation, arguments):
                moments = [_moment(source, one) or 0.0 for one in _records(page)]
                begun = self.asking.until if source.way == "followers" else max(moments, default=0.0)
                break
        await self._move(source, begun)
        return begun

    async def _acquaint(self, source: Source, watermark: float) -> None:
        """Keep the states that records had at the watermark, as far as they go, so that changes can be told from them.

        They go until half of what may be spent is, or 100 pages: whoever changed last comes first, and changes next.
        What has changed since is left to be found.
        """
        if source.way in ("since", "newest"):
            pages = 0
            # The first page is known in any case: what came just before the watermark is looked at again.
            is_enough = source.clock == "add_time" or not wants(self.needs, source.kind, "updated", "deleted")
            async for page in self.asking.pages(source.operation, _newest_first(source)):
                old = [one for one in _records(page) if (updated_at(one) or 0.0) <= watermark]
                await self._save(source.kind, old)
                pages += 1
                if is_enough or self.asking.purse.is_half_empty or pages >= MOST_PAGES:
                    break
        await self.store.save_watermark(self.company, _states(source), 1.0, self.now)

    async def _save(self, kind: str, listed: Sequence[Listed]) -> None:
        states = [self._state(kind, one) for one in listed]
        if states:
            await self.store.save_records(states)

    def _state(self, kind: str, listed: Listed) -> RecordState:
        return RecordState(
            company=self.company,
            kind=kind,
            record_id=str(listed["id"]),
            update_time=updated_at(listed),
            source="poll",
            state=orjson.dumps(as_delivered(kind, listed)),
            deleted=is_deleted(kind, listed),
        )

    # Comparing --------------------------------------------------------------------------------------------------------
    async def _compare(self, source: Source, watermark: float) -> None:
        oldest = watermark - OVERLAP
        arguments = dict(source.arguments)
        if source.way == "since":
            arguments["updated_since"] = _whole_seconds(oldest)
        reached, in_order = watermark, source.way == "since"
        firsts: list[float] = []
        try:
            async for page in self.asking.pages(source.operation, arguments):
                listed = _records(page)
                await self._tell(source, listed, watermark)
                moments = [moment for one in listed if (moment := _moment(source, one)) is not None]
                in_order = (
                    in_order and moments == sorted(moments) and (not firsts or reached <= min(moments, default=reached))
                )
                reached = max(reached, *moments) if moments else reached
                firsts.append(reached)
                if source.way == "newest" and moments and min(moments) < oldest:
                    break
        except (BudgetSpentError, ClientError):
            if in_order:
                await self._move(source, reached)
            raise
        if in_order and len(firsts) > 1 and operation(source.operation).paging == "offset":
            # Whoever changes meanwhile goes to the end, and the next page leaves one out: look at them again.
            reached = firsts[0]
        await self._move(source, reached)

    async def _whole(self, source: Source) -> AsyncIterator[OnePage[dict[str, Any]]]:
        """Read a list to its end, with what belongs to it."""
        given = [dict(source.arguments)]
        if source.each_of is not None:
            parents, name = source.each_of
            given = [{name: one["id"]} async for page in self.asking.pages(parents, {}) for one in _records(page)]
        for operation_id in (source.operation, source.also):
            for arguments in given if operation_id else ():
                async for page in self.asking.pages(str(operation_id), arguments):
                    yield page

    async def _compare_whole(self, source: Source) -> None:
        seen: set[str] = set()
        async for page in self._whole(source):
            listed = _records(page)
            seen.update(str(one["id"]) for one in listed)
            await self._tell(source, listed, float("inf"))
        await self._move(source, self.asking.until)
        if not seen:
            return
        gone = [record_id async for record_id in self._known_ids(source.kind) if record_id not in seen]
        for start in range(0, len(gone), IDS_AT_ONCE):
            await self._tell_gone(source.kind, gone[start : start + IDS_AT_ONCE])

    async def _ask_for_known(self, source: Source) -> None:
        """Ask for the records we know, a hundred at a time; those that are missing one by one."""
        known: list[str] = []
        async for record_id in self._known_ids(source.kind):
            known.append(record_id)
            if len(known) == IDS_AT_ONCE:
                await self._tell_missing(source, known)
                known = []
        if known:
            await self._tell_missing(source, known)

    async def _tell_missing(self, source: Source, known: Sequence[str]) -> None:
        found: set[str] = set()
        async for page in self.asking.pages(source.operation, {"ids": ",".join(known)}):
            found.update(str(one["id"]) for one in _records(page))
        for record_id in known:
            if record_id not in found:
                await self._ask_for_one(source, record_id)

    async def _ask_for_one(self, source: Source, record_id: str) -> None:
        """Ask for a record that a list left out. Not found says nothing: it may just not be ours to see."""
        try:
            response = await self.asking.one(ONE_OF[source.kind], record_id)
        except (NotFound, Gone):
            return
        listed = response.data
        if isinstance(listed, dict) and is_deleted(source.kind, listed):
            await self._tell(source, [listed], float("-inf"))

    async def _known_ids(self, kind: str) -> AsyncIterator[str]:
        last = ""
        while page := await self.store.record_ids(self.company, kind, after=last, limit=1000):
            for record_id in page:
                yield record_id
            last = page[-1]

    # Telling ----------------------------------------------------------------------------------------------------------
    async def _tell(self, source: Source, listed: Sequence[Listed], watermark: float) -> None:
        """Store what is news among these records; count those that changed after the watermark."""
        kind = source.kind
        states = await self.store.records([(self.company, kind, str(one["id"])) for one in listed])
        events: list[NewEvent] = []
        quiet: list[Listed] = []
        for one in listed:
            record_id = str(one["id"])
            if (moment := _moment(source, one)) is not None and moment > watermark:
                self.changed.add((kind, record_id))
            event = self._news(source, one, states.get((self.company, kind, record_id)), watermark)
            if event is None:
                continue
            if wants(self.needs, kind, event.action):
                events.append(event)
            else:
                quiet.append(one)
        await self._save(kind, quiet)
        await self.keep(events)

    async def _tell_gone(self, kind: str, record_ids: Sequence[str]) -> None:
        states = await self.store.records([(self.company, kind, record_id) for record_id in record_ids])
        await self.keep([self._deletion(kind, state, {}, None) for state in states.values()])

    async def keep(self, events: Sequence[NewEvent]) -> None:
        """Store events, and count those that are news. Where they are many, what is delivered meanwhile goes first."""
        if len(events) >= MANY:
            events = [event._replace(bulk=True) for event in events]
        stored = await self.store.add_events(events) if events else []
        new = {(one.kind, one.record_id) for one, event_id in zip(events, stored, strict=True) if event_id is not None}
        self.changed |= new
        self.added += len(new)

    def _news(self, source: Source, listed: Listed, state: RecordState | None, watermark: float) -> NewEvent | None:
        """Give the event that a listed record tells; None where all of it is known."""
        kind, moment = source.kind, updated_at(listed)
        if is_deleted(kind, listed):
            return None if state is not None and state.deleted else self._deletion(kind, state, listed, moment)
        before = _read(state)
        after = as_delivered(kind, listed, before)
        if before is None:
            added = source.way == "whole" or (added_at(listed) or moment or 0.0) >= watermark - OVERLAP
            return self._event(kind, "added" if added else "updated", after, None if added else {}, moment)
        is_newer = state is None or state.update_time is None or moment is None or moment > state.update_time
        if state is not None and not is_newer and source.way != "whole":
            if not (self.alone and state.source == "poll"):
                return None
            # A second change within the second that the last look saw.
            moment = (state.update_time or 0.0) + _MOMENT
        elif not is_newer:
            moment = None
        previous = differences(kind, after, before)
        return self._event(kind, "updated", after, previous, moment) if previous else None

    def _deletion(self, kind: str, state: RecordState | None, listed: Listed, moment: float | None) -> NewEvent:
        last = _read(state) or as_delivered(kind, listed)
        last.setdefault("id", listed.get("id") or (state.record_id if state else None))
        return self._event(kind, "deleted", None, last, moment)

    def _event(
        self, kind: str, action: str, data: dict[str, Any] | None, previous: dict[str, Any] | None, moment: float | None
    ) -> NewEvent:
        return found_event(
            self.company,
            kind,
            action,
            data=data,
            previous=previous,
            moment=moment,
            happened=moment or self.asking.until or self.now,
            now=self.now,
        )

    async def _move(self, source: Source, value: float) -> None:
        await self.store.save_watermark(self.company, source.name, value, self.now)


def _states(source: Source) -> str:
    """Name the watermark that says that the states of a source's records are known."""
    return f"{source.name}:states"


def _newest_first(source: Source) -> dict[str, Any]:
    return {name: _NEWEST_FIRST.get(name, value) for name, value in source.arguments.items()}


_NEWEST_FIRST = {"sort": "update_time DESC", "sort_direction": "desc"}


def _records(page: OnePage[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in page.data if isinstance(one, dict) and one.get("id") is not None]


def _moment(source: Source, listed: Listed) -> float | None:
    return added_at(listed) if source.clock == "add_time" else updated_at(listed)


def _read(state: RecordState | None) -> dict[str, Any] | None:
    found = orjson.loads(state.state) if state is not None and state.state else None
    return found if isinstance(found, dict) and found else None


def _whole_seconds(moment: float) -> str:
    # A fraction of a second is refused.
    return datetime.fromtimestamp(max(0.0, moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _names(sources: Sequence[Source]) -> str:
    return ", ".join(dict.fromkeys(source.kind for source in sources))
