"""Search in both generations: by name, contact, notes and custom fields; the items are summaries with a score."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from pipeflow.sandbox.answers import Answer, Record, RefusedError, invalid, ok, v1_time
from pipeflow.sandbox.fields import SEARCHABLE
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.paging import cursor_page
from pipeflow.sandbox.routing import Call, Handler, route
from pipeflow.sandbox.v1_common import window

TITLES: Final = {"deal": "title", "lead": "title", "project": "title"}
KINDS: Final = {
    "deal": "deals",
    "person": "persons",
    "organization": "organizations",
    "product": "products",
    "lead": "leads",
    "project": "projects",
}


def _texts(call: Call, kind: str, record: Record) -> Iterator[tuple[str, str]]:
    """Give the texts of a record that are searched, by field."""
    title = TITLES.get(kind, "name")
    yield title, record[title]
    for name in ("emails", "phones"):
        for one in record.get(name, ()):
            yield name.rstrip("s"), str(one["value"])
    if record.get("code"):
        yield "code", record["code"]
    if isinstance(record.get("address"), dict):
        yield "address", str(record["address"].get("value"))
    fields = call.company.custom_fields(kind)
    for key, value in record.get("custom_fields", {}).items():
        if key in fields and fields[key]["field_type"] in SEARCHABLE:
            yield "custom_fields", str(value.get("value") if isinstance(value, dict) else value)


def _matches(call: Call, kind: str, term: str, *, exact: bool) -> list[tuple[float, Record]]:
    fields, term = set(call.listed("fields")), term.lower()
    found = []
    for record in call.company.tables[kind].values():
        if is_deleted(record) or not call.company.may_see(call.user, record):
            continue
        texts = [text.lower() for name, text in _texts(call, kind, record) if not fields or name in fields]
        if any(text == term if exact else term in text for text in texts):
            score = 1.0 if term in texts else round(0.3 + 0.5 * len(term) / max(len(texts[0]), len(term)), 4)
            found.append((score, record))
    return sorted(found, key=lambda row: (-row[0], str(row[1]["id"])))


def _term(call: Call, *, exact: bool) -> str:
    term = call.query.get("term", "").strip()
    if len(term) < (1 if exact else 2):
        raise (invalid if call.generation == "v2" else RefusedError)("term: must have at least 2 characters")
    return term


def _item(call: Call, kind: str, record: Record) -> Record:
    """Show a found record in brief; phones and e-mails are plain texts, times are generation 1's."""
    tables = call.company.tables
    person = tables["person"].get(record.get("person_id"))
    organization = tables["organization"].get(record.get("org_id", record.get("organization_id")))
    title = TITLES.get(kind, "name")
    item: Record = {
        "id": record["id"],
        "type": kind,
        title: record[title],
        "visible_to": int(record.get("visible_to") or 3),
        "owner": {"id": record["owner_id"]},
        "custom_fields": [],
        "notes": [],
    }
    if kind in ("deal", "lead"):
        item["person"] = {"id": person["id"], "name": person["name"]} if person else None
        item["is_archived"] = record["is_archived"]
    if kind in ("deal", "lead", "person"):
        item["organization"] = {"id": organization["id"], "name": organization["name"]} if organization else None
    if kind == "deal":
        stage = tables["stage"][record["stage_id"]]
        item |= {"value": record["value"], "currency": record["currency"], "status": record["status"]}
        item["stage"] = {"id": stage["id"], "name": stage["name"]}
    if kind == "person":
        item["emails"] = [one["value"] for one in record["emails"]]
        item["phones"] = [one["value"] for one in record["phones"]]
    if kind == "organization":
        item["address"] = (record["address"] or {}).get("value")
    return item | {"update_time": v1_time(record["update_time"])}


def _answer(call: Call, rows: list[tuple[float, str, Record]], related: list[Record] | None = None) -> Answer:
    """Answer a page of found records: by cursor in generation 2, by offset in generation 1."""
    items = [
        {"id": place, "result_score": score, "item": _item(call, kind, record)}
        for place, (score, kind, record) in enumerate(rows)
    ]
    if call.generation == "v2":
        limit = call.number("limit", 100) or 100
        items, following = cursor_page(items, limit=limit, cursor=call.query.get("cursor"))
        additional: Record = {"next_cursor": following}
    else:
        items, pagination = window(call, items)
        additional = {"pagination": pagination}
    data: Record = {"items": [{name: one[name] for name in ("result_score", "item")} for one in items]}
    if related is not None:
        data["related_items"] = related
    return ok(data, additional)


def _searching(kind: str, call: Call) -> Answer:
    exact = bool(call.flag("exact_match"))
    rows = [(score, kind, record) for score, record in _matches(call, kind, _term(call, exact=exact), exact=exact)]
    for name, field in (("person_id", "person_id"), ("organization_id", "org_id"), ("status", "status")):
        if wanted := call.query.get(name):
            rows = [row for row in rows if wanted == str(row[2].get(field, row[2].get(name)))]
    return _answer(call, rows)


@route("GET", "/api/v2/itemSearch")
@route("GET", "/v1/itemSearch")
def item_search(call: Call) -> Answer:
    """Search in several kinds at once."""
    exact = bool(call.flag("exact_match"))
    term = _term(call, exact=exact)
    kinds = [kind for kind in call.listed("item_types") or KINDS if kind in KINDS]
    rows = [(score, kind, record) for kind in kinds for score, record in _matches(call, kind, term, exact=exact)]
    rows.sort(key=lambda row: -row[0])
    return _answer(call, rows, [] if call.flag("search_for_related_items") else None)


@route("GET", "/api/v2/itemSearch/field")
def field_search(call: Call) -> Answer:
    """Search in one field; the case matters here."""
    kind, name = call.query.get("entity_type", ""), call.query.get("field", "")
    match = call.query.get("match", "exact")
    term = _term(call, exact=match == "exact")
    if kind not in KINDS:
        raise invalid(f"entity_type: must be one of {', '.join(KINDS)}")
    found: dict[Any, Record] = {}
    for record in call.company.living(kind):
        value = record.get(name, record.get("custom_fields", {}).get(name))
        text = str(value.get("value") if isinstance(value, dict) else value) if value is not None else ""
        if {"exact": text == term, "beginning": text.startswith(term), "middle": term in text}[match]:
            found[record["id"]] = {"id": record["id"], "name": record.get(TITLES.get(kind, "name")), name: text}
    limit = call.number("limit", 100) or 100
    cut, following = cursor_page(list(found.values()), limit=limit, cursor=call.query.get("cursor"))
    return ok(cut, {"next_cursor": following})


def _register() -> None:
    for kind, resource in KINDS.items():
        route("GET", f"/api/v2/{resource}/search")(_of(kind))
        if kind != "project":
            route("GET", f"/v1/{resource}/search")(_of(kind))


def _of(kind: str) -> Handler:
    return partial(_searching, kind)


_register()
