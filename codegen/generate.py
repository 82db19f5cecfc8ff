"""Builds every generated file as text, by its path in the repository."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from codegen.methods import method
from codegen.naming import resource_of
from codegen.plan import Model, Plan
from codegen.reference import DOCS, reference
from codegen.render import Hints, answer_type, field_name, laid_out
from codegen.resources import Resource, record_docstring
from codegen.shapes import Shape, walk

HERE = Path(__file__).parent
CLIENT = "pipeflow/client"
CUSTOM = {"Activity", "Deal", "Lead", "Organization", "Person", "Product", "Project"}
"""The records that have custom fields."""
# What names a record is in every record: for the type checker it is never None.
IDENTIFIERS = ("id", "field_code")
IDENTIFIER_TYPES = {"int": "NumberId", "str": "TextId"}
GENERATED = (f"{CLIENT}/v1", f"{CLIENT}/v2", f"{CLIENT}/current.py", DOCS)


class Generator:
    """One run over the whole catalog."""

    def __init__(self) -> None:
        overrides = tomllib.loads((HERE / "overrides.toml").read_text())
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # Python and Markdown, not HTML
        )
        self._templates.filters["imported"] = _imported
        self._plans = {generation: Plan(generation, overrides) for generation in ("v1", "v2")}
        self._second = self._resources("v2", {})
        self._first = self._resources("v1", self._second)

    def files(self) -> dict[str, str]:
        """Give every generated file's text by its path."""
        files: dict[str, str] = {}
        for generation, resources in (("v1", self._first), ("v2", self._second)):
            for resource in resources.values():
                path = f"{CLIENT}/{generation}/{resource.attribute}.py"
                files[path] = self._resource_module(generation, resource)
            files[f"{CLIENT}/{generation}/__init__.py"] = self._package(generation, resources)
            files |= self._models(generation)
        files[f"{CLIENT}/current.py"] = self._current()
        return files | reference(self._first, self._second, self._plans, self._rendered)

    def _rendered(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values).rstrip("\n") + "\n"

    def _resources(self, generation: str, newer: dict[str, Resource]) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        plan = self._plans[generation]
        for answered in plan.operations:
            name = resource_of(answered.operation)
            resource = found.setdefault(name, Resource(name, [], [], Hints()))
            written = method(plan, answered, resource.hints)
            resource.methods.append(written)
            namesakes = {each.name for each in newer[name].methods} if name in newer else set()
            living = answered.operation.retired is None and answered.operation.alias_of is None
            if generation == "v1" and living and written.name not in namesakes:
                resource.kept.append(written)
        return found

    # -- resources -----------------------------------------------------------------------------------------------------

    def _resource_module(self, generation: str, resource: Resource) -> str:
        whole = f"{resource.title} in version {generation[1]} of the API: `client.{generation}.{resource.attribute}`."
        classes = [{"name": resource.name, "base": "Resource", "docstring": whole, "methods": resource.methods}]
        if resource.split:
            kept = f"What only version 1 does with {resource.title.lower()}; a part of `client.{resource.attribute}`."
            rest = [each for each in resource.methods if each not in resource.kept]
            classes = [
                {"name": resource.kept_name, "base": "Resource", "docstring": kept, "methods": resource.kept},
                {"name": resource.name, "base": resource.kept_name, "docstring": whole, "methods": rest},
            ]
        code = "\n".join(each.text for each in resource.methods)
        return self._rendered(
            "resource.py.j2",
            title=resource.title,
            generation=generation,
            classes=classes,
            imports=_resource_imports(generation, code + resource.hints.lines()),
            hints=resource.hints.lines(),
        )

    def _package(self, generation: str, resources: dict[str, Resource]) -> str:
        names = [(resource.name, resource.attribute) for resource in resources.values()]
        names += [(each.kept_name, each.attribute) for each in resources.values() if each.split]
        return self._lazy(f"Version {generation[1]} of the API whole: one class for each resource", generation, names)

    def _lazy(self, title: str, package: str, names: list[tuple[str, str]]) -> str:
        dotted = f"{CLIENT}/{package}".replace("/", ".")
        submodules = ["models"] if "models" not in package else ["retired"] if package == "v1/models" else []
        return self._rendered(
            "lazy.py.j2",
            title=title,
            package=dotted,
            names=sorted(names, key=lambda each: (each[1], each[0])),
            submodules=submodules,
            submodules_text=repr(tuple(submodules)).replace("'", '"'),
            all_names=sorted([name for name, _ in names] + submodules),
        )

    # -- records -------------------------------------------------------------------------------------------------------

    def _models(self, generation: str) -> dict[str, str]:
        folder = f"{CLIENT}/{generation}/models"
        plan = self._plans[generation]
        modules: dict[str, list[Model]] = defaultdict(list)
        for model in plan.models:
            modules[model.module].append(model)
        files = {f"{folder}/{module}.py": self._models_module(plan, module, modules[module]) for module in modules}
        names = [
            (name, module)
            for module, models in modules.items()
            if module != "retired"
            for model in models
            for name in (model.name, *model.aliases)
        ]
        title = f"The records of version {generation[1]} of the API"
        return files | {f"{folder}/__init__.py": self._lazy(title, f"{generation}/models", names)}

    def _models_module(self, plan: Plan, module: str, models: list[Model]) -> str:
        retired = module == "retired"
        written = []
        hints = Hints()
        elsewhere: dict[str, set[str]] = defaultdict(set)

        def name(record: str) -> str:
            model = plan.model(record, retired)
            if model.module != module:
                elsewhere[model.module].add(model.name)
            return model.name

        for model in _sorted_by_need(plan, models, retired):
            fields = [
                _field_line(wire, hints.short(wire, answer_type(shape, name))) for wire, shape in model.fields.items()
            ]
            written.append({"name": model.name, "docstring": record_docstring(model), "fields": fields})
        titles = {"shared": "Records that several resources use", "retired": "What retired operations answer with"}
        code = "\n".join(line for each in written for line in each["fields"])
        bases = {"CustomModel" if model.name in CUSTOM else "Model" for model in models}
        return self._rendered(
            "models.py.j2",
            title=titles.get(module, f"The records of {module.replace('_', ' ')}"),
            models=written,
            custom=CUSTOM,
            aliases=sorted((alias, model.name) for model in models for alias in model.aliases),
            imports=_model_imports(plan.generation, code + hints.lines(), bases, elsewhere),
            hints=hints.lines(),
        )

    # -- the current view ----------------------------------------------------------------------------------------------

    def _current(self) -> str:
        merged, current = [], []
        for name in sorted(self._first.keys() | self._second.keys()):
            first, second = self._first.get(name), self._second.get(name)
            shown = second or first
            assert shown is not None
            plain = name.removesuffix("Api")
            entry = {"attribute": shown.attribute, "docstring": f"{shown.title}."}
            if second and first and first.kept:
                docstring = f"{shown.title}: version 2, and what only version 1 does."
                merged.append(
                    {"name": plain, "second": name, "first": first.kept_name, "docstring": docstring}
                    | {"bases": f"version2.{name}, version1.{first.kept_name}"}
                )
                current.append(entry | {"type": plain, "name": plain, "module": "pipeflow.client.current"})
            elif second and any(each.operation.alias_of is None for each in second.methods):
                module = f"pipeflow.client.v2.{shown.attribute}"
                current.append(entry | {"type": f"version2.{name}", "name": name, "module": module})
            elif first and first.kept:
                module = f"pipeflow.client.v1.{shown.attribute}"
                kept = first.kept_name
                current.append(entry | {"type": f"version1.{kept}", "name": kept, "module": module})
        listed = {
            key: [
                {"attribute": each.attribute, "name": each.name, "docstring": f"{each.title}."}
                for each in group.values()
            ]
            for key, group in (("first", self._first), ("second", self._second))
        }
        return self._rendered("current.py.j2", merged=merged, current=current, **listed)


def _imported(name: str, package: str, module: str) -> str:
    line = f"from {package}.{module} import {name} as {name}"
    return line if len(line) <= 116 else f"from {package}.{module} import (\n        {name} as {name},\n    )"


def _field_line(wire: str, type: str) -> str:
    name = field_name(wire)
    if wire in IDENTIFIERS and type in IDENTIFIER_TYPES:
        return f"{name}: {IDENTIFIER_TYPES[type]} = ABSENT"
    optional = type if type == "Any" else f"{type} | None"
    if name == wire:
        return f"{name}: {optional} = None"
    return f'{name}: {optional} = Field(default=None, alias="{wire}")'


def _sorted_by_need(plan: Plan, models: list[Model], retired: bool) -> list[Model]:
    """Put records before those whose fields name them."""
    done: dict[int, Model] = {}

    def place(model: Model) -> None:
        if id(model) in done or model not in models:
            return
        for shape in model.fields.values():
            for each in _named(shape):
                place(plan.model(each, retired))
        done[id(model)] = model

    for model in models:
        place(model)
    return list(done.values())


def _named(shape: Shape) -> list[str]:
    names: list[str] = []
    walk(shape, names.append)
    return names


def _resource_imports(generation: str, code: str) -> str:
    def used(word: str) -> bool:
        return re.search(rf"\b{word}\b", code) is not None

    abc = [word for word in ("Mapping", "Sequence") if used(rf"{word}\[")]
    dates = [word for word in ("date", "datetime", "time") if re.search(rf"\b{word} \| str\b", code)]
    typing = ["TYPE_CHECKING"] if used(r"Page\[") or used("Path") else []
    typing += [word for word in ("Any", "Literal") if used(word)]
    typing += ["overload"] if "@overload" in code else []
    helpers = [word for word in ("UNSET", "CustomFields", "FileInput", "Progress", "Unset") if used(word)]
    lines = []
    lines += [f"from collections.abc import {', '.join(abc)}"] if abc else []
    lines += [f"from datetime import {', '.join(dates)}"] if dates else []
    lines += [f"from typing import {', '.join(typing)}"] if typing else []
    lines += [""] if lines else []
    lines += [f"from pipeflow.client.model import {', '.join(helpers)}"] if helpers else []
    lines += ["from pipeflow.client.resource import Resource"]
    lines += [f"from pipeflow.client.{generation} import models"] if "models." in code else []
    guarded = ["    from pathlib import Path\n"] if used("Path") else []
    guarded += ["    from pipeflow.client.pages import Page"] if used(r"Page\[") else []
    lines += ["", "if TYPE_CHECKING:", *guarded] if guarded else []
    return "\n".join(lines)


def _model_imports(generation: str, code: str, bases: set[str], elsewhere: dict[str, set[str]]) -> str:
    typing = [word for word in ("Any", "ClassVar", "Literal") if re.search(rf"\b{word}\b", code)]
    typing = sorted({*typing, "ClassVar"}) if "CustomModel" in bases else typing
    lines = [f"from typing import {', '.join(typing)}", ""] if typing else []
    lines += ["from pydantic import Field", ""] if "= Field(" in code else []
    helpers = {word for word in ("ABSENT", *IDENTIFIER_TYPES.values()) if re.search(rf"\b{word}\b", code)}
    # Constants first, as ruff sorts them.
    names = sorted(bases | helpers, key=lambda word: (not word.isupper(), word))
    lines += [f"from pipeflow.client.model import {', '.join(names)}"]
    for module in sorted(elsewhere):
        names = sorted(elsewhere[module])
        line = f"from pipeflow.client.{generation}.models.{module} import {', '.join(names)}"
        lines.append(line if len(line) <= 120 else laid_out(line.split("import ")[0] + "import (", names, ")", 0))
    return "\n".join(lines)
