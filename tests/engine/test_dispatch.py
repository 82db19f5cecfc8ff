"""Which events are dispatched next where one company has very many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from pipeflow.engine.dispatch import BATCH, GENTLE, PACE, Dispatcher
from pipeflow.engine.writes import Ledger
from pipeflow.events import read_delivery
from pipeflow.registry import Handler, Registry
from pipeflow.store import open_store
from pipeflow.store.base import ALL, NewEvent, Store

from .test_worker import change, handler

CROWD, QUIET, SECOND = 4410021, 4410022, 4410023


async def nothing(event: object) -> None:
    """Do nothing."""


def registry_of(*handlers: Handler) -> Registry:
    registry = Registry()
    for one in handlers:
        registry.add(one)
    return registry


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await opened.open(owner=True)
    yield opened
    await opened.close()


async def deliver(store: Store, company: int, deals: Sequence[int]) -> None:
    """Store deliveries of a company, one of each deal."""
    events = []
    for deal in deals:
        raw = change(deal).replace(str(CROWD).encode(), str(company).encode())
        head = read_delivery(raw, company, 1000.0)
        fields = {name: getattr(head, name) for name in NewEvent._fields if hasattr(head, name)}
        events.append(NewEvent(**fields, source="delivery", raw=raw, received_at=1000.0))
    await store.add_events(events)


async def test_a_quiet_company_is_not_dispatched_behind_the_whole_import_of_another(store: Store) -> None:
    await deliver(store, CROWD, range(BATCH * 10))
    await deliver(store, QUIET, [1, 2])
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    _, runs = await dispatcher.step(ALL, 1000.0)
    assert [run.record_id for run in runs] == [str(deal) for deal in range(BATCH)]
    _, runs = await dispatcher.step(ALL, 1000.0)
    assert [(run.company, run.record_id) for run in runs] == [(QUIET, "1"), (QUIET, "2")]


async def test_everything_is_dispatched_in_the_order_of_its_company(store: Store) -> None:
    await deliver(store, CROWD, range(BATCH * 3))
    await deliver(store, QUIET, range(BATCH * 2))
    await deliver(store, CROWD, range(BATCH * 3))
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    seen: dict[int, list[int]] = {CROWD: [], QUIET: []}
    now = 1000.0
    while events := (await dispatcher.step(ALL, now))[0]:
        for event in events:
            seen[event.company].append(event.id)
        now += 0.15
    assert (len(seen[CROWD]), len(seen[QUIET])) == (BATCH * 6, BATCH * 2)
    assert seen == {company: sorted(ids) for company, ids in seen.items()}


async def test_an_event_that_comes_during_an_import_waits_for_one_small_batch_at_most(store: Store) -> None:
    await deliver(store, CROWD, range(BATCH * 10))
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    await deliver(store, QUIET, [1])
    await dispatcher.step(ALL, 1000.0)
    await dispatcher.step(ALL, 1000.0)
    for deal in range(2, 20):
        events, _ = await dispatcher.step(ALL, 1000.0)
        assert [event.company for event in events] == [CROWD] * GENTLE
        await deliver(store, QUIET, [deal])
        await deliver(store, CROWD, [1000 + deal])
        events, _ = await dispatcher.step(ALL, 1000.0)
        assert [(event.company, event.record_id) for event in events] == [(QUIET, str(deal))]


async def test_an_import_goes_on_while_events_of_others_never_end(store: Store) -> None:
    await deliver(store, CROWD, range(BATCH * 10))
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    seen = []
    for deal in range(9):
        seen += (await dispatcher.step(ALL, 1000.0))[0]
        await deliver(store, QUIET, [deal])
    assert sum(event.company == CROWD for event in seen) == BATCH + 4 * GENTLE


async def test_while_runs_of_the_import_wait_only_the_events_of_others_are_dispatched_at_once(store: Store) -> None:
    await deliver(store, CROWD, range(BATCH * 10))
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    await dispatcher.step(ALL, 1000.0, busy={CROWD})
    await deliver(store, QUIET, [1, 2])
    events, _ = await dispatcher.step(ALL, 1000.0 + PACE / 2, busy={CROWD})
    assert [event.company for event in events] == [QUIET, QUIET]
    assert await dispatcher.step(ALL, 1000.0 + PACE / 2, busy={CROWD}) == ([], [])
    assert dispatcher.wake_at == pytest.approx(1000.0 + PACE)
    events, _ = await dispatcher.step(ALL, 1000.0 + PACE, busy={CROWD})
    assert {event.company for event in events} == {CROWD}


async def test_of_two_imports_neither_delays_a_third_company(store: Store) -> None:
    for start in range(0, BATCH * 4, 4):
        await deliver(store, CROWD, range(start, start + 4))
        await deliver(store, SECOND, range(start, start + 4))
    await deliver(store, QUIET, [1])
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    await dispatcher.step(ALL, 1000.0)
    events, _ = await dispatcher.step(ALL, 1000.0)
    assert [(event.company, event.record_id) for event in events] == [(QUIET, "1")]


async def test_a_company_that_is_no_crowd_any_more_goes_on_where_it_was(store: Store) -> None:
    await deliver(store, CROWD, range(BATCH * 2))
    await deliver(store, SECOND, range(BATCH * 4))
    await deliver(store, CROWD, range(BATCH * 2, BATCH * 3))
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    seen: dict[int, list[int]] = {CROWD: [], SECOND: []}
    now = 1000.0
    while events := (await dispatcher.step(ALL, now))[0]:
        now += 0.15
        for event in events:
            seen[event.company].append(event.id)
    assert (len(seen[CROWD]), len(seen[SECOND])) == (BATCH * 3, BATCH * 4)
    assert seen == {company: sorted(ids) for company, ids in seen.items()}


async def test_where_there_is_one_company_alone_nobody_looks_for_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(store, CROWD, range(BATCH * 3))
    dispatcher = Dispatcher(store, registry_of(handler("mine.act", nothing)), Ledger(store, lambda: 1000.0))
    monkeypatch.delattr(type(store), "undispatched_past")
    steps = [len((await dispatcher.step(ALL, 1000.0 + n, shared=False))[0]) for n in range(4)]
    assert steps == [BATCH, BATCH, BATCH, 0]
