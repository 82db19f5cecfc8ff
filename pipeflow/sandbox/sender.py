"""Send deliveries: a 10 s timeout, retries after 3, 30 and 150 s of the sandbox's clock, never after a redirect.

Knows webhooks only through the functions it is given.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import orjson

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.clock import Clock
from pipeflow.sandbox.delivery import Delivery, State, Try
from pipeflow.sandbox.wire import Wire, WireError

RETRIES: Final = (3.0, 30.0, 150.0)
PARALLEL: Final = 16
BODIES: Final = 5_000
HEADERS: Final = {
    "content-type": "application/json",
    "accept": "application/json, text/plain, */*",
    "user-agent": "Pipedrive Webhooks",
}

Target = Callable[[Delivery], Record | None]
Settle = Callable[[Delivery, Record, Try], None]


class Sender:
    """Makes attempts, `parallel` at a time in the order in which deliveries came, and keeps those that are due later.

    `target` gives the webhook of a delivery (None: it is gone); `settle` hears how each attempt ended. Of the last
    `keep` deliveries it remembers what became of them, of the last 5,000 also the body.
    """

    def __init__(self, clock: Clock, target: Target, settle: Settle, keep: int) -> None:
        self.timeout = 10.0
        self.parallel = PARALLEL
        self._clock = clock
        self._target = target
        self._settle = settle
        self._kept: deque[Delivery] = deque(maxlen=keep)
        self._bodied: deque[Delivery] = deque()
        self._totals: Counter[State] = Counter()
        self._number = 0
        self._due: deque[Delivery] = deque()
        self._flying: dict[int, Delivery] = {}
        self._later: list[tuple[float, int, Delivery]] = []
        self._busy = 0
        self._wire: Wire | None = None
        self._sooner = asyncio.Event()
        self._calm = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def next_number(self) -> int:
        """Count deliveries."""
        self._number += 1
        return self._number

    def keep(self, delivery: Delivery) -> None:
        """Keep a delivery to be shown; the oldest goes."""
        self._totals[delivery.status] += 1
        self._kept.append(delivery)
        self._bodied.append(delivery)
        if len(self._bodied) > BODIES:
            self._bodied.popleft().fade()

    def find(self, number: int) -> Delivery | None:
        """Find a kept delivery."""
        return next((one for one in reversed(self._kept) if one.number == number), None)

    def kept(self, after: int = 0) -> Iterator[Delivery]:
        """Go through the kept deliveries with a number above `after`, oldest first."""
        return (one for one in self._kept if one.number > after)

    def counts(self) -> dict[str, int]:
        """Count how all deliveries ended, since the start, and what is on its way."""
        states = {state: self._totals[state] for state in ("waiting", "delivered", "failed", "dropped")}
        return {**states, "sent_now": self._busy, "due": len(self._due), "later": len(self._later)}

    def end(self, delivery: Delivery, status: State) -> None:
        """Say how a delivery ended."""
        self._totals[delivery.status] -= 1
        self._totals[status] += 1
        delivery.end(status)

    def send(self, delivery: Delivery, delay: float = 0.0) -> None:
        """Put a delivery on its way, after `delay` seconds of the sandbox's clock."""
        if delay <= 0:
            self._due.append(delivery)
            self._calm.clear()
            self._pump()
            return
        entry = (self._clock.seconds() + delay, delivery.number, delivery)
        heapq.heappush(self._later, entry)
        if self._later[0] is entry:
            self._sooner.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is due or being sent; what waits for its retry does not count."""
        return not self._due and not self._busy

    @property
    def due(self) -> int:
        """How many deliveries wait for a free connection."""
        return len(self._due)

    async def rest(self) -> None:
        """Wait until the sender is idle."""
        while not self.idle:
            await self._calm.wait()

    def waiting(self) -> list[tuple[float, Delivery]]:
        """List what has not ended, with the seconds until it is due: for the state's file."""
        now = self._clock.seconds()
        now_due = [(0.0, one) for one in (*self._flying.values(), *self._due)]
        return now_due + [(max(0.0, due - now), one) for due, _, one in self._later]

    def start(self) -> None:
        """Start sending."""
        if self._wire is None:
            self._wire = Wire()
            self._spawn(self._watch(), "sandbox retries")
            self._pump()

    async def stop(self) -> None:
        """Stop sending; what was under way may have arrived, and goes again after the next start."""
        wire, self._wire = self._wire, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._due.extendleft(reversed(self._flying.values()))
        self._flying.clear()
        if wire is not None:
            wire.close()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _pump(self) -> None:
        """Begin as many attempts as are due and allowed at once."""
        while self._wire is not None and self._due and self._busy < self.parallel:
            self._busy += 1
            self._spawn(self._work(self._wire, self._due.popleft()), "sandbox delivery")

    async def _work(self, wire: Wire, delivery: Delivery) -> None:
        """Make one attempt after the other while there are any."""
        try:
            await self._attempt(wire, delivery)
            while self._due and self._busy <= self.parallel:
                await self._attempt(wire, self._due.popleft())
        finally:
            self._busy -= 1
            if self.idle:
                self._calm.set()

    async def _watch(self) -> None:
        """Move what comes due from later to now."""
        while True:
            self._sooner.clear()
            if not self._later:
                await self._sooner.wait()
                continue
            due = self._later[0][0]
            if due <= self._clock.seconds():
                self.send(heapq.heappop(self._later)[2])
                continue
            waits = [asyncio.create_task(self._clock.sleep_until(due)), asyncio.create_task(self._sooner.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _attempt(self, wire: Wire, delivery: Delivery) -> None:
        webhook = self._target(delivery)
        if webhook is None:
            self.end(delivery, "dropped")
            return
        again = delivery.status != "waiting"
        self._flying[delivery.number] = delivery
        outcome = await self._post(wire, webhook, _numbered(delivery))
        self._flying.pop(delivery.number, None)
        delivery.attempts.append(outcome)
        self._settle(delivery, webhook, outcome)
        self._conclude(delivery, outcome, again=again)

    def _conclude(self, delivery: Delivery, outcome: Try, *, again: bool) -> None:
        if outcome.ok:
            self.end(delivery, "delivered")
        elif not again and len(delivery.attempts) <= len(RETRIES):
            self.send(delivery, delay=RETRIES[len(delivery.attempts) - 1])
        elif not again:
            self.end(delivery, "failed")

    async def _post(self, wire: Wire, webhook: Record, payload: bytes) -> Try:
        time = self._clock.stamp()
        headers = HEADERS
        if webhook["http_auth_user"] is not None or webhook["http_auth_password"] is not None:
            headers = HEADERS | {"authorization": basic(webhook["http_auth_user"], webhook["http_auth_password"])}
        try:
            reply = await wire.send("POST", webhook["subscription_url"], headers, payload, self.timeout)
        except WireError as error:
            return Try(time, 0, str(error))
        good = 200 <= reply.status < 300
        return Try(time, reply.status, None if good else f"HTTP {reply.status}")


def basic(user: str | None, password: str | None) -> str:
    """Write Basic credentials."""
    pair = f"{user or ''}:{password or ''}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _numbered(delivery: Delivery) -> bytes:
    """Give the body with the attempt's number in it: `meta.attempt` from 1, or `retry` from 0."""
    if not delivery.attempts or delivery.status != "waiting":
        return delivery.payload
    body = orjson.loads(delivery.payload)
    if delivery.version == "1.0":
        body["retry"] = len(delivery.attempts)
    else:
        body["meta"]["attempt"] = len(delivery.attempts) + 1
    return orjson.dumps(body)
