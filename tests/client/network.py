"""A network of a test's own: answers from a list, on a clock that only waiting moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from pipeflow.client import Client, Configuration
from pipeflow.client.limits import Governor
from pipeflow.client.transport import Transport

Answer = Callable[[httpx.Request], httpx.Response]


class Network:
    """Answers from a list, the last answer for ever; remembers what was sent, and how long was waited."""

    def __init__(self, *answers: httpx.Response | Exception | Answer) -> None:
        self.answers = list(answers)
        self.sent: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 0.0

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            return answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def client(self, configuration: Configuration | None = None) -> Client:
        chosen = configuration or Configuration(api_key="t0ken-t0ken", base_url="https://pd.test")
        governor = Governor(clock=lambda: self.now, sleep=self.sleep)
        backend = httpx.MockTransport(self.handle)
        return Client(transport=Transport(chosen, backend=backend, sleep=self.sleep, governor=governor))


def ok(data: Any) -> httpx.Response:
    return httpx.Response(200, json={"success": True, "data": data})
