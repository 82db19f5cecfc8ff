"""Writes a company's custom fields as a typed module, reads such a module, and says what drifted. Imports the client.

The module has a class for each kind of record with custom fields; each field is its key, and knows name and type.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeflow.client.definitions import FieldDefinition
from pipeflow.client.fieldset import definition_of
from pipeflow.customs import Field
from pipeflow.errors import ConfigError

MARK = "# Written by `pipeflow fields pull`; pull again instead of editing."
MANY_OPTIONS = 50
_WIDTH = 118
_RESERVED = {"kind", "values"}

Company = Mapping[str, Sequence[FieldDefinition]]

# What is read, and what may be written, by Pipedrive's type.
_TYPES: dict[str, tuple[str, str]] = {
    "varchar": ("str", "str"),
    "varchar_auto": ("str", "str"),
    "text": ("str", "str"),
    "phone": ("str", "str"),
    "double": ("float", "ToNumber"),
    "monetary": ("Money", "ToMoney"),
    "enum": ("Option", "ToOption"),
    "set": ("Options", "Sequence[ToOption]"),
    "user": ("Ref", "ToRef"),
    "org": ("Ref", "ToRef"),
    "people": ("Ref", "ToRef"),
    "date": ("date", "ToDate"),
    "daterange": ("DateRange", "ToDates"),
    "time": ("TimeOfDay", "ToTime"),
    "timerange": ("TimeRange", "ToTimes"),
    "address": ("Address", "ToAddress"),
}
_SHARED = {"deal": "Leads share them."}


# Writing --------------------------------------------------------------------------------------------------------------


def module_text(name: str, company: Company) -> str:
    """Write the module of a company called `name`, typed strictly."""
    classes = [_class(kind, fields) for kind, fields in company.items() if fields]
    body = "\n\n\n".join(classes)
    used = sorted(
        {word for word in re.findall(r"\b(?:\w+)\b", body) if word in _IMPORTABLE}
        | {"UNSET", "Field", "Unset", "by_key"},
        key=lambda word: (not word.isupper(), word[0].islower(), word),
    )
    typing = [word for word in ("Any", "Final", "Literal") if re.search(rf"\b{word}\b", body)]
    title = _in_docstring(f"The custom fields of {name}.")
    head = [
        MARK,
        "# fmt: off",
        f'"""{title}',
        "",
        *_usage(company),
        '"""',
        "",
        "from __future__ import annotations",
        "",
    ]
    imports = [f"from typing import {', '.join(typing)}", ""] if classes else []
    imports += [_wrapped("from pipeflow.client.fieldset import (", used, ")")] if classes else []
    return "\n".join(head + imports) + (f"\n\n\n{body}\n" if body else "")


def _usage(company: Company) -> list[str]:
    found = next(((kind, fields) for kind, fields in company.items() if fields), None)
    if found is None:
        return ["It has none."]
    kind, fields = found
    name = class_name(kind)
    attribute = attributes(fields)[fields[0].key]
    return [
        f"    {kind}.custom[{name}.{attribute}]",
        f"    await client.{kind}s.update_{kind}(42, custom_fields={name}.values({attribute}=…))",
    ]


def _class(kind: str, fields: Sequence[FieldDefinition]) -> str:
    names = attributes(fields)
    lines = [f"class {class_name(kind)}:"]
    lines += [f'    """The custom fields of {kind}s. {_SHARED.get(kind, "")}'.rstrip() + '"""', ""]
    lines += [f'    kind: Final = "{kind}"']
    for field in fields:
        lines += ["", *_field(names[field.key], field)]
    lines += ["", "    @staticmethod", "    def values(", "        *,"]
    lines += [f"        {names[field.key]}: {_written(field)} | Unset | None = UNSET," for field in fields]
    lines += ["    ) -> dict[str, Any]:"]
    lines += ['        """Give values to write as `custom_fields`; None clears a field."""']
    here = class_name(kind)
    lines += ["        return by_key(", "            {"]
    lines += [f"                {here}.{names[field.key]}: {names[field.key]}," for field in fields]
    return "\n".join([*lines, "            }", "        )"])


def _field(attribute: str, field: FieldDefinition) -> list[str]:
    read = _TYPES.get(field.type, ("Any", "Any"))[0]
    head = f"    {attribute}: Final = Field[{read}]("
    parts = [_text(field.key), _text(field.name), _text(field.type)]
    if not field.options:
        line = f"{head}{', '.join(parts)})"
        return [line] if len(line) <= _WIDTH else [head, *(f"        {part}," for part in parts), "    )"]
    options = [f"            {number}: {_text(label)}," for number, label in field.options.items()]
    return [head, *(f"        {part}," for part in parts), "        {", *options, "        },", "    )"]


def _written(field: FieldDefinition) -> str:
    """Say what may be written to a field: of few options, their labels by name."""
    written = _TYPES.get(field.type, ("Any", "Any"))[1]
    if not field.options or len(field.options) > MANY_OPTIONS:
        return written
    labels = ", ".join(_text(label) for label in dict.fromkeys(field.options.values()))
    return written.replace("ToOption", f"Literal[{labels}] | Option | int")


def _text(text: str) -> str:
    """Write a text as Python does in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def _wrapped(head: str, words: Sequence[str], tail: str) -> str:
    return "\n".join([head, *(f"    {word}," for word in words), tail])


def class_name(kind: str) -> str:
    """`deal` → `DealFields`."""
    return f"{kind.capitalize()}Fields"


def attributes(fields: Sequence[FieldDefinition]) -> dict[str, str]:
    """Give each field, by key, a Python name after its own; those that would be called alike also carry their keys."""
    plain = {field.key: _attribute(field) for field in fields}
    counted = Counter(plain.values())
    return {key: name if counted[name] == 1 else f"{name}_{key[:6]}" for key, name in plain.items()}


def _attribute(field: FieldDefinition) -> str:
    name = re.sub(r"\W+", "_", field.name.lower()).strip("_") or f"field_{field.key[:6]}"
    if not name.isidentifier():
        name = f"field_{name}"
    return f"{name}_" if keyword.iskeyword(name) or name in _RESERVED else name


_IMPORTABLE = {word for pair in _TYPES.values() for text in pair for word in re.findall(r"\w+", text)} - {
    "str",
    "float",
    "Any",
} | {"Option"}


# Reading --------------------------------------------------------------------------------------------------------------


def is_ours(path: Path) -> bool:
    """Say whether a file was written by us, so that it may be written over."""
    return path.read_text(encoding="utf-8").startswith(MARK)


def read_module(path: Path) -> dict[str, list[FieldDefinition]]:
    """Read the fields that a module tells, by kind; raises ConfigError where it is no such module."""
    if not path.exists():
        raise ConfigError(f"There is no {path} yet; `pipeflow fields pull {path}` writes it.")
    if not is_ours(path):
        raise ConfigError(f"{path} was not written by `pipeflow fields pull`.")
    spec = importlib.util.spec_from_file_location("_pulled_fields", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read ({error}); pull it again.") from error
    return {
        vars(each)["kind"]: [definition_of(value) for value in vars(each).values() if isinstance(value, Field)]
        for each in vars(module).values()
        if isinstance(each, type) and "kind" in vars(each)
    }


def drift(pulled: Company, company: Company) -> Iterator[str]:
    """Say in a sentence each how the company's fields differ from the pulled ones."""
    for kind in dict.fromkeys((*company, *pulled)):
        before = {field.key: field for field in pulled.get(kind, ())}
        after = {field.key: field for field in company.get(kind, ())}
        for key in dict.fromkeys((*before, *after)):
            yield from (f"{kind}: {said}" for said in _changes(before.get(key), after.get(key)))


def _changes(before: FieldDefinition | None, after: FieldDefinition | None) -> Iterator[str]:
    if before is None or after is None:
        if after is not None:
            yield f"{after.name!r} ({after.type}) is new."
        elif before is not None:
            yield f"{before.name!r} ({before.type}) is gone."
        return
    if before.name != after.name:
        yield f"{before.name!r} is called {after.name!r} now."
    if before.type != after.type:
        yield f"{after.name!r} is {after.type} now, not {before.type}."
    for number in dict.fromkeys((*before.options, *after.options)):
        old, new = before.options.get(number), after.options.get(number)
        if old is None:
            yield f"{after.name!r} has a new option {new!r}."
        elif new is None:
            yield f"{after.name!r} has no option {old!r} any more."
        elif old != new:
            yield f"option {old!r} of {after.name!r} is called {new!r} now."
