"""Generation 2: followers, products on deals, installments, conversions between leads and deals, archiving."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok, v2_time
from pipeflow.sandbox.converting import deal_to_lead, lead_to_deal
from pipeflow.sandbox.followers import add_follower, remove_follower
from pipeflow.sandbox.kinds import DEFAULTS, is_deleted
from pipeflow.sandbox.paging import cursor_page
from pipeflow.sandbox.routing import Call, Handler, route
from pipeflow.sandbox.shapes_v2 import Shape2
from pipeflow.sandbox.validate import settle_nulls

FOLLOWED = {"deal": "deals", "person": "persons", "organization": "organizations", "product": "products"}


def _page(call: Call, rows: list[Record]) -> tuple[list[Record], Record]:
    cut, following = cursor_page(
        rows,
        limit=call.number("limit", 100) or 100,
        cursor=call.query.get("cursor"),
        sort_by=call.query.get("sort_by", "id"),
        direction=call.query.get("sort_direction", "asc"),
    )
    return cut, {"next_cursor": following}


# Followers


def _followers(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.integer_id(), call.user)
    cut, additional = _page(call, call.company.followers.get(f"{kind}/{record['id']}", []))
    return ok([{"user_id": one["user_id"], "add_time": v2_time(one["add_time"])} for one in cut], additional)


def _follow(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.integer_id(), call.user)
    row = add_follower(call.company, kind, record["id"], call.fields["user_id"], call.actor)
    return ok({"user_id": row["user_id"], "add_time": v2_time(row["add_time"])}, status=201)


def _unfollow(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.integer_id(), call.user)
    remove_follower(call.company, kind, record["id"], call.integer_id(1), call.actor)
    return ok({"user_id": call.integer_id(1)})


def _follower_log(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.integer_id(), call.user)
    cut, additional = _page(call, call.company.follower_log.get(f"{kind}/{record['id']}", []))
    data = [{**one, "time": v2_time(one["time"])} for one in cut]
    return ok([{name: value for name, value in one.items() if name != "id"} for one in data], additional)


# Products on deals, installments


def _attached(call: Call, kind: str, place: int = 1) -> Record:
    record = call.company.get(kind, call.integer_id(place))
    if is_deleted(record) or record["deal_id"] != call.integer_id():
        raise missing("Deal product" if kind == "deal_product" else "Installment")
    return record


def _rows(call: Call, kind: str, deal_ids: set[int]) -> list[Record]:
    return [row for row in call.company.living(kind) if row["deal_id"] in deal_ids]


def _shown(call: Call, kind: str, row: Record) -> Record:
    data = Shape2(call.company).show(kind, row)
    del data["is_deleted"]
    if kind == "deal_installment":
        data = {name: data[name] for name in ("id", "amount", "billing_date", "description", "deal_id")}
    return data


def _of_deal(kind: str, call: Call) -> Answer:
    deal = call.company.get("deal", call.integer_id(), call.user)
    cut, additional = _page(call, _rows(call, kind, {deal["id"]}))
    return ok([_shown(call, kind, row) for row in cut], additional)


def _of_deals(kind: str, call: Call) -> Answer:
    cut, additional = _page(call, _rows(call, kind, {int(one) for one in call.listed("deal_ids") if one.isdigit()}))
    # Installments declare cursors and yet answer without one.
    return ok([_shown(call, kind, row) for row in cut], None if kind == "deal_installment" else additional)


def _attach(kind: str, call: Call) -> Answer:
    deal = call.company.get("deal", call.integer_id(), call.user)
    values = {**call.fields, "deal_id": deal["id"]}
    settle_nulls(kind, values)
    row = call.company.add(kind, values, call.actor)
    return ok(_shown(call, kind, row), status=201)


def _change_attached(kind: str, call: Call) -> Answer:
    row, values = _attached(call, kind), dict(call.fields)
    settle_nulls(kind, values)
    return ok(_shown(call, kind, call.company.change(kind, row["id"], values, call.actor)))


def _detach(kind: str, call: Call) -> Answer:
    row = _attached(call, kind)
    call.company.delete(kind, row["id"], call.actor)
    return ok({"id": row["id"]})


@route("POST", "/api/v2/deals/{id}/products/bulk")
def attach_many(call: Call) -> Answer:
    """Put up to 100 products on a deal."""
    deal = call.company.get("deal", call.integer_id(), call.user)
    made = [
        call.company.add("deal_product", {**one, "deal_id": deal["id"]}, call.actor)
        for one in call.fields["data"][:100]
    ]
    return ok([_shown(call, "deal_product", row) for row in made], status=201)


@route("DELETE", "/api/v2/deals/{id}/products")
def detach_many(call: Call) -> Answer:
    """Take up to 100 products off a deal, all of them if none is named."""
    deal = call.company.get("deal", call.integer_id(), call.user)
    wanted = {int(one) for one in call.listed("ids") if one.isdigit()}
    rows = [row for row in _rows(call, "deal_product", {deal["id"]}) if not wanted or row["id"] in wanted][:100]
    for row in rows:
        call.company.delete("deal_product", row["id"], call.actor)
    left = len(_rows(call, "deal_product", {deal["id"]}))
    return ok({"ids": [row["id"] for row in rows]}, {"more_items_in_collection": left > 0})


# Conversions


@route("POST", "/api/v2/leads/{id}/convert/deal")
def convert_lead(call: Call) -> Answer:
    """Begin to turn a lead into a deal; the status tells when it is one."""
    call.company.get("lead", call.path[0], call.user)
    return _begun(call, lead_to_deal(call.company, call.path[0], call.fields, call.actor))


@route("POST", "/api/v2/deals/{id}/convert/lead")
def convert_deal(call: Call) -> Answer:
    """Begin to turn a deal into a lead."""
    call.company.get("deal", call.integer_id(), call.user)
    return _begun(call, deal_to_lead(call.company, call.integer_id(), call.actor))


def _begun(call: Call, made: Record) -> Answer:
    return ok({"conversion_id": made["conversion_id"]})


@route("GET", "/api/v2/leads/{id}/convert/status/{conversion_id}")
@route("GET", "/api/v2/deals/{id}/convert/status/{conversion_id}")
def conversion_status(call: Call) -> Answer:
    """Tell how far a conversion is: running when first asked, then completed."""
    made = call.company.conversions.get(call.path[1])
    if made is None:
        raise missing("Conversion")
    state: Record = {"conversion_id": made["conversion_id"], "status": "completed" if made["asked"] else "running"}
    made["asked"] = True
    if state["status"] == "completed":
        state |= {name: made[name] for name in ("deal_id", "lead_id") if name in made}
    return ok(state)


# Projects and products


@route("POST", "/api/v2/projects/{id}/archive")
def archive_project(call: Call) -> Answer:
    """Archive a project."""
    project = call.company.get("project", call.integer_id())
    values = {"archive_time": call.company.clock.stamp()}
    return ok(Shape2(call.company).show("project", call.company.change("project", project["id"], values, call.actor)))


@route("POST", "/api/v2/products/{id}/duplicate")
def duplicate_product(call: Call) -> Answer:
    """Add a copy of a product."""
    product = call.company.get("product", call.integer_id(), call.user)
    if product["is_deleted"]:
        raise RefusedError("A deleted product cannot be duplicated", 400)
    made = call.company.add("product", {name: product[name] for name in DEFAULTS["product"]}, call.actor)
    return ok(Shape2(call.company).show("product", made), status=201)


def _register() -> None:
    followers: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("GET", "followers"): _followers,
        ("POST", "followers"): _follow,
        ("DELETE", "followers/{follower_id}"): _unfollow,
        ("GET", "followers/changelog"): _follower_log,
    }
    for kind, resource in FOLLOWED.items():
        for (method, tail), answer in followers.items():
            route(method, f"/api/v2/{resource}/{{id}}/{tail}")(_of(kind, answer))
    attached: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("POST", "deals/{id}/{}"): _attach,
        ("PATCH", "deals/{id}/{}/{attached_id}"): _change_attached,
        ("DELETE", "deals/{id}/{}/{attached_id}"): _detach,
        ("GET", "deals/{}"): _of_deals,
    }
    for kind, name in (("deal_product", "products"), ("deal_installment", "installments")):
        for (method, path), answer in attached.items():
            route(method, f"/api/v2/{path.replace('{}', name)}")(_of(kind, answer))
    route("GET", "/api/v2/deals/{id}/products")(_of("deal_product", _of_deal))


def _of(kind: str, answer: Callable[[str, Call], Any]) -> Handler:
    return partial(answer, kind)


_register()
