"""Many changes at once, as an import or a list-view edit makes them, without outrunning what can be sent."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from pipeflow.sandbox.changes import Action, Actor, Source
from pipeflow.sandbox.kinds import DEFAULTS

if TYPE_CHECKING:
    from pipeflow.sandbox.answers import Record
    from pipeflow.sandbox.company import Company
    from pipeflow.sandbox.sandbox import Sandbox

AT_ONCE: Final = 50
MOST_DUE: Final = 2_000
PAUSE: Final = 0.01


async def make_many(
    sandbox: Sandbox,
    *,
    count: int,
    action: Action | str = "change",
    kind: str = "deal",
    field: str | None = None,
    ids: list[Any] | None = None,
    per_second: float | None = None,
    company: str | None = None,
    user: int | None = None,
    source: Source = "app",
    bulk: bool = False,
) -> Record:
    """Make `count` changes and come back when they are made; most of their deliveries have gone by then.

    `change` goes round the living records (or `ids`) and gives each a new number in `field`; `add` adds records.
    Without `per_second` it is as fast as deliveries can be sent. Gives how many were made and the last event's number.
    """
    if action not in ("add", "change"):
        raise ValueError(f"there is no bulk action {action!r}; there are add, change")
    home = sandbox.home(company)
    actor = sandbox.actor(home, user, source=source, bulk=bulk)
    column = field or _column(kind)
    targets = cycle(ids or [record["id"] for record in home.living(kind) if not record.get("is_archived")] or [None])
    begun = asyncio.get_running_loop().time()
    for number in range(1, count + 1):
        _make(home, kind, action, next(targets), {column: _value(kind, column, home.next_number("bulk"))}, actor)
        if per_second:
            await asyncio.sleep(begun + number / per_second - asyncio.get_running_loop().time())
        elif number % AT_ONCE == 0:
            await asyncio.sleep(0)
            while sandbox.webhooks.sender.due > MOST_DUE:  # noqa: ASYNC110  (a look now and then is all it takes)
                await asyncio.sleep(PAUSE)
    return {"made": count, "last_event": sandbox.told}


def _make(home: Company, kind: str, action: str, target: Any, values: Record, actor: Actor) -> None:
    if action == "add":
        home.add(kind, values, actor)
        return
    if target is None:
        raise ValueError(f"there is no {kind} to change; add some first")
    home.get(kind, target)
    home.change(kind, target, values, actor)


def _column(kind: str) -> str:
    fresh = DEFAULTS[kind]
    return next(name for name in ("value", "title", "name", "subject", "content") if name in fresh and kind != "lead")


def _value(kind: str, column: str, number: int) -> Any:
    return number if isinstance(DEFAULTS[kind].get(column), int) else f"Bulk {number}"
