"""What recipes register: handlers and jobs, checked while they are imported. Imports leftwards only; no I/O."""

from __future__ import annotations

import difflib
import inspect
import logging
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pipeflow.errors import ConfigError
from pipeflow.naming import ACCOUNT, ACCOUNT_VERBS, NOUNS, known_names
from pipeflow.predicates import Predicate

F = TypeVar("F", bound=Callable[..., Any])
Argument = Literal["event", "client", "run", "account", "logger"]

DEFAULT_TIMEOUT = 300.0
_INJECTED: Mapping[str, Argument] = {
    "pipeflow.events.Event": "event",
    "pipeflow.client.client.Client": "client",
    "pipeflow.store.base.Run": "run",
    "pipeflow.store.base.Account": "account",
    "logging.Logger": "logger",
}
_WHAT_MAY_STAND = "Event (or Event[Deal] and its like), Client, Run, Account, logging.Logger"
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_PATTERN = re.compile(r"(\*|[A-Za-z_]+)(?:\.(\*|[a-z_]+))?")


@dataclass(frozen=True, slots=True)
class Handler:
    """A function decorated with `@on`. `arguments` says by parameter name what it is given."""

    name: str
    patterns: tuple[str, ...]
    function: Callable[..., Any]
    when: Predicate | None
    ordered: bool
    ignore_self: bool
    timeout: float
    concurrency: int | None
    arguments: Mapping[str, Argument]
    record_types: tuple[type, ...]
    is_async: bool
    file: str
    line: int
    summary: str

    def matches(self, names: Sequence[str]) -> bool:
        """Say whether one of an event's names fits one of the patterns."""
        return any(_fits(pattern, name) for pattern in self.patterns for name in names)


@dataclass(frozen=True, slots=True)
class Job:
    """A function decorated with `@every` (seconds) or `@cron` (five fields, in `timezone`)."""

    name: str
    function: Callable[..., Any]
    every: float | None
    cron: str | None
    timezone: str | None
    timeout: float
    arguments: Mapping[str, Argument]
    is_async: bool
    file: str
    line: int
    summary: str


@dataclass
class Registry:
    """The handlers and jobs of a set of recipes, by name."""

    handlers: dict[str, Handler] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    _matching: dict[tuple[str, ...], list[Handler]] = field(default_factory=dict, repr=False)

    def add(self, entry: Handler | Job) -> None:
        """Take a handler or job in; raises ConfigError where its name is taken."""
        taken = self.handlers.get(entry.name) or self.jobs.get(entry.name)
        if taken is not None:
            raise ConfigError(
                f"{entry.file}:{entry.line}: the name {entry.name} is taken by {taken.file}:{taken.line}; "
                "rename one of them, or give one a name of its own: @on(..., name='…')."
            )
        if isinstance(entry, Handler):
            self.handlers[entry.name] = entry
            self._matching.clear()
        else:
            self.jobs[entry.name] = entry

    def matching(self, names: Sequence[str]) -> list[Handler]:
        """Give the handlers that want an event with these names, in the order in which they were registered."""
        key = tuple(names)
        found = self._matching.get(key)
        if found is None:
            found = [handler for handler in self.handlers.values() if handler.matches(key)]
            if len(self._matching) > 10_000:
                self._matching.clear()
            self._matching[key] = found
        return found

    def find(self, function: Callable[..., Any]) -> Handler | Job | None:
        """Give what a function was registered as."""
        entries: list[Handler | Job] = [*self.handlers.values(), *self.jobs.values()]
        return next((entry for entry in entries if entry.function is function), None)

    def needs(self) -> set[tuple[str, str]]:
        """Say which deliveries the handlers need, as (action, noun) in our words; `*` stands for all."""
        return {need for handler in self.handlers.values() for pattern in handler.patterns for need in _needs(pattern)}


_collecting: ContextVar[Registry | None] = ContextVar("_collecting", default=None)
DEFAULT = Registry()
"""Where recipes register that are imported outside of `load`, as tests do."""


def on(
    *patterns: str,
    when: Predicate | None = None,
    name: str | None = None,
    ordered: bool = True,
    ignore_self: bool = True,
    timeout: float = DEFAULT_TIMEOUT,
    concurrency: int | None = None,
) -> Callable[[F], F]:
    """Run the function when something happens in Pipedrive; give the function back untouched.

        @on("deal.updated", when=changed("stage_id"))
        async def call(event: Event[Deal], client: Client) -> None: ...

    A pattern is `noun.verb`, `noun.*`, `*.verb` or `*`; a noun alone means `noun.*`. `ordered=False` gives up the order
    within a record, `ignore_self=False` lets the handler hear what it wrote itself, `timeout` is seconds for one
    attempt, `concurrency` how many attempts of this handler run at once. Raises ConfigError, naming file and line.
    """

    def register(function: F) -> F:
        where = _where(function)
        if not patterns:
            raise ConfigError(f"{where}: @on needs a pattern, such as @on('deal.updated').")
        for pattern in patterns:
            _check_pattern(pattern, where)
        if when is not None and not isinstance(when, Predicate):
            raise ConfigError(
                f"{where}: when= takes a predicate, such as changed('stage_id') or record(lambda deal: …)."
            )
        arguments, record_types = _arguments(function, where)
        _check_records(record_types, patterns, where)
        file, line = _place(function)
        _register(
            Handler(
                name=name or _name(function),
                patterns=tuple(patterns),
                function=function,
                when=when,
                ordered=ordered,
                ignore_self=ignore_self,
                timeout=float(timeout),
                concurrency=concurrency,
                arguments=arguments,
                record_types=record_types,
                is_async=inspect.iscoroutinefunction(function),
                file=file,
                line=line,
                summary=_summary(function),
            )
        )
        return function

    return register


def every(interval: str | timedelta, *, name: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> Callable[[F], F]:
    """Run the function at fixed intervals: `"5 minutes"`, `"1 hour"`, or a timedelta.

    Due times are multiples of the interval since 1970 UTC. Raises ConfigError, naming file and line.
    """

    def register(function: F) -> F:
        seconds = _seconds(interval, _where(function))
        _register(_job(function, name, timeout, every=seconds))
        return function

    return register


def cron(
    expression: str, *, timezone: str | None = None, name: str | None = None, timeout: float = DEFAULT_TIMEOUT
) -> Callable[[F], F]:
    """Run the function at the times of a cron expression of five fields.

        @cron("0 8 * * MON-FRI", timezone="account")

    `timezone` is an IANA name, or `"account"` for the zone of the account's user; without it UTC. Raises ConfigError,
    naming file and line.
    """

    def register(function: F) -> F:
        _check_cron(expression, timezone, _where(function))
        _register(_job(function, name, timeout, cron=expression, timezone=timezone))
        return function

    return register


def _register(entry: Handler | Job) -> None:
    registry = _collecting.get()
    if registry is not None:
        registry.add(entry)
        return
    # A test may import a recipe that it imported before under another name: the newest one counts.
    DEFAULT.handlers.pop(entry.name, None)
    DEFAULT.jobs.pop(entry.name, None)
    DEFAULT.add(entry)


def _job(
    function: Callable[..., Any],
    name: str | None,
    timeout: float,
    every: float | None = None,
    cron: str | None = None,
    timezone: str | None = None,
) -> Job:
    arguments, _ = _arguments(function, _where(function))
    file, line = _place(function)
    return Job(
        name=name or _name(function),
        function=function,
        every=every,
        cron=cron,
        timezone=timezone,
        timeout=float(timeout),
        arguments=arguments,
        is_async=inspect.iscoroutinefunction(function),
        file=file,
        line=line,
        summary=_summary(function),
    )


def _place(function: Callable[..., Any]) -> tuple[str, int]:
    code = getattr(function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("?", 0)


def _where(function: Callable[..., Any]) -> str:
    file, line = _place(function)
    return f"{Path(file).name}:{line}: {getattr(function, '__name__', function)}"


def _name(function: Callable[..., Any]) -> str:
    module = function.__module__.removeprefix("recipes.")
    return f"{module}.{function.__qualname__.replace('<locals>.', '')}"


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _arguments(function: Callable[..., Any], where: str) -> tuple[dict[str, Argument], tuple[type, ...]]:
    """Decide by annotation what each parameter is given, and which records its event may carry."""
    try:
        hints = typing.get_type_hints(function)
    except NameError as unknown:
        raise ConfigError(
            f"{where}: {unknown}; import what its annotations name. It may take {_WHAT_MAY_STAND}."
        ) from None
    arguments: dict[str, Argument] = {}
    records: tuple[type, ...] = ()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(f"{where}: *{parameter.name} is given nothing; name what you need: {_WHAT_MAY_STAND}.")
        annotation = hints.get(parameter.name)
        origin = get_origin(annotation) or annotation
        given = _INJECTED.get(f"{getattr(origin, '__module__', '')}.{getattr(origin, '__qualname__', '')}")
        if given is None:
            raise ConfigError(
                f"{where}: parameter {parameter.name!r} "
                f"{'has no annotation' if annotation is None else f'asks for {annotation!r}, which nobody gives'}; "
                f"it may be annotated with {_WHAT_MAY_STAND}."
            )
        arguments[parameter.name] = given
        if given == "event":
            records = _record_types(annotation)
    if "client" in arguments.values() and not inspect.iscoroutinefunction(function):
        raise ConfigError(f"{where}: a function that takes a Client must be awaited: write `async def`.")
    return arguments, records


def _record_types(annotation: Any) -> tuple[type, ...]:
    types_: list[type] = []
    for argument in get_args(annotation):
        parts = get_args(argument) if get_origin(argument) in (Union, types.UnionType) else (argument,)
        types_.extend(part for part in parts if isinstance(part, type) and part is not type(None))
    return tuple(types_)


def _check_records(record_types: tuple[type, ...], patterns: tuple[str, ...], where: str) -> None:
    """Refuse a record type that no pattern can deliver, and a pattern whose record none of the types fits."""
    if not record_types:
        return
    from pipeflow.records import RECORDS, Record

    if Record in record_types:
        return
    nouns = {pattern.partition(".")[0] for pattern in patterns}
    kinds = {kind: model for kind, model in RECORDS.items() if "*" in nouns or kind in nouns}
    delivered = set(kinds.values())
    for model in record_types:
        if model in RECORDS.values() and model not in delivered:
            fitting = ", ".join(sorted(f"Event[{kind.__name__}]" for kind in delivered)) or "Event"
            raise ConfigError(
                f"{where}: {', '.join(patterns)} never carries a {model.__name__}; annotate the event as {fitting}."
            )


def _check_pattern(pattern: Any, where: str) -> None:
    matched = _PATTERN.fullmatch(pattern) if isinstance(pattern, str) else None
    if matched is None:
        raise ConfigError(f"{where}: {pattern!r} is no pattern; write noun.verb, such as 'deal.updated' or 'deal.*'.")
    noun, verb = matched.groups()
    known = known_names()
    near: list[str] = []
    if noun not in ("*", ACCOUNT, *NOUNS):
        near = difflib.get_close_matches(noun, NOUNS, 1, 0.7)
        near = [f"{near[0]}.{verb}" if verb else near[0]] if near else []
        if not near:
            return
    elif verb in (None, "*"):
        return
    elif noun == "*":
        verbs = {name.partition(".")[2] for name in known}
        if verb in verbs:
            return
        near = [f"*.{close}" for close in difflib.get_close_matches(verb, verbs, 1)]
    elif pattern in known:
        return
    else:
        near = difflib.get_close_matches(pattern, known, 3)
    meant = (
        f"did you mean {' or '.join(near)}?" if near else "events end in .added, .updated, .deleted or a derived verb."
    )
    raise ConfigError(f"{where}: nothing is called {pattern!r}; {meant}")


@lru_cache(maxsize=4096)
def _fits(pattern: str, name: str) -> bool:
    if pattern == "*":
        return True
    wanted_noun, _, wanted_verb = pattern.partition(".")
    noun, _, verb = name.partition(".")
    return wanted_noun in ("*", noun) and (wanted_verb in ("", "*") or wanted_verb == verb)


def _needs(pattern: str) -> list[tuple[str, str]]:
    noun, _, verb = pattern.partition(".")
    if noun == ACCOUNT or verb in ACCOUNT_VERBS:
        return []
    if verb in ("added", "updated", "deleted", "*", ""):
        return [(verb or "*", noun)]
    if verb in ("won", "lost", "completed"):
        return [("added", noun), ("updated", noun)]
    if verb == "converted":
        return [("added", "deal"), ("deleted", "lead")]
    if verb == "merged":
        return [("updated", noun), ("deleted", noun)]
    return [("updated", noun)]


def _seconds(interval: str | timedelta, where: str) -> float:
    if isinstance(interval, timedelta):
        seconds = interval.total_seconds()
    else:
        matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*(second|minute|hour|day|week)s?\s*", str(interval))
        if matched is None:
            raise ConfigError(f"{where}: {interval!r} is no interval; write '5 minutes', '1 hour' or a timedelta.")
        seconds = float(matched[1] or 1) * _UNITS[matched[2]]
    if seconds < 1:
        raise ConfigError(f"{where}: an interval is at least a second; {interval!r} is shorter.")
    return seconds


def _check_cron(expression: Any, timezone: str | None, where: str) -> None:
    if not isinstance(expression, str) or len(expression.split()) != 5:
        raise ConfigError(
            f"{where}: {expression!r} is no cron expression; write five fields: minute hour day month weekday, "
            "such as '0 8 * * MON-FRI'."
        )
    if timezone in (None, "account"):
        return
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"{where}: {timezone!r} is no time zone; write an IANA name such as 'Europe/Tallinn', or 'account'."
        ) from None


def logger_of(entry: Handler | Job) -> logging.Logger:
    """Give the logger that a handler or job is handed."""
    return logging.getLogger(f"recipes.{entry.name}")


def load(target: str | Path) -> Registry:
    """Import the recipes of a folder, a file or a dotted module, and give what they registered.

        registry = load("recipes/")

    Raises ConfigError, naming file and line, for whatever keeps a recipe from being imported; then nothing is loaded.
    """
    from pipeflow.loading import import_recipes

    registry = Registry()
    token = _collecting.set(registry)
    try:
        import_recipes(target)
    finally:
        _collecting.reset(token)
    return registry
