"""Generation 1 for what the main job needs: who am I, users, notes, activity types, field definitions."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipeflow.sandbox.answers import Answer, RefusedError, ok
from pipeflow.sandbox.fields import v1_field, v2_field
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.paging import cursor_page, offset_page
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.shapes_v1 import Shape1

FIELD_KINDS = ("deal", "person", "organization", "product", "activity", "lead", "note")
_LINKS = ("deal_id", "person_id", "org_id", "lead_id", "project_id")
_FLAGS = ("pinned_to_deal_flag", "pinned_to_person_flag", "pinned_to_organization_flag")


def _shown(call: Call, kind: str, record: dict[str, Any]) -> dict[str, Any]:
    return Shape1(call.company, me=call.user["id"]).show(kind, record)


def _paged(call: Call, rows: list[dict[str, Any]]) -> Answer:
    cut, pagination = offset_page(rows, call.number("start", 0) or 0, call.number("limit", 100) or 100)
    return ok(cut or None, {"pagination": pagination})


@route("GET", "/v1/users/me")
def me(call: Call) -> Answer:
    """Say who asks."""
    company = call.company
    about = {
        "company_id": company.id,
        "company_name": company.name,
        "company_domain": company.domain,
        "company_country": "EE",
        "locale": "en_US",
        "language": {"language_code": "en", "country_code": "US"},
    }
    return ok(_shown(call, "user", call.user) | about)


@route("GET", "/v1/users")
def users(call: Call) -> Answer:
    """List the users."""
    return ok([_shown(call, "user", one) for one in call.company.users])


@route("GET", "/v1/activityTypes")
def activity_types(call: Call) -> Answer:
    """List the activity types."""
    return ok([_shown(call, "activityType", one) for one in call.company.living("activityType")])


@route("GET", "/v1/notes")
def notes(call: Call) -> Answer:
    """List notes, those of one record if the query names it."""
    asked = {name: call.query[name] for name in _LINKS if name in call.query}
    found = [
        _shown(call, "note", one)
        for one in call.company.living("note")
        if all(str(one[name]) == value for name, value in asked.items())
    ]
    return _paged(call, found)


@route("GET", "/v1/notes/{id}")
def note(call: Call) -> Answer:
    """Read a note, deleted or not."""
    return ok(_shown(call, "note", call.company.get("note", call.id(), call.user)))


@route("POST", "/v1/notes")
def add_note(call: Call) -> Answer:
    """Add a note; it needs content and something to hang on."""
    values = _note_values(call)
    if not values.get("content"):
        raise RefusedError("content is required")
    if not any(values.get(link) for link in _LINKS):
        raise RefusedError("One of deal_id, person_id, org_id, lead_id, project_id is required")
    values.setdefault("user_id", call.user["id"])
    return ok(_shown(call, "note", call.company.add("note", values, call.actor)), status=201)


@route("PUT", "/v1/notes/{id}")
def change_note(call: Call) -> Answer:
    """Change a note."""
    before = call.company.get("note", call.id(), call.user)
    return ok(_shown(call, "note", call.company.change("note", before["id"], _note_values(call), call.actor)))


@route("DELETE", "/v1/notes/{id}")
def delete_note(call: Call) -> Answer:
    """Delete a note softly."""
    call.company.delete("note", call.company.get("note", call.id(), call.user)["id"], call.actor)
    return ok(True)


def _note_values(call: Call) -> dict[str, Any]:
    given = {name: call.fields[name] for name in ("content", "user_id", *_LINKS) if name in call.fields}
    return given | {name: bool(int(call.fields[name] or 0)) for name in _FLAGS if name in call.fields}


def _fields_v1(kind: str, call: Call) -> Answer:
    fields = call.company.fields.get("deal" if kind == "lead" else kind, {})
    return _paged(call, [v1_field(one, kind) for one in fields.values()])


def _fields_v2(kind: str, call: Call) -> Answer:
    fields = list(call.company.fields.get(kind, {}).values())
    cut, following = cursor_page(fields, limit=call.number("limit", 100) or 100, cursor=call.query.get("cursor"))
    return ok([v2_field(one) for one in cut], {"next_cursor": following})


def _listing(kind: str, call: Call) -> Answer:
    return _paged(call, [_shown(call, kind, one) for one in call.company.living(kind) if not is_deleted(one)])


def _register() -> None:
    for kind in FIELD_KINDS:
        route("GET", f"/v1/{kind}Fields")(partial(_fields_v1, kind))
        if kind not in ("lead", "note"):
            route("GET", f"/api/v2/{kind}Fields")(partial(_fields_v2, kind))
    for kind in ("deal", "person", "organization", "lead"):
        route("GET", f"/v1/{kind}s")(partial(_listing, kind))


_register()
