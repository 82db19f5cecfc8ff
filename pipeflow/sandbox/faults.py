"""Trouble on demand: what a test or a person may ask the sandbox to do wrong. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

KINDS: Final = {
    "burst": "enforce the rolling limit of requests in 2 s (`limit` overrides the plan's)",
    "block": "answer 403 with an HTML page once `limit` requests (20 by default) were refused in a burst",
    "budget": "enforce the daily budget of API tokens (`limit` overrides the plan's)",
    "daily": "answer 429 as if the daily budget were spent, with a misleading `retry-after: 3`",
    "429": "answer 429 as if the burst limit were hit; `retry_after` is sent as given",
    "html": "answer 403 with an HTML page, as Cloudflare does",
    "no_daily_headers": "leave the daily headers out",
    "slow": "wait `seconds` before answering",
    "503": "answer 503",
    "answer": "answer with `status`, `body`, `content_type` and `headers` as given",
    "cut": "send half of the answer and close the connection",
    "drop": "close the connection without an answer; with `after` true only after the request was carried out",
}


@dataclass(slots=True)
class Fault:
    """One kind of trouble. It meets requests whose path contains `path` and whose verb is `method` (None: any).

    `count` is how many requests it still meets; None means until it is taken back.
    """

    kind: str
    count: int | None = None
    path: str = ""
    method: str | None = None
    seconds: float = 0.0
    status: int = 500
    body: Any = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    retry_after: str | None = None
    limit: int | None = None
    after: bool = False

    def meets(self, method: str, path: str) -> bool:
        """Tell whether this fault is for such a request."""
        return self.path in path and self.method in (None, method) and self.count != 0


class Faults:
    """The faults that are set. They live with the process and are not kept in the state's file."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def add(self, **wanted: Any) -> Fault:
        """Set a fault; a ValueError says which word is wrong and which there are."""
        known = {one.name for one in fields(Fault)}
        if unknown := sorted(set(wanted) - known):
            raise ValueError(f"a fault has no {', '.join(unknown)}; it may have {', '.join(sorted(known))}")
        if str(wanted.get("kind")) not in KINDS:
            raise ValueError(f"there is no fault {wanted.get('kind')!r}; there are {', '.join(KINDS)}")
        made = Fault(**{**wanted, "kind": str(wanted["kind"])})
        self.all.append(made)
        return made

    def clear(self, kind: str | None = None) -> None:
        """Take back every fault, or those of one kind."""
        self.all = [one for one in self.all if kind is not None and one.kind != kind]

    def take(self, method: str, path: str) -> dict[str, Fault]:
        """Give the faults that meet this request, by kind, and count them down."""
        met: dict[str, Fault] = {}
        for fault in self.all:
            if fault.kind not in met and fault.meets(method, path):
                met[fault.kind] = fault
                if fault.count is not None:
                    fault.count -= 1
        return met

    def listed(self) -> list[dict[str, Any]]:
        """List the faults as JSON data."""
        return [asdict(fault) for fault in self.all]
