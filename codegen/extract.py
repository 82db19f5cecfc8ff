"""Reads one raw extract and gives its schemas in the catalog's plain form. Imports the standard library alone.

Plain form: a schema has a `type`, a `ref` to an object, or `anyOf`. Enums, aliases and unions are written out where
they are used, parts of an `allOf` are united into one object, and an object whose only field names are placeholders
in capitals (`DEAL_ID`) is what it means: a map.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

KEPT = (
    "type", "enum", "format", "nullable", "default", "maximum", "minimum", "maxLength", "minLength", "maxItems",
    "uniqueItems", "values", "csv", "deprecated",
)  # fmt: skip
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+")


class Extract:
    """The operations and types of one version of one generation; `prefix` keeps its type names apart from others'."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        raw = json.loads(path.read_text())
        self.operations: dict[str, dict[str, Any]] = {operation["op"]: operation for operation in raw["operations"]}
        self._raw: dict[str, dict[str, Any]] = {model["name"]: model for model in raw["models"]}
        self._prefix = prefix
        self.models: dict[str, Schema] = {}

    def plain(self, schema: Schema) -> Schema:
        """Give a schema in plain form; the objects it refers to are found in `models` afterwards."""
        if "ref" in schema:
            return self._named(schema["ref"]) | _kept({key: schema[key] for key in schema if key != "type"})
        plain = _kept(schema)
        if "anyOf" in schema:
            plain["anyOf"] = [self.plain(part) for part in schema["anyOf"]]
        if "items" in schema:
            plain["items"] = self.plain(schema["items"])
        return plain

    def fields(self, schema: Schema) -> dict[str, Schema]:
        """Give the fields of an object, each in plain form with its `required` flag where it has one."""
        return {
            wire: self.plain(field) | ({"required": True} if field.get("required") else {})
            for wire, field in self._raw_fields(schema)
        }

    def _named(self, name: str) -> Schema:
        model = self._raw[name]
        if model["kind"] == "enum":
            return {"type": model["type"], "enum": model["enum"]}
        if model["kind"] == "alias":
            return self._named(model["ref"])
        if model["kind"] == "union":
            return {"anyOf": [self.plain(part) for part in model["anyOf"]]}
        fields = dict(self._raw_fields({"ref": name}))
        if fields and all(PLACEHOLDER.fullmatch(wire) for wire in fields):
            return {"type": "map", "items": self.plain(next(iter(fields.values())))}
        if not fields:
            return {"type": "object"}
        self._register(name)
        return {"ref": self._prefix + name}

    def _register(self, name: str) -> None:
        if self._prefix + name in self.models:
            return
        model: Schema = {"name": self._prefix + name, "kind": "object"}
        self.models[self._prefix + name] = model
        model["fields"] = self.fields({"ref": name})
        if self._additional(name):
            model["additional"] = True

    def _additional(self, name: str) -> bool:
        model = self._raw[name]
        return bool(model.get("additional")) or any(self._additional(part["ref"]) for part in model.get("allOf", ()))

    def _raw_fields(self, schema: Schema) -> Iterator[tuple[str, Schema]]:
        """Walk the fields of an object and of its parts; what a later part says of a field wins."""
        found: dict[str, Schema] = {}
        self._collect(schema, found)
        yield from found.items()

    def _collect(self, schema: Schema, found: dict[str, Schema]) -> None:
        model = self._raw[schema["ref"]] if "ref" in schema else schema
        if model.get("kind") == "alias":
            self._collect(model, found)
            return
        for part in model.get("allOf", ()):
            self._collect(part, found)
        for wire, field in model.get("fields", {}).items():
            required = bool(field.get("required") or found.get(wire, {}).get("required"))
            found[wire] = field | {"required": required}


def _kept(schema: Schema) -> Schema:
    return {key: schema[key] for key in KEPT if key in schema}
