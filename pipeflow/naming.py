"""What events are called beyond their plain name: derived names, read off the difference. Standard library alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

NOUNS: tuple[str, ...] = (
    "activity",
    "activityType",
    "board",
    "deal",
    "deal_installment",
    "deal_product",
    "file",
    "follower",
    "lead",
    "mail",
    "note",
    "organization",
    "person",
    "phase",
    "pipeline",
    "product",
    "project",
    "stage",
    "task",
    "user",
)
"""The nouns Pipedrive is known to send; others (field definitions, whatever comes next) arrive just as well."""

VERBS: tuple[str, ...] = ("added", "updated", "deleted")
ACCOUNT = "account"
"""The noun of what pipeflow tells of its accounts; Pipedrive has no such record and delivers nothing of it."""
ACCOUNT_VERBS: tuple[str, ...] = ("connected", "disconnected", "needs_reconnect")
MERGED: tuple[str, ...] = ("deal", "person", "organization")


class FieldNames(Protocol):
    """What is known of one company's fields: names, keys, types and options, by kind of record."""

    def key(self, kind: str, name: str) -> str:
        """Give a field's key by its name or key; ConfigError, naming both keys, if two fit; KeyError if none."""
        ...

    def name(self, kind: str, key: str) -> str | None:
        """Give the field's name, None where the key is unknown."""
        ...

    def options(self, kind: str, key: str) -> Mapping[int, str]:
        """Give the labels of the field's options by id; empty for other fields."""
        ...

    def type(self, kind: str, key: str) -> str | None:
        """Give Pipedrive's type of the field (`enum`, `monetary`, …), None where the key is unknown."""
        ...


class Rule(NamedTuple):
    """`noun.verb` is told when `field` goes from one value to another; `at_start` also when a record begins with it."""

    noun: str
    verb: str
    field: str
    holds: Callable[[Any, Any], bool]
    at_start: Callable[[Any], bool] | None = None


def _differs(old: Any, new: Any) -> bool:
    return old != new and (old is None or new is None or str(old) != str(new))


def _becomes_true(old: Any, new: Any) -> bool:
    return _is_true(new) and not _is_true(old)


def _begins(old: Any, new: Any) -> bool:
    return not old and bool(new)


def _ends(old: Any, new: Any) -> bool:
    return bool(old) and not new


def _becomes_false(old: Any, new: Any) -> bool:
    return _is_true(old) and not _is_true(new)


def _is_true(value: Any) -> bool:
    return value is True or value == 1 or value == "1" or value == "true"


def _becomes(status: str) -> Callable[[Any, Any], bool]:
    return lambda old, new: new == status and old != status


def _is(status: str) -> Callable[[Any], bool]:
    return lambda value: bool(value == status)


def _reopens(old: Any, new: Any) -> bool:
    return new == "open" and old in ("won", "lost")


RULES: tuple[Rule, ...] = (
    Rule("deal", "won", "status", _becomes("won"), _is("won")),
    Rule("deal", "lost", "status", _becomes("lost"), _is("lost")),
    Rule("deal", "reopened", "status", _reopens),
    Rule("deal", "stage_changed", "stage_id", _differs),
    Rule("deal", "pipeline_changed", "pipeline_id", _differs),
    Rule("deal", "owner_changed", "owner_id", _differs),
    Rule("deal", "archived", "is_archived", _becomes_true),
    Rule("deal", "archived", "archive_time", _begins),
    Rule("deal", "unarchived", "is_archived", _becomes_false),
    Rule("deal", "unarchived", "archive_time", _ends),
    Rule("lead", "owner_changed", "owner_id", _differs),
    Rule("lead", "archived", "is_archived", _becomes_true),
    Rule("lead", "unarchived", "is_archived", _becomes_false),
    Rule("person", "owner_changed", "owner_id", _differs),
    Rule("organization", "owner_changed", "owner_id", _differs),
    Rule("product", "owner_changed", "owner_id", _differs),
    Rule("project", "owner_changed", "owner_id", _differs),
    Rule("project", "phase_changed", "phase_id", _differs),
    Rule("activity", "completed", "done", _becomes_true, _is_true),
    Rule("activity", "reopened", "done", _becomes_false),
    Rule("activity", "owner_changed", "owner_id", _differs),
    Rule("task", "completed", "is_done", _becomes_true, _is_true),
    Rule("task", "reopened", "is_done", _becomes_false),
    Rule("user", "deactivated", "active_flag", _becomes_false),
    Rule("user", "activated", "active_flag", _becomes_true),
)

_BY_NOUN: dict[str, tuple[Rule, ...]] = {noun: tuple(r for r in RULES if r.noun == noun) for noun in NOUNS}


def known_names() -> tuple[str, ...]:
    """List every name that can be told of the known nouns: plain ones, then derived ones."""
    plain = [f"{noun}.{verb}" for noun in NOUNS for verb in VERBS]
    derived = [f"{rule.noun}.{rule.verb}" for rule in RULES]
    merged = [f"{noun}.merged" for noun in MERGED]
    of_accounts = [f"{ACCOUNT}.{verb}" for verb in ACCOUNT_VERBS]
    return (*plain, *dict.fromkeys(derived), *merged, "lead.converted", *of_accounts)


def derived_names(
    kind: str, action: str, meta: Mapping[str, Any], data: Mapping[str, Any] | None, previous: Mapping[str, Any] | None
) -> Iterator[str]:
    """Tell the derived names of one event; `action` is in our words."""
    if action == "updated":
        yield from _changed(kind, data or {}, previous or {})
    elif action == "added":
        for rule in _BY_NOUN.get(kind, ()):
            if rule.at_start is not None and rule.at_start((data or {}).get(rule.field)):
                yield f"{kind}.{rule.verb}"
    if meta.get("merged_to_id") or meta.get("merged_from_id"):
        yield f"{kind}.merged"


def _changed(kind: str, data: Mapping[str, Any], previous: Mapping[str, Any]) -> Iterator[str]:
    for rule in _BY_NOUN.get(kind, ()):
        if rule.field in previous and rule.holds(previous[rule.field], data.get(rule.field)):
            yield f"{kind}.{rule.verb}"
