"""Unites raw extracts into the catalog's data files. Imports nothing of the package.

    python -m codegen.merge SEED V1 V2 REMOVED

SEED is version 1 as it was when most of it was alive, V1 and V2 what is published today, REMOVED what became of the
operations that V1 lacks. Of an operation in both, the newest definition wins, the parameters are united, and one is
required only where both require it.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from codegen.extract import Extract, Schema
from codegen.wording import attribute_of, snake, summary_of

HERE = Path(__file__).parent
CATALOG = HERE.parent / "pipeflow" / "catalog"
ROOTS = {"v1": "/v1", "v2": "/api/v2"}
FORMATS = {"date": "date", "YYYY-MM-DD": "date", "datetime": "datetime", "date-time": "date-time", "time": "time"}
CONTENTS = {
    "application/json": "json",
    "application/x-www-form-urlencoded": "form",
    "multipart/form-data": "multipart",
}
FLAT = re.compile(r"(add|update)(Deal|Person|Organization|Product|Lead)")
SEARCHED = re.compile(r"search.*")


class Merger:
    """One run: the extracts, the corrections, and the operations they become."""

    def __init__(self, seed: Path, v1: Path, v2: Path, removed: Path, corrections: Mapping[str, Any]) -> None:
        self.seed = Extract(seed, prefix="retired.")
        self.v1 = Extract(v1)
        self.v2 = Extract(v2)
        self.removed = {entry["op"]: entry for entry in json.loads(removed.read_text())}
        self.overrides = corrections["operation"]
        self.fields = corrections["field"]
        self.parameters = corrections["parameter"]
        self.summaries = corrections["summary"]
        self.costs = tomllib.loads((HERE / "costs.toml").read_text())

    def write(self, folder: Path) -> None:
        """Write the four data files into `folder`."""
        first, second = self._operations_v1(), self._operations_v2()
        self._correct("v1", self.v1.models | self.seed.models)
        self._correct("v2", self.v2.models)
        for line in second:
            self._add_optional_fields(line)
        _write(folder / "operations.v1.jsonl", first)
        _write(folder / "operations.v2.jsonl", second)
        _write(folder / "models.v1.jsonl", _reachable(first, self.v1.models | self.seed.models))
        _write(folder / "models.v2.jsonl", _reachable(second, self.v2.models))

    def _operations_v1(self) -> list[Schema]:
        lines = []
        for op in _united(self.seed.operations, self.v1.operations):
            old, new = self.seed.operations.get(op), self.v1.operations.get(op)
            entry = self.removed.get(op, {})
            if moved := entry.get("renamed_to_v1"):
                lines.append(self._line("v1", op, old, self.v1.operations[moved], alias_of=f"v1.{moved}"))
                continue
            if new and not old:
                old = self.seed.operations.get(self._former(op), None)
            lines.append(self._line("v1", op, old, new, retired=_replacement(entry) if not new else None))
        by_id = {line["id"]: line for line in lines}
        for line in lines:
            if source := self._override(line["id"]).get("response_of"):
                line["response"] = by_id[source]["response"]
                line.update(self._outcome(line, line["response"], self.v1))
        return lines

    def _former(self, op: str) -> str:
        return next((old for old, entry in self.removed.items() if entry.get("renamed_to_v1") == op), "")

    def _operations_v2(self) -> list[Schema]:
        return [
            self._line("v2", op, None, new, alias_of=f"v2.{new['alias_of']}" if new.get("alias_of") else None)
            for op, new in self.v2.operations.items()
        ]

    def _line(
        self,
        generation: str,
        op: str,
        old: Schema | None,
        new: Schema | None,
        retired: str | None = None,
        alias_of: str | None = None,
    ) -> Schema:
        resource, method = op.split(".")
        newest = new or old
        assert newest is not None
        source = self.seed if new is None else (self.v1 if generation == "v1" else self.v2)
        response = newest["response"]
        line = {
            "id": f"{generation}.{op}",
            "attribute": f"{generation}.{attribute_of(resource)}.{snake(method)}",
            "method": newest["http"],
            "path": ROOTS[generation] + newest["path"],
            "summary": "",
            "parameters": self._parameters(generation, old, new),
            "array_body": bool(newest["body"] and newest["body"].get("type") == "array"),
            "body": CONTENTS[newest["body"]["content"]] if newest["body"] else None,
            "response": source.plain({"ref": response} if isinstance(response, str) else response),
            "scopes": newest["auth"]["oauth2"],
            "retired": retired,
            "alias_of": alias_of,
            "deprecated": bool(newest.get("deprecated")) and retired is None,
        }
        for wire, schema in self._override(line["id"]).get("added", {}).items():
            line["parameters"].append(_parameter(generation, "json", wire, schema | {"required": False}))
        line["custom_fields"] = _custom_fields(generation, method, line["parameters"])
        line.update(self._outcome(line, line["response"], source))
        line["summary"] = self._summary(alias_of.partition(".")[2] if alias_of else op, line)
        line["cost"] = self._cost(generation, line)
        for parameter in line["parameters"]:
            if found := self.parameters.get(f"{line['id']}/{parameter['wire']}"):
                parameter.update({key: value for key, value in found.items() if key != "reason"})
        corrections = self._override(line["id"])
        return line | {key: value for key, value in corrections.items() if key in line}

    def _summary(self, op: str, line: Schema) -> str:
        resource, method = op.split(".")
        return self.summaries.get(op) or summary_of(resource, method, line["path"], line["result"])

    def _correct(self, generation: str, models: dict[str, Schema]) -> None:
        for place, correction in self.fields.items():
            corrected, model, wire = place.split("/")
            if corrected == generation:
                models[model]["fields"][wire] = correction["schema"]

    def _add_optional_fields(self, line: Schema) -> None:
        """Give a record the fields that `include_fields` can ask for; the extract lists them in that enum alone."""
        asked = next((each for each in line["parameters"] if each["wire"] == "include_fields"), None)
        if asked is None or line["result"] not in ("one", "list"):
            return
        data = self.v2.models[line["response"]["ref"]]["fields"]["data"]
        fields = self.v2.models[data.get("items", data)["ref"]]["fields"]
        for wire in asked["schema"].get("enum", ()):
            fields.setdefault(wire, {"type": "integer" if wire.endswith(("_id", "_count")) else "string"})

    def _override(self, operation_id: str) -> dict[str, Any]:
        return dict(self.overrides.get(operation_id, {}))

    def _parameters(self, generation: str, old: Schema | None, new: Schema | None) -> list[Schema]:
        newest = list(self._raw_parameters(new, self.v1 if generation == "v1" else self.v2))
        oldest = list(self._raw_parameters(old, self.seed))
        if new is None or old is None:
            found = newest or oldest
        else:
            before = {(place, wire): schema for place, wire, schema in oldest}
            known = {(place, wire) for place, wire, _ in newest}
            found = [
                (place, wire, schema | {"required": _both(schema, before.get((place, wire)))})
                for place, wire, schema in newest
            ] + [
                (place, wire, schema | {"required": False})
                for place, wire, schema in oldest
                if (place, wire) not in known
            ]
        order = ("path", "query", "json", "file", "form")
        return [_parameter(generation, *each) for each in sorted(found, key=lambda each: order.index(each[0]))]

    def _raw_parameters(self, operation: Schema | None, source: Extract) -> Iterator[tuple[str, str, Schema]]:
        if operation is None:
            return
        for raw in operation["params"]:
            place = "file" if raw["type"] == "file" else raw["in"]
            schema = source.plain(raw) | {"required": raw["required"]}
            if "style" in raw:
                schema["style"] = raw["style"]
            yield place, raw["name"], schema
        body = operation["body"]
        if not body or body.get("form"):
            return
        if body.get("type") == "array":
            yield "json", "items", source.plain(body) | {"required": True}
            return
        for wire, schema in source.fields(body).items():
            yield "json", wire, {"required": False} | schema

    def _outcome(self, line: Schema, response: Schema, source: Extract) -> Schema:
        """Decide what the answer holds and how it is paged, from the answer's declared shape."""
        names = {parameter["wire"] for parameter in line["parameters"] if parameter["place"] == "query"}
        paging = "cursor" if "cursor" in names else "offset" if "start" in names else "none"
        corrected = self._override(line["id"]).get("paging")
        return {"result": _result(line, response, source), "paging": corrected or paging}

    def _cost(self, generation: str, line: Schema) -> int:
        table = self.costs[generation]
        call = f"{line['method']} {line['path'].removeprefix(ROOTS[generation])}"
        for rule in table["rules"]:
            if re.fullmatch(rule["on"], call):
                return int(rule["cost"])
        return int(table["kinds"][_kind(line)])


def _result(line: Schema, response: Schema, source: Extract) -> str:
    if "ref" not in response:
        return "bytes" if response.get("type") == "string" else "bare"
    fields = source.models[response["ref"]]["fields"]
    if "data" not in fields:
        return "none" if "success" in fields or not fields else "bare"
    data = fields["data"]
    if data.get("type") == "array":
        return "list"
    if (
        "ref" in data
        and SEARCHED.fullmatch(line["id"].split(".")[2])
        and "items" in source.models[data["ref"]]["fields"]
    ):
        return "items"
    return "one"


def _kind(line: Schema) -> str:
    if line["result"] == "items" or SEARCHED.fullmatch(line["id"].split(".")[2]):
        return "search"
    if line["method"] == "DELETE":
        return "delete"
    if line["method"] != "GET":
        return "write"
    return "list" if line["result"] == "list" else "one"


def _both(schema: Schema, before: Schema | None) -> bool:
    return bool(schema["required"] and before and before["required"])


def _replacement(entry: Schema) -> str:
    return f"v2.{entry['v2']}" if entry.get("v2") else ""


def _custom_fields(generation: str, method: str, parameters: list[Schema]) -> str | None:
    if any(parameter["place"] == "json" and parameter["wire"] == "custom_fields" for parameter in parameters):
        return "nested"
    return "flat" if generation == "v1" and FLAT.fullmatch(method) else None


def _parameter(generation: str, place: str, wire: str, schema: Schema) -> Schema:
    """Give one line's parameter; flags that are false and a `schema` that says nothing more are left out."""
    schema = dict(schema)
    if wire == "include_fields" and "enum" in schema:  # the enums of field definitions spell the lists out
        schema["enum"] = [value for value in schema["enum"] if "," not in value]
        schema["style"] = "csv"
    parameter = {
        "wire": wire,
        "name": snake(wire),
        "place": place,
        "type": schema.get("type") or ("object" if "ref" in schema else "any"),
    }
    if schema.pop("required") or place == "path":
        parameter["required"] = True
    if style := schema.pop("style", None) or ("csv" if schema.get("csv") else None):
        parameter["style"] = style
    if format_ := _format(generation, place, wire, schema):
        parameter["format"] = format_
    if schema != {"type": parameter["type"]}:
        parameter["schema"] = schema
    return parameter


def _format(generation: str, place: str, wire: str, schema: Schema) -> str | None:
    if schema.get("type") != "string" or schema.get("csv"):
        return None
    if known := FORMATS.get(schema.get("format", "")):
        return known
    if generation == "v2" and place == "json":
        if wire in ("due_time", "duration"):
            return "time"
        if wire.endswith("_time"):
            return "date-time"
        if wire.endswith("_date"):
            return "date"
    return None


def _united(*groups: Iterable[str]) -> list[str]:
    return sorted({op for group in groups for op in group})


def _reachable(lines: list[Schema], models: dict[str, Schema]) -> list[Schema]:
    found: dict[str, Schema] = {}
    waiting = list(_refs([[line["response"], line["parameters"]] for line in lines]))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = models[name]
            waiting.extend(_refs(models[name]))
    return [found[name] for name in sorted(found)]


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _refs(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "ref" and isinstance(each, str):
                yield each
            else:
                yield from _refs(each)


def _write(path: Path, lines: list[Schema]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines))


def main() -> None:
    """Read the four paths from the command line and write the catalog."""
    if len(sys.argv) != 5:
        sys.exit("usage: python -m codegen.merge SEED V1 V2 REMOVED")
    seed, v1, v2, removed = (Path(argument) for argument in sys.argv[1:])
    Merger(seed, v1, v2, removed, tomllib.loads((HERE / "overrides.toml").read_text())).write(CATALOG)


if __name__ == "__main__":
    main()
