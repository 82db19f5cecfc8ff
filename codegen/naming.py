"""Names what an operation answers with. Imports nothing of the package but the catalog.

The rules, in this order: an override; `Deleted` for a deletion that answers with only an id; the resource's singular
for what is one of its records; `<Singular>SearchResult`, `<Singular>Change`, `<Singular>Follower` and their like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from codegen.wording import pascal, singular, singular_of, split_method
from pipeflow.catalog import Operation

IGNORED = ("archived", "collection", "many", "current")
SUFFIXES = {"changelog": "change"}


class Namer:
    """Knows all nouns of both generations, so that `getDealFiles` is found to give a `File`."""

    def __init__(self, operations: Iterable[Operation], overrides: Mapping[str, str]) -> None:
        operations = tuple(operations)
        self._overrides = overrides
        self._resources = {pascal(singular_of(resource_of(each))) for each in operations}
        self._nouns = {pascal(noun(each)) for each in operations if not _starts_with_own(each)}

    def record(self, operation: Operation) -> str:
        """Name the record that an operation reads or writes (`Deal`, `DealFollower`)."""
        if named := self._overrides.get(operation.id):
            return named
        own, words = singular_of(resource_of(operation)), noun(operation)
        name = pascal(words)
        if name in self._resources:
            return name
        if pascal(own).endswith(name) or name.endswith(pascal(own)):
            return pascal(own)
        if words[: len(own)] == own:
            rest = pascal(words[len(own) :])
            if rest in self._resources or rest in self._nouns:
                return rest
        return name

    def answer(self, operation: Operation, fields: Mapping[str, Any]) -> str:
        """Name what one answer, or one element of it, is; `fields` are the fields it has."""
        verb, _ = split_method(method_of(operation))
        if verb == "delete" and set(fields) in ({"id"}, {"ids"}):
            (id_,) = fields.values()
            return "DeletedMany" if id_.get("type") == "array" else "Deleted"
        name = self.record(operation)
        return f"{name}SearchResult" if verb == "search" else name


def resource_of(operation: Operation) -> str:
    """`v1.DealsApi.getDeals` → `DealsApi`."""
    return operation.id.split(".")[1]


def method_of(operation: Operation) -> str:
    """`v1.DealsApi.getDeals` → `getDeals`."""
    return operation.id.split(".")[2]


def noun(operation: Operation) -> list[str]:
    """`getDealsProducts` → `["deal", "product"]`; the last word stays plural where one object holds many things."""
    verb, words = split_method(method_of(operation))
    words = [SUFFIXES.get(word, word) for word in words if word not in IGNORED]
    if verb == "get" and operation.result in ("one", "bare"):
        return [singular(word) for word in words[:-1]] + words[-1:]
    return [singular(word) for word in words]


def _starts_with_own(operation: Operation) -> bool:
    own, words = singular_of(resource_of(operation)), noun(operation)
    return words[: len(own)] == own and words != own
