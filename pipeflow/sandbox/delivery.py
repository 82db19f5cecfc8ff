"""One event on its way to one webhook, and what became of it. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import orjson

State: TypeAlias = Literal["waiting", "delivered", "failed", "dropped"]
SHOWN: Final = (
    *("number", "company", "webhook_id", "event_id", "kind", "record_id", "action", "version", "time", "duplicate"),
    "status",
)


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
    """One event on its way to one webhook, with its attempts. `status` says how it ended.

    `payload` is the body of the first attempt; it fades (is empty) once many newer deliveries were made.
    """

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
    status: State = "waiting"
    attempts: list[Try] = field(default_factory=list)
    faded: bool = False

    def end(self, status: State) -> None:
        """Note how it ended."""
        self.status = status
        if self.faded:
            self.payload = b""

    def fade(self) -> None:
        """Forget the body, as soon as nobody has to send it any more."""
        self.faded = True
        if self.status != "waiting":
            self.payload = b""

    def listed(self, *, body: bool = False, only: Collection[str] = ()) -> dict[str, Any]:
        """Show the delivery as JSON data; `only` names what is wanted of it."""
        data: dict[str, Any] = {name: getattr(self, name) for name in SHOWN if not only or name in only}
        if not only or "attempts" in only:
            data["attempts"] = [{"time": one.time, "status": one.status, "error": one.error} for one in self.attempts]
        if body:
            data["body"] = orjson.loads(self.payload) if self.payload else None
        return data
