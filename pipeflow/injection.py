"""What a function is given: decided by its annotations, checked while its recipe is imported. Imports errors alone.

Annotations are known by their qualified names, so that nothing of the client and the store is imported for them.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pipeflow.errors import ConfigError

Argument = Literal["event", "client", "run", "account", "logger"]

_INJECTED: Mapping[str, Argument] = {
    "pipeflow.events.Event": "event",
    "pipeflow.client.client.Client": "client",
    "pipeflow.store.base.Run": "run",
    "pipeflow.store.base.Account": "account",
    "logging.Logger": "logger",
}
_WHAT_MAY_STAND = "Event (or Event[Deal] and its like), Client, Run, Account, logging.Logger"


def arguments_of(function: Callable[..., Any], where: str) -> tuple[dict[str, Argument], tuple[type, ...]]:
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


def check_records(record_types: tuple[type, ...], patterns: tuple[str, ...], where: str) -> None:
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
