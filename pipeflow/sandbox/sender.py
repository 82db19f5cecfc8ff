"""Send deliveries: a 10 s timeout, retries after 3, 30 and 150 s of the sandbox's clock, never after a redirect.

Talks to the world through httpx; knows webhooks only through the function it is given.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.clock import Clock

if TYPE_CHECKING:
    import httpx

RETRIES: Final = (3.0, 30.0, 150.0)
CONCURRENCY: Final = 16
HEADERS: Final = {
    "content-type": "application/json",
    "accept": "application/json, text/plain, */*",
    "user-agent": "Pipedrive Webhooks",
}


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt: when, the status of the answer (0: none came) and what went wrong."""

    time: str
    status: int
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether any 2xx came."""
        return 200 <= self.status < 300


@dataclass(slots=True)
class Delivery:
    """One event on its way to one webhook, with its attempts. `status` says how it ended."""

    number: int
    company: str
    webhook_id: int
    event_id: str
    kind: str
    record_id: str
    action: str
    version: str
    time: str
    payload: bytes
    duplicate: bool = False
    status: Literal["waiting", "delivered", "failed", "dropped"] = "waiting"
    attempts: list[Try] = field(default_factory=list)

    def listed(self, *, body: bool) -> dict[str, Any]:
        """Show the delivery as JSON data."""
        names = [
            "number",
            "company",
            "webhook_id",
            "event_id",
            "kind",
            "record_id",
            "action",
            "version",
            "time",
            "duplicate",
            "status",
        ]
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        data["attempts"] = [{"time": one.time, "status": one.status, "error": one.error} for one in self.attempts]
        if body:
            data["body"] = orjson.loads(self.payload) if self.payload else None
        return data


Target = Callable[[Delivery], Record | None]
Settle = Callable[[Delivery, Record, Try], None]


class Sender:
    """Makes attempts, a few at a time, and keeps those that are due later.

    `target` gives the webhook of a delivery (None: it is gone); `settle` hears how each attempt ended.
    """

    def __init__(self, clock: Clock, target: Target, settle: Settle, keep: int) -> None:
        self.timeout = 10.0
        self._clock = clock
        self._target = target
        self._settle = settle
        self._keep = keep
        self._kept: deque[Delivery] = deque(maxlen=keep)
        self._number = 0
        self._due: deque[Delivery] = deque()
        self._later: list[tuple[float, int, Delivery]] = []
        self._busy = 0
        self._awake = asyncio.Event()
        self._sooner = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._client: httpx.AsyncClient | None = None

    def next_number(self) -> int:
        """Count deliveries."""
        self._number += 1
        return self._number

    def keep(self, delivery: Delivery) -> None:
        """Keep a delivery to be shown; the oldest goes."""
        self._kept.append(delivery)

    def find(self, number: int) -> Delivery | None:
        """Find a kept delivery."""
        return next((one for one in self._kept if one.number == number), None)

    def listed(self, *, bodies: bool = False, after: int = 0, **like: str) -> list[dict[str, Any]]:
        """List kept deliveries with a number above `after` as JSON data, oldest first."""
        found = [one for one in self._kept if one.number > after]
        found = [one for one in found if all(str(getattr(one, name)) == text for name, text in like.items())]
        return [one.listed(body=bodies) for one in found]

    def counts(self) -> dict[str, int]:
        """Count what is on its way and how the kept ones ended."""
        states = dict.fromkeys(("waiting", "delivered", "failed", "dropped"), 0)
        for one in self._kept:
            states[one.status] += 1
        return {**states, "sent_now": self._busy, "due": len(self._due), "later": len(self._later)}

    def send(self, delivery: Delivery, delay: float = 0.0) -> None:
        """Put a delivery on its way, after `delay` seconds of the sandbox's clock."""
        if delay <= 0:
            self._due.append(delivery)
            self._awake.set()
            return
        entry = (self._clock.seconds() + delay, delivery.number, delivery)
        heapq.heappush(self._later, entry)
        if self._later[0] is entry:
            self._sooner.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is due or being sent; what waits for its retry does not count."""
        return not self._due and not self._busy

    def waiting(self) -> list[tuple[float, Delivery]]:
        """List what has not ended, with the seconds until it is due: for the state's file."""
        now = self._clock.seconds()
        return [(0.0, one) for one in self._due] + [(max(0.0, due - now), one) for due, _, one in self._later]

    def start(self) -> None:
        """Start sending."""
        if self._tasks:
            return
        self._tasks = [asyncio.create_task(self._run(), name="sandbox deliveries")]
        self._tasks.append(asyncio.create_task(self._watch(), name="sandbox retries"))

    async def stop(self) -> None:
        """Stop sending; what was under way may or may not have arrived."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _run(self) -> None:
        """Start an attempt for whatever is due, a few at a time, in the order in which it came."""
        room = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as group:
            while True:
                await room.acquire()
                while not self._due:
                    self._awake.clear()
                    await self._awake.wait()
                self._busy += 1
                group.create_task(self._attempt(self._due.popleft(), room))

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

    async def _attempt(self, delivery: Delivery, room: asyncio.Semaphore) -> None:
        try:
            webhook = self._target(delivery)
            if webhook is None:
                delivery.status = "dropped"
                return
            delivery.payload = _numbered(delivery)
            again = delivery.status != "waiting"
            outcome = await self._post(webhook, delivery.payload)
            delivery.attempts.append(outcome)
            self._settle(delivery, webhook, outcome)
            self._conclude(delivery, outcome, again=again)
        finally:
            self._busy -= 1
            room.release()

    def _conclude(self, delivery: Delivery, outcome: Try, *, again: bool) -> None:
        if outcome.ok:
            delivery.status = "delivered"
        elif not again and len(delivery.attempts) <= len(RETRIES):
            self.send(delivery, delay=RETRIES[len(delivery.attempts) - 1])
        elif not again:
            delivery.status = "failed"

    async def _post(self, webhook: Record, payload: bytes) -> Try:
        # Loaded with the first delivery: a sandbox is ready sooner without it.
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
            self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False, limits=limits)
        headers = dict(HEADERS)
        if webhook["http_auth_user"] is not None or webhook["http_auth_password"] is not None:
            pair = f"{webhook['http_auth_user'] or ''}:{webhook['http_auth_password'] or ''}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        time, url = self._clock.stamp(), webhook["subscription_url"]
        try:
            async with asyncio.timeout(self.timeout):
                answer = await self._client.post(url, content=payload, headers=headers, timeout=self.timeout)
        except (TimeoutError, httpx.TimeoutException):
            return Try(time, 0, "timeout")
        except httpx.HTTPError as error:
            return Try(time, 0, type(error).__name__)
        return Try(time, answer.status_code, None if answer.is_success else f"HTTP {answer.status_code}")


def _numbered(delivery: Delivery) -> bytes:
    """Write the attempt's number into the body: `meta.attempt` from 1, or `retry` from 0."""
    if not delivery.attempts or delivery.status != "waiting":
        return delivery.payload
    body = orjson.loads(delivery.payload)
    if delivery.version == "1.0":
        body["retry"] = len(delivery.attempts)
    else:
        body["meta"]["attempt"] = len(delivery.attempts) + 1
    return orjson.dumps(body)


async def reachable(url: str, own_url: str) -> bool:
    """Tell whether a webhook may be made for a URL: anything answers there, without a redirect.

    https, or http on loopback; never the sandbox's own API.
    """
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    loopback = parsed.host in ("localhost", "127.0.0.1", "::1")
    if parsed.scheme not in ("https", "http") or not parsed.host or (parsed.scheme == "http" and not loopback):
        return False
    if own_url and url.startswith(own_url):
        return False
    try:
        async with httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=3.0) as client:
            answer = await client.get(url)
    except httpx.HTTPError:
        return False
    return not answer.is_redirect
