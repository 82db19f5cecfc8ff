"""Requests that an operation of the catalog accepts, and a check of what comes back against its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pipeflow import catalog
from pipeflow.sandbox import Sandbox
from pipeflow.sandbox.converting import deal_to_lead, lead_to_deal

EXACT: dict[str, type | tuple[type, ...]] = {
    "integer": int,
    "number": (int, float),
    "string": str,
    "boolean": bool,
    "array": list,
    "object": dict,
    "map": dict,
}
# What stands in a path before the id of something that the sample data has: the segment, and its kind.
KINDS = {
    "deals": "deal",
    "persons": "person",
    "organizations": "organization",
    "activities": "activity",
    "products": "product",
    "pipelines": "pipeline",
    "stages": "stage",
    "users": "user",
    "notes": "note",
    "leads": "lead",
    "activityTypes": "activityType",
    "leadLabels": "lead_label",
    "boards": "board",
    "phases": "phase",
    "projects": "project",
    "tasks": "task",
    "files": "file",
    "filters": "filter",
}
TEXTS = {
    "date": "2026-03-05",
    "datetime": "2026-03-05 08:09:10",
    "date-time": "2026-03-05T08:09:10Z",
    "time": "08:09",
}


def filled(sandbox: Sandbox) -> dict[str, Any]:
    """Add one of everything that the sample data lacks; gives ids that paths and bodies may name, by field."""
    company, by = sandbox.company, sandbox.actor(sandbox.company, None)
    project = company.add("project", {"title": "P", "board_id": 1, "phase_id": 1}, by)["id"]
    task = company.add("task", {"title": "T", "project_id": project}, by)["id"]
    note = company.add("note", {"content": "x", "deal_id": 1}, by)["id"]
    values = {"file_name": "a.txt", "name": "a.txt", "deal_id": 1, "user_id": company.admin["id"]}
    file = company.add("file", values, by)["id"]
    company.files[file] = b"content"
    stored = company.add("filter", {"name": "All", "type": "deals", "user_id": company.admin["id"]}, by)["id"]
    row = company.add("deal_product", {"deal_id": 1, "product_id": 1, "item_price": 5}, by)["id"]
    part = company.add("deal_installment", {"deal_id": 1, "amount": 5}, by)["id"]
    comment = company.add("comment", {"note_id": note, "content": "x", "user_id": company.admin["id"]}, by)["id"]
    for kind in ("deal", "person", "organization", "product"):
        rows = company.followers.setdefault(f"{kind}/1", [])
        rows.append({"id": 1, "user_id": company.admin["id"], "add_time": company.clock.stamp()})
    company.extras["participants/1"] = [2]
    hook = sandbox.webhooks.add(
        company,
        company.admin["id"],
        None,
        {"event_action": "*", "event_object": "deal", "version": "2.0", "subscription_url": "http://127.0.0.1:1/"},
    )
    return {
        "project_id": project,
        "task_id": task,
        "note_id": note,
        "file_id": file,
        "filter_id": stored,
        "deal_product": row,
        "deal_installment": part,
        "comment": comment,
        "webhook": hook["id"],
        "user_id": company.admin["id"],
        "owner_id": company.admin["id"],
        "lead_id": next(iter(company.tables["lead"])),
        "label_ids": [],
        **dict.fromkeys(("deal_id", "person_id", "org_id", "product_id", "stage_id", "pipeline_id", "activity_id"), 1),
        **dict.fromkeys(("board_id", "phase_id", "item_id", "organization_id"), 1),
    }


def path_of(operation: catalog.Operation, sandbox: Sandbox, ids: Mapping[str, Any]) -> str:
    """Fill an operation's path with ids that exist, where the sandbox keeps such records."""
    if "/convert/status/" in operation.path:
        company, by = sandbox.company, sandbox.actor(sandbox.company, None)
        made = (
            deal_to_lead(company, 1, by) if "deals" in operation.path else lead_to_deal(company, ids["lead_id"], {}, by)
        )
        return operation.path.replace("{id}", "1").replace("{conversion_id}", made["conversion_id"])
    parts, before = [], ""
    for part in operation.path.split("/"):
        parts.append(str(_place(operation, before, part, sandbox, ids)) if part.startswith("{") else part)
        before = part
    return "/".join(parts)


def _place(operation: catalog.Operation, before: str, part: str, sandbox: Sandbox, ids: Mapping[str, Any]) -> Any:
    company, nested = sandbox.company, operation.path.count("{") > 1
    if part == "{field_code}" or (before.endswith("Fields")):
        kind = before.removesuffix("Fields")
        fields = [one for one in company.custom_fields(kind).values() if one["options"]] or [
            *company.fields[kind].values()
        ]
        return fields[0]["key"] if part == "{field_code}" else fields[0]["id"]
    if nested and before in ("products", "installments", "comments") and part != "{id}":
        return ids[{"products": "deal_product", "installments": "deal_installment", "comments": "comment"}[before]]
    if before == "followers":
        return company.admin["id"] if "/v2/" in operation.path else 1
    if before == "participants":
        return 2
    if before == "webhooks":
        return ids["webhook"]
    if before in KINDS:
        return next(record["id"] for record in company.living(KINDS[before]))
    return 1


def body_of(operation: catalog.Operation, ids: Mapping[str, Any], place: str = "json") -> Any:
    """Make the smallest body (or query, or form) that an operation accepts."""
    generation: Literal["v1", "v2"] = "v2" if operation.id.startswith("v2") else "v1"
    wanted = [one for one in operation.parameters if one.place == place and one.required]
    made = {one.wire: value_of(one.schema, generation, one.wire, ids) for one in wanted}
    return made["items"] if operation.array_body else made


def value_of(schema: Mapping[str, Any], generation: Literal["v1", "v2"], name: str, ids: Mapping[str, Any]) -> Any:
    """Make a value that a schema and the sample data allow."""
    if "ref" in schema:
        return value_of(catalog.models(generation)[schema["ref"]], generation, name, ids)
    if name in ids:
        return ids[name]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return value_of(schema["anyOf"][0], generation, name, ids)
    kind = schema.get("type", schema.get("kind"))
    if kind in ("object", "map"):
        fields = schema.get("fields", {})
        return {key: value_of(one, generation, key, ids) for key, one in fields.items() if one.get("required")}
    if kind == "array":
        return [value_of(schema.get("items", {}), generation, name.removesuffix("s"), ids)]
    if kind == "string":
        return TEXTS.get(schema.get("format", ""), "text")
    return {"integer": 1, "number": 1.5, "boolean": True}.get(str(kind), "text")


def wrongs(schema: Mapping[str, Any], value: Any, generation: Literal["v1", "v2"], where: str = "") -> Iterator[str]:
    """Tell where a value is not what its schema says; a null is allowed anywhere, as in real answers."""
    if "ref" in schema:
        schema = catalog.models(generation)[schema["ref"]]
    if value is None:
        return
    if "anyOf" in schema:
        tries = [list(wrongs(one, value, generation, where)) for one in schema["anyOf"]]
        yield from min(tries, key=len)
        return
    kind = schema.get("type", schema.get("kind"))
    exact = EXACT.get(str(kind))
    if exact and (not isinstance(value, exact) or (exact is not bool and isinstance(value, bool))):
        yield f"{where}: {type(value).__name__} instead of {kind}"
        return
    if kind == "array":
        for item in value[:5]:
            yield from wrongs(schema.get("items", {}), item, generation, f"{where}[]")
    if kind == "object":
        for name, field in schema.get("fields", {}).items():
            if name in value:
                yield from wrongs(field, value[name], generation, f"{where}.{name}")


def needs(operation: catalog.Operation, sandbox: Sandbox) -> dict[str, Any]:
    """Give what an operation needs beyond what the catalog marks as required, by the place it goes to."""
    company = sandbox.company
    if operation.method == "DELETE" and any(one.wire == "ids" for one in operation.parameters):
        kind = operation.path.rpartition("/")[2].removesuffix("Fields")
        custom = (
            [one["id"] for one in company.custom_fields(kind).values()] if operation.path.endswith("Fields") else []
        )
        return {"query": {"ids": str(custom[0] if custom else 1)}}
    if operation.path.endswith("/options") and operation.method != "POST":
        kind = operation.path.split("/")[3].removesuffix("Fields")
        field = next(one for one in company.custom_fields(kind).values() if one["options"])
        label = {"label": "x"} if operation.method == "PATCH" else {}
        return {"json": [{"id": field["options"][0]["id"], **label}]}
    if operation.path.endswith("/merge"):
        return {"json": {"merge_with_id": 2}}
    fields = {"/v1/notes": {"deal_id": 1}, "/v1/leads": {"person_id": 1}, "/api/v2/persons": {"name": "Ann"}}
    return {"json": fields.get(operation.path, {}) if operation.method == "POST" else {}}
