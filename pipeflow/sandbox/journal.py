"""What the sandbox received, for those who check what was sent to it. Secrets are never kept."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final

SECRET: Final = frozenset({"x-api-token", "authorization", "cookie"})


@dataclass(slots=True)
class Request:
    """One request: `operation` is its catalog id (None if it met none), `status` the answer (0: none was given)."""

    number: int
    time: str
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any
    operation: str | None = None
    company: str | None = None
    status: int = 0


class Journal:
    """The last requests, newest last; `keep` bounds them."""

    def __init__(self, keep: int) -> None:
        self._requests: deque[Request] = deque(maxlen=keep)
        self._count = 0

    def note(
        self, time: str, method: str, path: str, query: list[tuple[str, str]], headers: list[tuple[str, str]], body: Any
    ) -> Request:
        """Note a request before it is answered."""
        self._count += 1
        shown = {name: "***" if name in SECRET else value for name, value in headers}
        masked = [(name, "***" if name == "api_token" else value) for name, value in query]
        request = Request(self._count, time, method, path, masked, shown, body)
        self._requests.append(request)
        return request

    def clear(self) -> None:
        """Forget what was noted."""
        self._requests.clear()

    def listed(self, **like: str) -> list[dict[str, Any]]:
        """List requests as JSON data, those whose named attributes contain the given texts."""
        found = [one for one in self._requests if all(text in str(getattr(one, name)) for name, text in like.items())]
        return [asdict(one) for one in found]
