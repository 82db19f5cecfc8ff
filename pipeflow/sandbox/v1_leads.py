"""Generation 1: leads and their labels, at home here only. Ids are UUIDs, writes use PATCH."""

from __future__ import annotations

from collections.abc import Iterable

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok
from pipeflow.sandbox.filters import by_query
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.v1_common import one, page, shape
from pipeflow.sandbox.writes_v1 import read

SOURCES = ("API", "Chatbot", "Live chat", "Manually created", "Web forms", "Deal", "Import")


@route("GET", "/v1/leads")
def leads(call: Call) -> Answer:
    """List leads that are not archived."""
    return _listed(call, archived=False)


@route("GET", "/v1/leads/archived")
def archived_leads(call: Call) -> Answer:
    """List archived leads."""
    return _listed(call, archived=True)


def _listed(call: Call, *, archived: bool) -> Answer:
    records: Iterable[Record] = (one for one in call.company.living("lead") if one["is_archived"] == archived)
    answer = page(call, "lead", by_query(call, "lead", records), flat=True)
    # Alone among generation 1's lists this one is empty, not null.
    answer.body["data"] = answer.body["data"] or []
    return answer


@route("GET", "/v1/leads/{id}")
def lead(call: Call) -> Answer:
    """Read a lead."""
    return one(call, "lead", _living(call))


@route("POST", "/v1/leads")
def add_lead(call: Call) -> Answer:
    """Add a lead; it needs a title and a person or an organization."""
    if not call.fields.get("title"):
        raise RefusedError("A title is required", 400)
    values = _read(call, {}) | {"origin": "API", "source_name": "API"}
    return one(call, "lead", call.company.add("lead", values, call.actor), status=201)


@route("PATCH", "/v1/leads/{id}")
def change_lead(call: Call) -> Answer:
    """Change a lead; an archived one only to take it back."""
    before = _living(call)
    if before["is_archived"] and call.fields.get("is_archived") is not False:
        raise RefusedError("Archived leads cannot be changed", 400)
    return one(call, "lead", call.company.change("lead", before["id"], _read(call, before), call.actor))


@route("DELETE", "/v1/leads/{id}")
def delete_lead(call: Call) -> Answer:
    """Delete a lead."""
    record = call.company.get("lead", call.id(), call.user)
    call.company.delete("lead", record["id"], call.actor)
    return ok({"id": record["id"]})


def _living(call: Call) -> Record:
    record = call.company.get("lead", call.id(), call.user)
    if is_deleted(record):
        raise missing("Lead")
    return record


def _read(call: Call, before: Record) -> Record:
    values = read(call, "lead", before)
    if values.get("value") is not None:
        given = values["value"]
        if not isinstance(given, dict) or "amount" not in given or "currency" not in given:
            raise RefusedError("value must have amount and currency", 400)
    known = call.company.tables["lead_label"]
    if unknown := [label for label in values.get("label_ids") or [] if label not in known]:
        raise RefusedError(f"Lead label {unknown[0]} does not exist", 400)
    return values


@route("GET", "/v1/leadLabels")
def lead_labels(call: Call) -> Answer:
    """List lead labels."""
    return ok([shape(call).show("lead_label", label) for label in call.company.living("lead_label")])


@route("POST", "/v1/leadLabels")
def add_lead_label(call: Call) -> Answer:
    """Add a lead label."""
    if not call.fields.get("name"):
        raise RefusedError("A name is required", 400)
    return one(call, "lead_label", call.company.add("lead_label", read(call, "lead_label", {}), call.actor), status=201)


@route("PATCH", "/v1/leadLabels/{id}")
def change_lead_label(call: Call) -> Answer:
    """Change a lead label."""
    before = call.company.get("lead_label", call.id())
    values = read(call, "lead_label", before)
    return one(call, "lead_label", call.company.change("lead_label", before["id"], values, call.actor))


@route("DELETE", "/v1/leadLabels/{id}")
def delete_lead_label(call: Call) -> Answer:
    """Delete a lead label."""
    label = call.company.delete("lead_label", call.id(), call.actor)
    return ok({"id": label["id"]})


@route("GET", "/v1/leadSources")
def lead_sources(call: Call) -> Answer:
    """List where leads come from."""
    return ok([{"name": name} for name in SOURCES])
