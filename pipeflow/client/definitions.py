"""What is known of one company's fields: keys, names, types, options. Plain data; imports customs and model.

`Definitions` answers what `naming.FieldNames` asks, from what was put into it; who fetches is `fields.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeflow.catalog.values import Option, Options
from pipeflow.client.model import home_of
from pipeflow.customs import NamesNotKnown, custom_value, is_custom_key
from pipeflow.errors import Blocked, ClientError, ConfigError, Forbidden

KINDS: tuple[str, ...] = ("deal", "person", "organization", "product", "project", "activity")
"""The kinds of records that have definitions of their own; see `home_of`."""

SHORTEST_REST = 60.0
LONGEST_REST = 3600.0


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """One custom field of a company. `type` is Pipedrive's word; `options` are the labels of its choices by id."""

    key: str
    name: str
    type: str
    options: Mapping[int, str] = field(default_factory=dict)


class Definitions:
    """The custom fields of one company, by kind of record; the same object grows as kinds are fetched.

    `version` counts how often something new was put in, `missed` are the kinds of which somebody wanted a name that is
    not known, `asked` when each kind was asked for, `rest` for how many seconds it is then not asked for again: longer
    and longer where asking brings nothing new.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, FieldDefinition]] = {}
        self._keys: dict[str, dict[str, list[str]]] = {}
        self._choices: dict[str, list[FieldDefinition]] = {}
        self._trouble: dict[str, ClientError] = {}
        self.version = 0
        self.missed: set[str] = set()
        self.asked: dict[str, float] = {}
        self.rest: dict[str, float] = {}

    def put(self, kind: str, definitions: Iterable[FieldDefinition]) -> None:
        """Know the fields of a kind from now on; what was known of it is forgotten."""
        found = {each.key: each for each in definitions}
        names: dict[str, list[str]] = {}
        for each in found.values():
            names.setdefault(each.name, []).append(each.key)
        is_new = self._kinds.get(kind) != found
        self.rest[kind] = SHORTEST_REST if is_new else self._longer(kind)
        self.version += is_new
        self._kinds[kind], self._keys[kind] = found, names
        self._choices[kind] = [each for each in found.values() if each.options]
        self._trouble.pop(kind, None)
        self.missed.discard(kind)

    def is_fresh(self, kind: str, now: float) -> bool:
        """Say whether a kind was asked for so lately that asking again would be too much."""
        asked = self.asked.get(kind)
        return asked is not None and now - asked < self.rest.get(kind, SHORTEST_REST)

    def _longer(self, kind: str) -> float:
        return min(2 * self.rest.get(kind, SHORTEST_REST), LONGEST_REST)

    def fail(self, kind: str, trouble: ClientError) -> None:
        """Remember why the fields of a kind could not be fetched: whoever uses a name is told."""
        self._trouble[kind] = trouble
        if isinstance(trouble, Forbidden) and not isinstance(trouble, Blocked):
            self.rest[kind] = self._longer(kind)

    def of(self, kind: str) -> Mapping[str, FieldDefinition] | None:
        """Give the fields of a kind by key, None where they are not known."""
        return self._kinds.get(home_of(kind))

    def lacks(self, kind: str, records: Collection[Mapping[str, Any]]) -> bool:
        """Say whether the custom fields of any record, in any shape, hold a field or an option that is not known."""
        known = self.of(kind)
        if known is None:
            return any(value is not None for values in records for value in values.values())
        if not known.keys() >= set[str]().union(*records):
            return True
        return any(
            not _is_known(value, field)
            for field in self._choices[home_of(kind)]
            for values in records
            if (value := values.get(field.key)) is not None
        )

    def all(self) -> Mapping[str, Mapping[str, FieldDefinition]]:
        """Give everything known, by kind."""
        return self._kinds

    def trouble(self, kind: str) -> ClientError | None:
        """Say why the fields of a kind are not known."""
        return self._trouble.get(home_of(kind))

    def key(self, kind: str, name: str) -> str:
        """Give a field's key by its name or key.

        KeyError if there is none; ConfigError, naming both keys, if two fields fit; where the fields of the kind could
        not be fetched, what that call raised.
        """
        home = home_of(kind)
        known = self._kinds.get(home)
        if known is None:
            return self._unknown(home, name)
        if name in known:
            return name
        keys = self._keys[home].get(name, ())
        if len(keys) == 1:
            return keys[0]
        if keys:
            raise ConfigError(
                f"{len(keys)} custom fields of {home} are called {name!r}: write the key of the one you mean, "
                f"{' or '.join(keys)}."
            )
        self.missed.add(home)
        raise KeyError(self._no_such(home, name))

    def name(self, kind: str, key: str) -> str | None:
        """Give the field's name, None where the key is unknown."""
        found = self._field(kind, key)
        return found.name if found else None

    def options(self, kind: str, key: str) -> Mapping[int, str]:
        """Give the labels of the field's options by id; empty for other fields."""
        found = self._field(kind, key)
        return found.options if found else {}

    def type(self, kind: str, key: str) -> str | None:
        """Give Pipedrive's type of the field, None where the key is unknown."""
        found = self._field(kind, key)
        return found.type if found else None

    def _field(self, kind: str, key: str) -> FieldDefinition | None:
        known = self._kinds.get(home_of(kind))
        return known.get(key) if known else None

    def _unknown(self, home: str, name: str) -> str:
        """Answer where nothing is known of the kind: a key is a key all the same."""
        if is_custom_key(name):
            return name
        if home in self._trouble:
            raise self._trouble[home]
        if home not in KINDS:
            raise KeyError(f"{home} has no custom fields, so none is called {name!r}")
        raise NamesNotKnown(
            f"{name!r}: the custom fields of {home} are not known yet; `await client.fields.load({home!r})` first, "
            "or use the field's key."
        )

    def _no_such(self, home: str, name: str) -> str:
        import difflib

        near = difflib.get_close_matches(name, self._keys[home], 3)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        return f"{home} has no custom field called {name!r}{meant}"


def read_definitions(listed: Sequence[Mapping[str, Any]]) -> list[FieldDefinition]:
    """Read the custom fields among field definitions of version 2; what has no code or name is left out."""
    return [
        FieldDefinition(
            key=each["field_code"],
            name=each["field_name"],
            type=str(each.get("field_type") or ""),
            options=_options(each.get("options")),
        )
        for each in listed
        if isinstance(each.get("field_code"), str)
        and isinstance(each.get("field_name"), str)
        and (each.get("is_custom_field") or is_custom_key(each["field_code"]))
    ]


def _is_known(value: Any, field: FieldDefinition) -> bool:
    """Say whether the options that a field holds are known."""
    if type(value) is int:
        return value in field.options
    read = custom_value(value, type=field.type, labels=field.options)
    held = (read,) if isinstance(read, Option) else read if isinstance(read, Options) else ()
    return all(option.label is not None for option in held)


def _options(listed: Any) -> dict[int, str]:
    given = listed if isinstance(listed, list) else []
    return {
        each["id"]: str(each.get("label") or "")
        for each in given
        if isinstance(each, Mapping) and isinstance(each.get("id"), int)
    }
