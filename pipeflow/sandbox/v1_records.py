"""Generation 1: the retired lists and writes of deals, persons, organizations, activities, products and pipelines.

Pipedrive does not promise them any more, but its own client of 2024 calls them, and they answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from pipeflow.sandbox.answers import Answer, Record, RefusedError, gone, missing, ok
from pipeflow.sandbox.filters import by_filter
from pipeflow.sandbox.kinds import is_deleted, noun
from pipeflow.sandbox.routing import Call, Handler, route
from pipeflow.sandbox.shapes_v1 import Shape1
from pipeflow.sandbox.tally import LINK_OF
from pipeflow.sandbox.v1_common import by_cursor, living_of, one, ordered, owned, page, shape, window
from pipeflow.sandbox.writes_v1 import read

RESOURCES: Final = {
    "deal": "deals",
    "person": "persons",
    "organization": "organizations",
    "activity": "activities",
    "product": "products",
    "pipeline": "pipelines",
    "stage": "stages",
}
NEEDED: Final = {"deal": "title", "activity": None}
RELATED: Final = frozenset({"deal", "person", "organization", "activity"})


def listing(kind: str, call: Call) -> Answer:
    """List records by offset."""
    records: Iterable[Record] = call.company.living(kind)
    if kind == "deal":
        records = deals(call, archived=False)
    if kind == "activity":
        records = _activities(call)
    if kind == "stage" and (pipeline := call.number("pipeline_id")) is not None:
        records = living_of(call, "stage", pipeline_id=pipeline)
    if "filter_id" in call.query:
        records = by_filter(call.company, call.number("filter_id"), records)
    elif kind not in ("stage", "pipeline"):
        records = owned(call, records)
    if first := call.query.get("first_char"):
        records = [record for record in records if record["name"][:1].lower() == first.lower()]
    if ids := {int(text) for text in call.listed("ids") if text.isdigit()}:
        records = [record for record in records if record["id"] in ids]
    if kind in ("stage", "pipeline"):
        return ok([shape(call).show(kind, record) for record in records])
    return page(call, kind, records, related=kind in RELATED)


def deals(call: Call, *, archived: bool) -> list[Record]:
    """List deals by status (`all_not_deleted` by default), stage and what else generation 1 filters by."""
    status = call.query.get("status", "all_not_deleted")
    found = []
    for record in call.company.tables["deal"].values():
        own = "deleted" if record["is_deleted"] else record["status"]
        if (own == "deleted" if status == "all_not_deleted" else own != status) or record["is_archived"] != archived:
            continue
        wanted = {name: call.number(name) for name in ("stage_id", "pipeline_id", "person_id", "org_id")}
        if all(value is None or record[name] == value for name, value in wanted.items()):
            found.append(record)
    return found


def _activities(call: Call) -> list[Record]:
    found = list(call.company.living("activity"))
    if (done := call.flag("done")) is not None:
        found = [record for record in found if record["done"] == done]
    if types := call.listed("type"):
        found = [record for record in found if record["type"] in types]
    since, until = call.query.get("start_date", ""), call.query.get("end_date", "9999")
    if since or until != "9999":
        found = [record for record in found if since <= (record["due_date"] or "") <= until]
    return found


def collection(kind: str, call: Call) -> Answer:
    """List a whole collection by cursor, related records as plain ids."""
    since, until = call.query.get("since", ""), call.query.get("until", "9999")
    records = [record for record in owned(call, call.company.living(kind)) if since <= record["update_time"] <= until]
    cut, additional = by_cursor(call, records)
    shown = Shape1(call.company, flat=True)
    return ok([shown.show(kind, record) for record in cut], additional)


def reading(kind: str, call: Call) -> Answer:
    """Read one record, deleted or not."""
    record = call.company.get(kind, call.id(), call.user)
    return one(call, kind, record, related=kind in RELATED)


def adding(kind: str, call: Call) -> Answer:
    """Add a record."""
    values = read(call, kind, {})
    needed = NEEDED.get(kind, "name")
    if needed and not values.get(needed):
        raise RefusedError(f"{needed.capitalize()} must be given", 400)
    if call.fields.get("status") == "deleted":
        values.pop("status", None)
    record = call.company.add(kind, values, call.actor)
    return one(call, kind, record, related=kind in RELATED, status=201)


def changing(kind: str, call: Call) -> Answer:
    """Change a record."""
    before = call.company.get(kind, call.id(), call.user)
    if is_deleted(before):
        raise missing(noun(kind))
    if kind == "deal" and before["is_archived"] and call.fields.get("is_archived") is not False:
        raise RefusedError("Archived deals cannot be changed", 400)
    values = read(call, kind, before)
    if kind == "deal" and values.get("status") == "deleted":
        call.company.delete(kind, before["id"], call.actor)
        return one(call, kind, call.company.get(kind, before["id"]), related=True)
    record = call.company.change(kind, before["id"], values, call.actor)
    return one(call, kind, record, related=kind in RELATED)


def deleting(kind: str, call: Call) -> Answer:
    """Delete one record softly."""
    record = call.company.get(kind, call.id(), call.user)
    call.company.delete(kind, record["id"], call.actor)
    return ok({"id": record["id"]})


def deleting_many(kind: str, call: Call) -> Answer:
    """Delete several records: each is told by itself."""
    ids = [int(text) for text in call.listed("ids") if text.isdigit()]
    if not ids:
        raise RefusedError("ids must be given", 400)
    for record_id in ids:
        record = call.company.find(kind, record_id)
        if record is None:
            raise missing(noun(kind))
        if is_deleted(record):
            raise gone(record_id)
        call.company.delete(kind, record_id, call.actor)
    return ok({"id": ids})


def _under(kind: str, child: str, call: Call) -> Answer:
    """List the records of one kind that belong to a record of another."""
    record = call.company.get(kind, call.id(), call.user)
    found = living_of(call, child, **{LINK_OF[kind]: record["id"]})
    if child == "deal":
        wanted = call.query.get("status", "all_not_deleted")
        found = [deal for deal in found if wanted == "all_not_deleted" or deal["status"] == wanted]
    if child == "activity" and (done := call.flag("done")) is not None:
        found = [activity for activity in found if activity["done"] == done]
    return page(call, child, found, related=child in RELATED)


@route("GET", "/v1/deals/archived")
def archived_deals(call: Call) -> Answer:
    """List archived deals."""
    return page(call, "deal", owned(call, deals(call, archived=True)), related=True)


@route("GET", "/v1/deals/{id}/persons")
def deal_persons(call: Call) -> Answer:
    """List the persons of a deal: its contact and the participants."""
    deal = call.company.get("deal", call.id(), call.user)
    people = [deal["person_id"], *call.company.extras.get(f"participants/{deal['id']}", ())]
    found = [call.company.find("person", person_id) for person_id in dict.fromkeys(people)]
    return page(call, "person", [person for person in found if person], related=True)


@route("GET", "/v1/pipelines/{id}/deals")
@route("GET", "/v1/stages/{id}/deals")
def deals_in(call: Call) -> Answer:
    """List the open deals of a pipeline or a stage, related records as plain ids."""
    link = "pipeline_id" if call.operation and "/pipelines/" in call.operation.path else "stage_id"
    found = [deal for deal in living_of(call, "deal", **{link: call.id()}) if deal["status"] == "open"]
    cut, pagination = window(call, ordered(call, owned(call, found)))
    shown = Shape1(call.company, flat=True)
    return ok([shown.show("deal", deal) for deal in cut] or None, {"pagination": pagination})


def _register() -> None:
    verbs: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("GET", ""): listing,
        ("POST", ""): adding,
        ("DELETE", ""): deleting_many,
        ("GET", "/{id}"): reading,
        ("PUT", "/{id}"): changing,
        ("DELETE", "/{id}"): deleting,
    }
    for kind, resource in RESOURCES.items():
        for (method, tail), answer in verbs.items():
            if (method, tail, kind) not in (("DELETE", "", "product"), ("DELETE", "", "pipeline")):
                route(method, f"/v1/{resource}{tail}")(_of(kind, answer))
    for kind in ("deal", "person", "organization", "activity"):
        route("GET", f"/v1/{RESOURCES[kind]}/collection")(_of(kind, collection))
    for kind, children in {
        "deal": ("activity", "file"),
        "person": ("activity", "deal", "file"),
        "organization": ("activity", "deal", "person", "file"),
        "product": ("file",),
    }.items():
        for child in children:
            resource = RESOURCES.get(child, "files")
            route("GET", f"/v1/{RESOURCES[kind]}/{{id}}/{resource}")(_of(kind, partial(_nested, child)))


def _nested(child: str, kind: str, call: Call) -> Answer:
    return _under(kind, child, call)


def _of(kind: str, answer: Callable[[str, Call], Answer]) -> Handler:
    return partial(answer, kind)


_register()
