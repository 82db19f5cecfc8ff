"""Decides, for one generation, which records there are, what they are called and where they stand.

Reads the catalog alone. Living operations take their records from one book, retired ones from another whose records
end in `models/retired.py`; within the generation, records of equal shape become one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from codegen.naming import Namer, method_of, resource_of
from codegen.shapes import Book, Named, Scalar, Schema, Shape, below, walk
from codegen.wording import attribute_of, pascal, words_of
from pipeflow import catalog
from pipeflow.catalog import Operation, Parameter

LONELY = {"Item", "Data", "Value", "Type", "Option", "Entry", "Result", "Total", "Image", "Picture"}
NOTHING = Scalar("none")


@dataclass
class Answered:
    """One operation with the shapes of its answer and of its parameters."""

    operation: Operation
    answer: Shape
    parameters: dict[str, Shape]

    @property
    def retired(self) -> bool:
        """Whether the operation takes the old definitions."""
        return self.operation.retired is not None


@dataclass
class Model:
    """One record that is written: its name, its fields, the module it stands in, its other names."""

    name: str
    module: str
    fields: dict[str, Shape]
    origins: list[tuple[str, str]]
    givers: list[str]
    aliases: list[str]


class Plan:
    """The records and operations of one generation."""

    def __init__(self, generation: str, overrides: Mapping[str, Mapping[str, str]]) -> None:
        self.generation = generation
        everything = catalog.operations()
        mine = [operation for operation in everything if operation.id.startswith(f"{generation}.")]
        self._models: dict[str, Schema] = catalog.models("v1" if generation == "v1" else "v2")
        self._namer = Namer(everything, overrides["record"])
        self._living = Book(self._models, overrides["model"])
        self._retired = Book(self._models, overrides["model"])
        self._better = overrides["shared"]
        self._roots: dict[bool, set[str]] = {False: set(), True: set()}
        self._givers: dict[tuple[bool, str], list[str]] = defaultdict(list)
        self.operations = [self._answered(operation) for operation in mine]
        self._final: dict[tuple[bool, str], Model] = {}
        self._settle()

    @property
    def models(self) -> list[Model]:
        """List the records to write, each once, by module and name."""
        distinct = {id(model): model for model in self._final.values()}
        return sorted(distinct.values(), key=lambda model: (model.module, model.name))

    def model(self, name: str, retired: bool) -> Model:
        """Find the record that a shape of a living or retired operation means by `name`."""
        return self._final[retired, name]

    def _book(self, operation: Operation) -> Book:
        return self._living if operation.retired is None else self._retired

    def _answered(self, operation: Operation) -> Answered:
        book = self._book(operation)
        schema = self._data(operation)
        answer: Shape = NOTHING
        if schema is not None:
            name = self._namer.answer(operation, self._fields(schema))
            answer = book.shape(schema, name)
            walk(answer, self._roots[operation.retired is not None].add)
            if not operation.alias_of:
                walk(
                    answer,
                    lambda record: self._givers[operation.retired is not None, record].append(operation.attribute),
                )
        record = self._namer.record(operation)
        parameters = {each.wire: self._parameter(book, operation, record, each) for each in operation.parameters}
        return Answered(operation, answer, parameters)

    def _parameter(self, book: Book, operation: Operation, record: str, parameter: Parameter) -> Shape:
        name = record
        if not (operation.array_body or "many" in words_of(method_of(operation))):
            name += below(parameter.wire, parameter.schema)
        return book.shape(parameter.schema, name, (record, parameter.wire))

    def _data(self, operation: Operation) -> Schema | None:
        """Give the schema of what a call returns: the data, or one of its elements where that is a list."""
        if operation.result in ("none", "bytes"):
            return None
        schema = catalog.response(operation.id)
        if operation.result == "bare":
            return schema
        data: Schema = self._models[schema["ref"]]["fields"]["data"]
        if operation.result == "list":
            return dict(data["items"])
        if operation.result == "items":
            return dict(self._models[data["ref"]]["fields"]["items"]["items"])
        return data

    def _fields(self, schema: Schema) -> Mapping[str, Any]:
        fields: Mapping[str, Any] = self._models[schema["ref"]]["fields"] if "ref" in schema else {}
        return fields

    # -- records of equal shape become one -----------------------------------------------------------------------------

    def _settle(self) -> None:
        users = self._users()
        living: dict[str, Model] = {}
        for retired, book in ((False, self._living), (True, self._retired)):
            groups: dict[str, list[str]] = defaultdict(list)
            for name in sorted(book.records):
                groups[book.key(Named(name))].append(name)
            for key, names in groups.items():
                for name, sharers in self._shared(names, self._roots[retired], set(book.records)).items():
                    model = living.get(key) if retired else None
                    if model is None or not self._may_share(name, model):
                        resources = {resource for each in sharers for resource in users[retired][each]}
                        module = "retired" if retired else resources.pop() if len(resources) == 1 else "shared"
                        roots = [each for each in sharers if each in self._roots[retired] and each != name]
                        givers = [giver for each in sharers for giver in self._givers[retired, each]]
                        origins = [origin for each in sharers for origin in book.origins[each]]
                        fields = dict(sorted(book.records[sharers[0]].items(), key=lambda item: item[0] != "id"))
                        model = Model(name, module, fields, origins, givers, roots)
                    if not retired:
                        living.setdefault(key, model)
                    for each in sharers:
                        self._final[retired, each] = model

    def _may_share(self, name: str, living: Model) -> bool:
        """A retired record is the living one of its shape where it has its name, or where both are below others."""
        if name in (living.name, *living.aliases):
            return True
        return name not in self._roots[True] and living.name not in self._roots[False]

    def _shared(self, names: list[str], roots: set[str], taken: set[str]) -> dict[str, list[str]]:
        """Give one name to records of equal shape, or two where roots and nested ones have nothing in common."""
        if len(names) == 1:
            return {names[0]: names}
        common = _common_suffix(names)
        if common and common not in LONELY and (common not in taken or common in names):
            return {self._better.get(common, common): names}
        nested = [name for name in names if name not in roots]
        own = [name for name in names if name in roots]
        if own and nested:
            return {**self._shared(own, roots, taken), **self._shared(nested, roots, taken)}
        if own:
            return {name: [name] for name in own}
        return {min(nested, key=lambda name: (len(name), name)): nested}

    def _users(self) -> dict[bool, dict[str, set[str]]]:
        """Find the resources whose operations reach each record."""
        users: dict[bool, dict[str, set[str]]] = {False: defaultdict(set), True: defaultdict(set)}
        for answered in self.operations:
            if answered.operation.alias_of:
                continue
            resource = attribute_of(resource_of(answered.operation))
            for shape in (answered.answer, *answered.parameters.values()):
                self._reach(shape, answered.retired, resource, users)
        return users

    def _reach(self, shape: Shape, retired: bool, resource: str, users: dict[bool, dict[str, set[str]]]) -> None:
        book = self._retired if retired else self._living

        def visit(name: str) -> None:
            users[retired][name].add(resource)
            for each in book.records[name].values():
                self._reach(each, retired, resource, users)

        walk(shape, visit)


def _common_suffix(names: Iterable[str]) -> str:
    parts = [words_of(name) for name in names]
    common: list[str] = []
    while all(len(part) > len(common) for part in parts) and len({part[-1 - len(common)] for part in parts}) == 1:
        common.insert(0, parts[0][-1 - len(common)])
    return pascal(common)
