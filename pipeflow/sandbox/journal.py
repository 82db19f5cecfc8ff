"""What the sandbox received, for those who check what was sent to it. Secrets are never kept. Imports nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

SECRET_HEADERS: Final = frozenset({"x-api-token", "authorization", "cookie"})
SECRET_FIELDS: Final = frozenset({"client_secret", "refresh_token", "http_auth_password", "api_token"})
SECRET_FORMS: Final = SECRET_FIELDS | {"code", "token"}
HIDDEN: Final = "***"


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

    @property
    def count(self) -> int:
        """How many requests there were."""
        return self._count

    def note(
        self, time: str, method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], body: Any
    ) -> Request:
        """Note a request before it is answered."""
        self._count += 1
        shown = {name: HIDDEN if name in SECRET_HEADERS else value for name, value in headers.items()}
        masked = [(name, HIDDEN if name in SECRET_FIELDS else value) for name, value in query]
        secret = SECRET_FORMS if path.startswith("/oauth") else SECRET_FIELDS
        if isinstance(body, dict):
            body = {name: HIDDEN if name in secret and value else value for name, value in body.items()}
        request = Request(self._count, time, method, path, masked, shown, body)
        self._requests.append(request)
        return request

    def clear(self) -> None:
        """Forget what was noted."""
        self._requests.clear()

    def listed(self, after: int = 0, most: int | None = None, **like: str) -> list[dict[str, Any]]:
        """List requests numbered above `after` as JSON data, those whose named attributes contain the given texts."""
        found = (
            one
            for one in self._requests
            if one.number > after and all(text in str(getattr(one, name)) for name, text in like.items())
        )
        return [asdict(one) for one in islice(found, most)]
