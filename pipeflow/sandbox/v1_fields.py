"""Generation 1: field definitions, by numeric id."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.fields import CREATABLE, option, v1_field
from pipeflow.sandbox.routing import Call, Handler, route
from pipeflow.sandbox.v1_common import window

WRITABLE = ("deal", "person", "organization", "product")


def definitions(company: Company, kind: str) -> list[Record]:
    """List the definitions of a kind; leads have their own built-in ones and the deals' custom ones."""
    own = list(company.fields[kind].values())
    return own + list(company.custom_fields("deal").values()) if kind == "lead" else own


def _listing(kind: str, call: Call) -> Answer:
    cut, pagination = window(call, definitions(call.company, kind))
    flat = {name: value for name, value in pagination.items() if name != "next_start"}
    return ok([v1_field(field, kind) for field in cut], {"pagination": pagination, **flat})


def _found(kind: str, call: Call, field_id: Any) -> Record:
    for field in call.company.fields[kind].values():
        if field["id"] == field_id:
            return field
    raise missing("Field")


def _reading(kind: str, call: Call) -> Answer:
    return ok(v1_field(_found(kind, call, call.id()), kind))


def _adding(kind: str, call: Call) -> Answer:
    name, field_type = str(call.fields.get("name") or ""), str(call.fields.get("field_type"))
    if not name or field_type not in CREATABLE:
        raise RefusedError("name and a known field_type must be given", 400)
    more = {"options": _options(call, call.fields.get("options"))} if field_type in ("enum", "set") else {}
    made = call.company.add_field(kind, name, field_type, call.actor, **more)
    return ok(v1_field(made, kind), status=201)


def _options(call: Call, given: Any) -> list[Record]:
    """Read options: texts or objects; one with an id keeps it."""
    now, read = call.company.clock.stamp(), []
    for one in given if isinstance(given, list) else []:
        label = one.get("label") if isinstance(one, dict) else str(one)
        number = one.get("id") if isinstance(one, dict) else None
        read.append(option(int(number) if number else call.company.next_number("option", 13), str(label), now))
    return read


def _changing(kind: str, call: Call) -> Answer:
    field = _found(kind, call, call.id())
    values: Record = {name: call.fields[name] for name in ("name",) if name in call.fields}
    if "options" in call.fields and field["field_type"] in ("enum", "set"):
        values["options"] = _options(call, call.fields["options"])
        left = {one["id"] for one in values["options"]}
        gone = [one for one in field["options"] or [] if one["id"] not in left]
        values["options_deleted"] = field["options_deleted"] + gone
    return ok(v1_field(call.company.change_field(kind, field["key"], values, call.actor), kind))


def _deleting(kind: str, call: Call) -> Answer:
    field = _found(kind, call, call.id())
    call.company.delete_field(kind, field["key"], call.actor)
    return ok({"id": field["id"]})


def _deleting_many(kind: str, call: Call) -> Answer:
    ids = [int(text) for text in call.listed("ids") if text.isdigit()]
    for field_id in ids:
        call.company.delete_field(kind, _found(kind, call, field_id)["key"], call.actor)
    return ok({"id": ids})


def _register() -> None:
    for kind in ("deal", "person", "organization", "product", "activity", "lead", "note"):
        route("GET", f"/v1/{kind}Fields")(_of(kind, _listing))
    verbs: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("POST", ""): _adding,
        ("DELETE", ""): _deleting_many,
        ("GET", "/{id}"): _reading,
        ("PUT", "/{id}"): _changing,
        ("DELETE", "/{id}"): _deleting,
    }
    for kind in WRITABLE:
        for (method, tail), answer in verbs.items():
            route(method, f"/v1/{kind}Fields{tail}")(_of(kind, answer))


def _of(kind: str, answer: Callable[[str, Call], Answer]) -> Handler:
    return partial(answer, kind)


_register()
