"""Writes the reference: a page for each resource, with its methods and records. Imports methods, plan and render."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from codegen.methods import Method, described, facts, fate
from codegen.plan import Model, Plan
from codegen.render import Hints, answer_type, field_name
from codegen.resources import Resource, record_docstring

DOCS = "docs/reference"


def reference(
    first: Mapping[str, Resource],
    second: Mapping[str, Resource],
    plans: Mapping[str, Plan],
    rendered: Callable[..., str],
) -> dict[str, str]:
    """Give every page's text by its path; `rendered` fills a template."""
    files, rows = {}, []
    for name in sorted(first.keys() | second.keys()):
        older, newer = first.get(name), second.get(name)
        shown = newer or older
        assert shown is not None
        attribute = shown.attribute
        now = [each for each in newer.methods if not each.operation.alias_of] if newer else []
        now += older.kept if older else []
        old = [each for each in older.methods if each not in now] if older else []
        doubles = [each for each in newer.methods if each.operation.alias_of] if newer else []
        sections = [
            _section(f"client.{attribute}", "The current view.", now, older, newer),
            _section(f"client.v1.{attribute}", "What version 1 has beside it.", old, older, newer),
            _section(f"client.v2.{attribute}", "Doubles of operations that stand elsewhere.", doubles, older, newer),
        ]
        files[f"{DOCS}/{attribute}.md"] = rendered(
            "reference.md.j2",
            title=shown.title,
            sections=[each for each in sections if each["methods"]],
            records=[*_records(plans["v2"], attribute), *_records(plans["v1"], attribute)],
        )
        rows.append(
            {"title": shown.title, "attribute": attribute, "current": len(now)}
            | {"first": len(older.methods) if older else 0, "second": len(newer.methods) if newer else 0}
            | {"retired": sum(each.operation.retired is not None for each in older.methods) if older else 0}
        )
    files[f"{DOCS}/shared.md"] = rendered(
        "reference.md.j2",
        title="Records that several resources use",
        sections=[],
        records=[*_records(plans["v2"], "shared"), *_records(plans["v1"], "shared")],
    )
    return files | {f"{DOCS}/README.md": rendered("index.md.j2", rows=rows)}


def _section(attribute: str, words: str, methods: list[Method], *resources: Resource | None) -> dict[str, Any]:
    hints = [resource.hints for resource in resources if resource]
    return {
        "title": f"`{attribute}`",
        "words": words,
        "methods": [
            {
                "name": each.name,
                "signature": _without_self(each.signature, hints),
                "summary": each.operation.summary,
                "facts": " ".join(filter(None, (facts(each.operation), fate(each.operation)))),
                "arguments": described(each.operation),
            }
            for each in methods
        ],
    }


def _without_self(signature: str, hints: list[Hints]) -> str:
    text = re.sub(r"self,?\s*", "", signature, count=1).replace("models.", "").replace(" | Unset", "")
    text = text.removesuffix(":")
    for each in hints:
        text = each.expanded(text)
    return re.sub(r"\(\s*\*, ", "(*, ", text)


def _records(plan: Plan, module: str) -> list[dict[str, Any]]:
    """Describe the records that a resource's module holds; those of retired operations are left to the code."""
    return [
        {
            "name": f"pipeflow.client.{plan.generation}.models.{model.name}",
            "words": record_docstring(model),
            "fields": _fields(plan, model),
        }
        for model in sorted(plan.models, key=lambda each: each.name)
        if model.module == module and model.fields
    ]


def _fields(plan: Plan, model: Model) -> list[str]:
    return [
        f"{field_name(wire)}: {answer_type(shape, lambda record: plan.model(record, False).name)}"
        for wire, shape in model.fields.items()
    ]
