"""Count what echo protection gets wrong: others' changes dropped, own echoes let through; and what it costs.

    python bench/echoes.py [--changes 10000] [--deals 200] [--seed 1] [--lost 0.02] [--swap 3]

Half of the changes are our own writes, half another integration's, which acts as the same user through the API, on the
same deals and the same two fields, with values out of the same hundred. Answers arrive before and after their events,
`--lost` of them never; deliveries swap places up to `--swap` apart; every thousandth change our process is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pipeflow.errors import TimedOut
from pipeflow.registry import Registry
from pipeflow.store import open_store
from tests.engine.echo_world import Attempted, World, handler

WRITER, LISTENER = "a.writes", "b.listens"


class Chaos:
    """Lets things happen in a random order, which the seed repeats."""

    def __init__(self, world: World, arguments: argparse.Namespace) -> None:
        self.world = world
        self.deals: list[int] = []
        self.under_way: list[Attempted] = []
        self._chance = random.Random(arguments.seed)
        self._arguments = arguments

    async def begin(self) -> None:
        """Have a person add the deals."""
        self.deals = [self.world.add({"title": "Deal"}, source="app", user=3) for _ in range(self._arguments.deals)]
        await self.world.deliver()
        await self.world.dispatch()

    async def change(self, number: int) -> None:
        """Make one change, ours or another integration's, and whatever happens beside it."""
        chance, world = self._chance, self.world
        deal = chance.choice(self.deals)
        field, value = chance.choice(("value", "probability")), chance.randrange(100)
        world.now += chance.random() * 0.1
        if chance.random() < 0.5:
            write = await world.intend(deal, {field: value})
            world.carry_out(write)
            self.under_way.append(write)
        else:
            world.change(deal, {field: value})
        while len(self.under_way) > chance.randrange(20):
            write = self.under_way.pop(chance.randrange(len(self.under_way)))
            await world.learn(write, TimedOut("late") if chance.random() < self._arguments.lost else None)
        while len(world.undelivered) > self._arguments.swap:
            await world.deliver(chance.randrange(self._arguments.swap + 1))
        if number % 10 == 0:
            await world.dispatch()
        if number % 1000 == 999:
            await self._kill()

    async def _kill(self) -> None:
        """End our process and begin anew; runs that were cut off are tried again and write the same."""
        cut_off, self.under_way = self.under_way, []
        self.world.restart()
        for write in cut_off:
            self.under_way.append(again := await self.world.intend(write.deal, write.values))
            self.world.carry_out(again)


async def count(arguments: argparse.Namespace) -> None:
    """Play, and compare what woke whom with what should have."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/bench.db")
        await store.open(owner=True)
        registry = Registry()
        for one in (handler(WRITER), handler(LISTENER)):
            registry.add(one)
        world = World(store, registry)
        await world.open()
        chaos = Chaos(world, arguments)
        await chaos.begin()
        for number in range(arguments.changes):
            await chaos.change(number)
        await world.finish()
        woken = await world.woken()
        told = {event: handlers for event, handlers in woken.items() if event in world.ours}
        others = {event: handlers for event, handlers in woken.items() if event not in world.ours}
        report = {
            "own echoes": len(told),
            "own echoes let through": sum(WRITER in handlers for handlers in told.values()),
            "own writes that others did not hear": sum(LISTENER not in handlers for handlers in told.values()),
            "others' changes": len(others),
            "others' changes dropped": sum(WRITER not in handlers for handlers in others.values()),
            "microseconds to judge": await cost(world),
        }
        await store.close()
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


async def cost(world: World) -> dict[str, float]:
    """Measure one judgement: of a person's change, and of one that our user made through the API."""
    from pipeflow.events import normalise

    events = await world.events()
    await world.ledger.prepare(events)
    found = {}
    for name, source in (("a person's", b'"app"'), ("our user's through the API", b'"api"')):
        chosen = [(event, normalise(event.raw)) for event in events if source in event.raw][:2000]
        started = time.process_time()
        for event, payload in chosen:
            world.ledger.judge(event, payload)
        found[name] = round((time.process_time() - started) / max(len(chosen), 1) * 1e6, 2)
    return found


def main() -> None:
    """Read the arguments and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--deals", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lost", type=float, default=0.02)
    parser.add_argument("--swap", type=int, default=3)
    asyncio.run(count(parser.parse_args()))


if __name__ == "__main__":
    main()
