"""Generation 2: field definitions, by their code; options are changed in bulk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeflow.sandbox.answers import Answer, Record, RefusedError, invalid, missing, ok
from pipeflow.sandbox.fields import option, v2_field
from pipeflow.sandbox.paging import cursor_page
from pipeflow.sandbox.routing import Call, Handler, route

KINDS = ("deal", "person", "organization", "product", "activity", "project")
WRITABLE = ("deal", "person", "organization", "product", "project")
BLOCKS = ("ui_visibility", "important_fields", "required_fields")
MOST_OPTIONS = 10_000


def _listing(kind: str, call: Call) -> Answer:
    limit = call.number("limit", 100) or 100
    cut, following = cursor_page(list(call.company.fields[kind].values()), limit=limit, cursor=call.query.get("cursor"))
    include = frozenset(call.listed("include_fields"))
    return ok([v2_field(field, include) for field in cut], {"next_cursor": following})


def _found(kind: str, call: Call) -> Record:
    field = call.company.fields[kind].get(call.path[0])
    if field is None:
        raise missing("Field")
    return field


def _reading(kind: str, call: Call) -> Answer:
    return ok(v2_field(_found(kind, call), frozenset(call.listed("include_fields"))))


def _adding(kind: str, call: Call) -> Answer:
    given = call.fields
    more: Record = {"description": given.get("description"), "extra": _blocks(given)}
    if given["field_type"] in ("enum", "set"):
        if not given.get("options"):
            raise invalid("options: are required for this type")
        now = call.company.clock.stamp()
        more["options"] = [_new(call, one["label"], now) for one in given["options"]]
    made = call.company.add_field(kind, given["field_name"], given["field_type"], call.actor, **more)
    return ok(v2_field(made), status=201)


def _blocks(given: Record) -> Record:
    return {name: given[name] for name in BLOCKS if name in given}


def _new(call: Call, label: str, now: str) -> Record:
    return option(call.company.next_number("option", 13), label, now)


def _changing(kind: str, call: Call) -> Answer:
    field = _custom(kind, call)
    values: Record = {"extra": {**field["extra"], **_blocks(call.fields)}}
    if "field_name" in call.fields:
        values["name"] = call.fields["field_name"]
    if "description" in call.fields:
        values["description"] = call.fields["description"]
    return ok(v2_field(call.company.change_field(kind, field["key"], values, call.actor)))


def _deleting(kind: str, call: Call) -> Answer:
    field = _custom(kind, call)
    return ok(v2_field(call.company.delete_field(kind, field["key"], call.actor)))


def _custom(kind: str, call: Call) -> Record:
    field = _found(kind, call)
    if not field["is_custom"]:
        raise RefusedError("Only custom fields can be changed", 403)
    return field


def _with_options(kind: str, call: Call) -> tuple[Record, list[Record], list[Any]]:
    field = _custom(kind, call)
    if field["options"] is None:
        raise RefusedError("This field has no options", 400)
    return field, list(field["options"]), call.body if isinstance(call.body, list) else []


def _adding_options(kind: str, call: Call) -> Answer:
    field, options, given = _with_options(kind, call)
    if len(options) + len(given) > MOST_OPTIONS:
        raise RefusedError(f"A field has at most {MOST_OPTIONS} options", 400)
    made = [_new(call, one["label"], call.company.clock.stamp()) for one in given]
    call.company.change_field(kind, field["key"], {"options": options + made}, call.actor)
    return ok(_shown(made), status=201)


def _changing_options(kind: str, call: Call) -> Answer:
    field, options, given = _with_options(kind, call)
    labels = {one["id"]: one["label"] for one in given}
    _known(options, labels)
    now = call.company.clock.stamp()
    changed = [
        {**one, "label": labels[one["id"]], "update_time": now} if one["id"] in labels else one for one in options
    ]
    call.company.change_field(kind, field["key"], {"options": changed}, call.actor)
    return ok(_shown([one for one in changed if one["id"] in labels]))


def _deleting_options(kind: str, call: Call) -> Answer:
    field, options, given = _with_options(kind, call)
    ids = {one["id"]: one for one in given}
    _known(options, ids)
    gone = [one for one in options if one["id"] in ids]
    left = [one for one in options if one["id"] not in ids]
    values = {"options": left, "options_deleted": field["options_deleted"] + gone}
    call.company.change_field(kind, field["key"], values, call.actor)
    return ok(_shown(gone))


def _known(options: list[Record], wanted: Record) -> None:
    there = {one["id"] for one in options}
    if unknown := [number for number in wanted if number not in there]:
        raise RefusedError(f"Option {unknown[0]} does not exist", 400)


def _shown(options: list[Record]) -> list[Record]:
    return [{"id": one["id"], "label": one["label"]} for one in options]


def _register() -> None:
    reads: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("GET", ""): _listing,
        ("GET", "/{field_code}"): _reading,
    }
    writes: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("POST", ""): _adding,
        ("PATCH", "/{field_code}"): _changing,
        ("DELETE", "/{field_code}"): _deleting,
        ("POST", "/{field_code}/options"): _adding_options,
        ("PATCH", "/{field_code}/options"): _changing_options,
        ("DELETE", "/{field_code}/options"): _deleting_options,
    }
    for kind in KINDS:
        for (method, tail), answer in (reads | (writes if kind in WRITABLE else {})).items():
            route(method, f"/api/v2/{kind}Fields{tail}")(_of(kind, answer))


def _of(kind: str, answer: Callable[[str, Call], Answer]) -> Handler:
    return partial(answer, kind)


_register()
