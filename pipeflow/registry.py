"""What recipes register: handlers and jobs, checked while they are imported. Imports leftwards only; no I/O."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pipeflow.errors import ConfigError
from pipeflow.injection import Argument, arguments_of, check_records
from pipeflow.patterns import check_pattern, fits, needs_of
from pipeflow.predicates import Predicate
from pipeflow.schedules import check_cron, seconds_of

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TIMEOUT = 300.0


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
        return any(fits(pattern, name) for pattern in self.patterns for name in names)


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
        patterns = {pattern for handler in self.handlers.values() for pattern in handler.patterns}
        return {need for pattern in patterns for need in needs_of(pattern)}


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
    if patterns and callable(patterns[0]):
        raise ConfigError(f"{_where(patterns[0])}: @on needs a pattern, such as @on('deal.updated').")

    def register(function: F) -> F:
        where = _where(function)
        _check_function(function, where)
        if not patterns:
            raise ConfigError(f"{where}: @on needs a pattern, such as @on('deal.updated').")
        for pattern in patterns:
            check_pattern(pattern, where)
        if when is not None and not isinstance(when, Predicate):
            raise ConfigError(
                f"{where}: when= takes a predicate, such as changed('stage_id') or record(lambda deal: …)."
            )
        if concurrency is not None and not (isinstance(concurrency, int) and concurrency >= 1):
            raise ConfigError(f"{where}: concurrency={concurrency!r} lets nothing run; write a whole number from 1.")
        arguments, record_types = arguments_of(function, where)
        check_records(record_types, patterns, where)
        file, line = _place(function)
        _register(
            Handler(
                name=name or _name(function),
                patterns=tuple(patterns),
                function=function,
                when=when,
                ordered=ordered,
                ignore_self=ignore_self,
                timeout=_seconds(timeout, where),
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
    if callable(interval):
        raise ConfigError(f"{_where(interval)}: @every needs an interval, such as @every('5 minutes').")

    def register(function: F) -> F:
        seconds = seconds_of(interval, _where(function))
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
    if callable(expression):
        raise ConfigError(f"{_where(expression)}: @cron needs an expression, such as @cron('0 8 * * MON-FRI').")

    def register(function: F) -> F:
        check_cron(expression, timezone, _where(function))
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
    where = _where(function)
    _check_function(function, where)
    arguments, _ = arguments_of(function, where)
    file, line = _place(function)
    return Job(
        name=name or _name(function),
        function=function,
        every=every,
        cron=cron,
        timezone=timezone,
        timeout=_seconds(timeout, where),
        arguments=arguments,
        is_async=inspect.iscoroutinefunction(function),
        file=file,
        line=line,
        summary=_summary(function),
    )


def _check_function(function: Any, where: str) -> None:
    """Refuse what would be called without doing its work: a class, a generator, anything but a plain function."""
    if not inspect.isroutine(function):
        raise ConfigError(f"{where}: only a plain function can be decorated: write `async def`, outside of any class.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"{where}: it has a `yield`, so that nobody would run its lines; await things instead.")


def _seconds(timeout: Any, where: str) -> float:
    if isinstance(timeout, int | float) and timeout > 0:
        return float(timeout)
    raise ConfigError(f"{where}: timeout={timeout!r} is no time an attempt could take; write seconds above 0.")


def _place(function: Callable[..., Any]) -> tuple[str, int]:
    code = getattr(function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("?", 0)


def _where(function: Callable[..., Any]) -> str:
    file, line = _place(function)
    place = f"{Path(file).name}:{line}" if line else getattr(function, "__module__", "a recipe")
    return f"{place}: {getattr(function, '__name__', function)}"


def _name(function: Callable[..., Any]) -> str:
    module = function.__module__.removeprefix("recipes.")
    return f"{module}.{function.__qualname__.replace('<locals>.', '')}"


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


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
