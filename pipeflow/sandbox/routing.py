"""From a path to what answers it: the sandbox's own handlers first, the catalog's operations for the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeflow import catalog
from pipeflow.sandbox.answers import Answer, Record, invalid

if TYPE_CHECKING:
    from pipeflow.sandbox.changes import Actor
    from pipeflow.sandbox.company import Company
    from pipeflow.sandbox.multipart import Upload
    from pipeflow.sandbox.sandbox import Sandbox


@dataclass(slots=True)
class Call:
    """One request to the API, with everything that a handler may ask.

    `path` are the values in the path, in order; `query` is the last value of each name; `app` is the client id of
    the OAuth app that calls, None for an API token.
    """

    sandbox: Sandbox
    company: Company
    user: Record
    actor: Actor
    generation: str
    path: tuple[str, ...]
    query: dict[str, str]
    body: Any
    files: dict[str, Upload] = field(default_factory=dict)
    operation: catalog.Operation | None = None
    app: str | None = None
    base_url: str = ""

    def number(self, name: str, default: int | None = None) -> int | None:
        """Give an integer of the query; what is none counts as not given."""
        text = self.query.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else default

    def flag(self, name: str) -> bool | None:
        """Give a boolean of the query, None if it is not given."""
        text = self.query.get(name)
        return None if text is None else text in ("1", "true")

    def listed(self, name: str) -> list[str]:
        """Give a comma-separated list of the query."""
        return [one.strip() for one in self.query.get(name, "").split(",") if one.strip()]

    def id(self, place: int = 0) -> Any:
        """Give an id of the path: an integer where it is one, else the text."""
        text = self.path[place]
        return int(text) if text.isdigit() else text

    @property
    def fields(self) -> Record:
        """The body as an object; an absent or odd body is an empty one."""
        return self.body if isinstance(self.body, dict) else {}

    def integer_id(self, place: int = 0) -> int:
        """Give an integer id of the path; generation 2 refuses anything else."""
        text = self.path[place]
        if not text.isdigit():
            raise invalid(f"{text}: must be an integer")
        return int(text)


Handler: TypeAlias = Callable[[Call], Answer | Awaitable[Answer]]
HANDLERS: dict[tuple[str, str], Handler] = {}


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Register a handler for a verb and a path such as `/v1/deals/{id}`."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method, _plain(path)] = handler
        return handler

    return register


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to: the verbs it knows, and the values in it."""

    template: str
    values: tuple[str, ...]
    methods: frozenset[str]


def find(path: str) -> Found | None:
    """Match a path; names win over `{}`."""
    matched = _walk(_tree(), path.strip("/").split("/"), ())
    if matched is None:
        return None
    template, values = matched
    return Found(template, values, _methods()[template])


def operation_of(method: str, template: str) -> catalog.Operation | None:
    """Give the catalog's operation of a verb and a matched path, aliases left aside."""
    return _operations().get((method, template))


def _plain(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


@cache
def _operations() -> dict[tuple[str, str], catalog.Operation]:
    # Living operations are listed before retired ones of the same path, and win.
    found: dict[tuple[str, str], catalog.Operation] = {}
    for operation in sorted(catalog.operations(), key=lambda one: (one.retired is not None, one.alias_of is not None)):
        found.setdefault((operation.method, _plain(operation.path)), operation)
    return found


@cache
def _methods() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for method, template in [*HANDLERS, *_operations()]:
        found[template] = found.get(template, frozenset()) | {method}
    return found


@cache
def _tree() -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _, template in [*HANDLERS, *_operations()]:
        node = tree
        for part in template.strip("/").split("/"):
            node = node.setdefault(part, {})
        node[""] = template
    return tree


def _walk(node: dict[str, Any], parts: list[str], values: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    if not parts:
        return (node[""], values) if "" in node else None
    head, rest = parts[0], parts[1:]
    if head in node and head and (matched := _walk(node[head], rest, values)):
        return matched
    return _walk(node["{}"], rest, (*values, head)) if "{}" in node and head else None
