"""Generation 1: what hangs on deals, persons and organizations: merging, history, participants, followers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok, v1_time
from pipeflow.sandbox.followers import add_follower, remove_follower
from pipeflow.sandbox.hook_bodies import permitted
from pipeflow.sandbox.kinds import DEFAULTS
from pipeflow.sandbox.merging import merge
from pipeflow.sandbox.routing import Call, Handler, route
from pipeflow.sandbox.shapes_v1 import Shape1
from pipeflow.sandbox.tally import LINK_OF
from pipeflow.sandbox.v1_common import living_of, page, shape, window

RESOURCES = {"deal": "deals", "person": "persons", "organization": "organizations"}


def _merging(kind: str, call: Call) -> Answer:
    """Merge the record of the path into the one of the body, which stays and is shown with plain ids."""
    into = call.fields.get("merge_with_id")
    if not str(into).isdigit():
        raise RefusedError("merge_with_id must be given", 400)
    call.company.get(kind, call.id(), call.user)
    survivor = merge(call.company, kind, call.id(), int(str(into)), call.actor)
    shown = Shape1(call.company, flat=kind != "organization", me=call.user["id"]).show(kind, survivor)
    return ok({**shown, "merge_what_id": call.id()})


def _changelog(kind: str, call: Call) -> Answer:
    """List a record's changes, newest first, by cursor."""
    record = call.company.get(kind, call.id(), call.user)
    log = list(enumerate(call.company.history.get(f"{kind}/{record['id']}", ())))
    after = int(call.query["cursor"]) if call.query.get("cursor", "").isdigit() else 0
    limit = min(500, call.number("limit", 100) or 100)
    rows = log[::-1][after : after + limit]
    data = [{**row, "time": v1_time(row["time"]), **_texts(row)} for _, row in rows]
    following = str(after + limit) if after + limit < len(log) else None
    return ok(data, {"next_cursor": following})


def _texts(row: Record) -> Record:
    return {name: _text(row[name]) for name in ("old_value", "new_value")}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _flow(kind: str, call: Call) -> Answer:
    """List what happened to a record: changes, activities, notes, newest first."""
    record = call.company.get(kind, call.id(), call.user)
    shown, link = shape(call), LINK_OF[kind]
    rows: list[tuple[str, Record]] = []
    for change in call.company.history.get(f"{kind}/{record['id']}", ()):
        data = {
            **change,
            "item_id": record["id"],
            "log_time": v1_time(change["time"]),
            "user_id": change["actor_user_id"],
        }
        rows.append((change["time"], {"object": f"{kind}Change", "timestamp": v1_time(change["time"]), "data": data}))
    for child in ("activity", "note", "file"):
        for one_ in living_of(call, child, **{link: record["id"]}):
            moment = v1_time(one_["add_time"])
            rows.append((one_["add_time"], {"object": child, "timestamp": moment, "data": shown.show(child, one_)}))
    rows.sort(key=lambda row: row[0], reverse=True)
    cut, pagination = window(call, [row for _, row in rows])
    return ok(cut, {"pagination": pagination})


def _permitted(kind: str, call: Call) -> Answer:
    return ok(permitted(call.company, call.company.get(kind, call.id(), call.user)))


def _mails(kind: str, call: Call) -> Answer:
    call.company.get(kind, call.id(), call.user)
    return ok(None, {"pagination": window(call, [])[1]})


# Followers


def _followers(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.id(), call.user)
    rows = call.company.followers.get(f"{kind}/{record['id']}", ())
    data = [
        {"id": row["id"], f"{LINK_OF.get(kind, 'id')}": record["id"], "user_id": row["user_id"]}
        | {"add_time": v1_time(row["add_time"])}
        for row in rows
    ]
    return ok(data, {"pagination": window(call, data)[1]})


def _follow(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.id(), call.user)
    if not str(call.fields.get("user_id")).isdigit():
        raise RefusedError("user_id must be given", 400)
    row = add_follower(call.company, kind, record["id"], int(call.fields["user_id"]), call.actor)
    data = {"id": row["id"], "user_id": row["user_id"], LINK_OF[kind]: record["id"]}
    return ok(data | {"add_time": v1_time(row["add_time"])})


def _unfollow(kind: str, call: Call) -> Answer:
    record = call.company.get(kind, call.id(), call.user)
    rows = call.company.followers.get(f"{kind}/{record['id']}", ())
    found = next((row for row in rows if row["id"] == call.id(1)), None)
    if found is None:
        raise missing("Follower")
    remove_follower(call.company, kind, record["id"], found["user_id"], call.actor)
    return ok({"id": found["id"]})


# Deals


@route("POST", "/v1/deals/{id}/duplicate")
def duplicate_deal(call: Call) -> Answer:
    """Add a copy of a deal; the answer has related records as plain ids."""
    deal = call.company.get("deal", call.id(), call.user)
    left_out = ("won_time", "lost_time", "close_time", "first_won_time", "stage_change_time", "archive_time")
    values = {name: deal[name] for name in DEFAULTS["deal"] if name not in left_out}
    made = call.company.add("deal", values | {"is_archived": False}, call.actor)
    return ok(Shape1(call.company, flat=True).show("deal", made))


@route("GET", "/v1/deals/{id}/participants")
def participants(call: Call) -> Answer:
    """List a deal's participants: its contact first."""
    deal = call.company.get("deal", call.id(), call.user)
    people = dict.fromkeys([deal["person_id"], *call.company.extras.get(f"participants/{deal['id']}", ())])
    rows = [_participant(call, deal, person_id) for person_id in people if person_id is not None]
    cut, pagination = window(call, rows)
    return ok(cut or None, {"pagination": pagination})


def _participant(call: Call, deal: Record, person_id: int) -> Record:
    person = call.company.tables["person"][person_id]
    return {
        "id": person_id,
        "person_id": {"value": person_id, "name": person["name"]},
        "person": shape(call).show("person", person),
        "added_by_user_id": {"value": deal["creator_user_id"]},
        "active_flag": True,
        "add_time": v1_time(deal["add_time"]),
        "related_item_type": "deal",
        "related_item_id": deal["id"],
    }


@route("POST", "/v1/deals/{id}/participants")
def add_participant(call: Call) -> Answer:
    """Add a person to a deal."""
    deal = call.company.get("deal", call.id(), call.user)
    if not str(call.fields.get("person_id")).isdigit():
        raise RefusedError("person_id must be an integer", 400)
    person = call.company.get("person", int(call.fields["person_id"]))
    people = call.company.extras.setdefault(f"participants/{deal['id']}", [])
    if person["id"] not in people:
        people.append(person["id"])
    return ok(_participant(call, deal, person["id"]))


@route("DELETE", "/v1/deals/{id}/participants/{deal_participant_id}")
def delete_participant(call: Call) -> Answer:
    """Take a person off a deal."""
    deal = call.company.get("deal", call.id(), call.user)
    people = call.company.extras.get(f"participants/{deal['id']}", [])
    if call.id(1) not in people:
        raise missing("Participant")
    people.remove(call.id(1))
    return ok({"id": call.id(1)})


@route("GET", "/v1/deals/summary")
def summary(call: Call) -> Answer:
    """Sum deals up by currency."""
    status = call.query.get("status")
    found = [deal for deal in call.company.living("deal") if status in (None, deal["status"])]
    totals: dict[str, Record] = {}
    for deal in found:
        total = totals.setdefault(deal["currency"], {"count": 0, "value": 0})
        total["count"] += 1
        total["value"] += deal["value"]
    for currency, total in totals.items():
        total |= {"value_converted": total["value"], "value_formatted": f"{currency} {total['value']:,}"}
    amount = sum(deal["value"] for deal in found)
    converted: dict[str, Any] = {"total_currency_converted_value": amount, "total_count": len(found)}
    converted["total_currency_converted_value_formatted"] = f"EUR {amount:,}"
    return ok({"values_total": totals, **converted})


@route("GET", "/v1/products/{id}/deals")
def product_deals(call: Call) -> Answer:
    """List the deals that a product is on."""
    product = call.company.get("product", call.id(), call.user)
    ids = dict.fromkeys(row["deal_id"] for row in living_of(call, "deal_product", product_id=product["id"]))
    return page(call, "deal", [call.company.tables["deal"][deal_id] for deal_id in ids], related=True)


def _register() -> None:
    tails: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("PUT", "merge"): _merging,
        ("GET", "changelog"): _changelog,
        ("GET", "flow"): _flow,
        ("GET", "permittedUsers"): _permitted,
        ("GET", "mailMessages"): _mails,
        ("GET", "followers"): _followers,
        ("POST", "followers"): _follow,
        ("DELETE", "followers/{follower_id}"): _unfollow,
    }
    for kind, resource in RESOURCES.items():
        for (method, tail), answer in tails.items():
            route(method, f"/v1/{resource}/{{id}}/{tail}")(_of(kind, answer))
    for tail in ("followers", "followers/{follower_id}"):
        for (method, known), answer in tails.items():
            if known == tail:
                route(method, f"/v1/products/{{id}}/{tail}")(_of("product", answer))
    for kind, resource in (("product", "products"), ("lead", "leads")):
        route("GET", f"/v1/{resource}/{{id}}/permittedUsers")(_of(kind, _permitted))


def _of(kind: str, answer: Callable[[str, Call], Answer]) -> Handler:
    return partial(answer, kind)


_register()
