"""Generation 1: products on deals; retired, and kept together with generation 2's."""

from __future__ import annotations

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.v1_common import living_of, page, shape
from pipeflow.sandbox.writes_v1 import read


@route("GET", "/v1/deals/{id}/products")
def deal_products(call: Call) -> Answer:
    """List the products of a deal, with the products themselves where asked for."""
    deal = call.company.get("deal", call.id(), call.user)
    answer = page(call, "deal_product", living_of(call, "deal_product", deal_id=deal["id"]))
    if call.flag("include_product_data"):
        for row in answer.body["data"] or []:
            row["product"] = shape(call).show("product", call.company.tables["product"][row["product_id"]])
    return answer


@route("POST", "/v1/deals/{id}/products")
def attach(call: Call) -> Answer:
    """Put a product on a deal."""
    deal = call.company.get("deal", call.id(), call.user)
    if wanted := [name for name in ("product_id", "item_price", "quantity") if call.fields.get(name) is None]:
        raise RefusedError(f"{wanted[0]} must be given", 400)
    row = call.company.add("deal_product", {**read(call, "deal_product", {}), "deal_id": deal["id"]}, call.actor)
    return ok(_shown(call, row), status=201)


@route("PUT", "/v1/deals/{id}/products/{product_attachment_id}")
def change_attached(call: Call) -> Answer:
    """Change a product on a deal."""
    row = _attached(call)
    return ok(_shown(call, call.company.change("deal_product", row["id"], read(call, "deal_product", row), call.actor)))


@route("DELETE", "/v1/deals/{id}/products/{product_attachment_id}")
def detach(call: Call) -> Answer:
    """Take a product off a deal."""
    return ok({"id": call.company.delete("deal_product", _attached(call)["id"], call.actor)["id"]})


def _attached(call: Call) -> Record:
    row = call.company.get("deal_product", call.id(1))
    if is_deleted(row) or row["deal_id"] != call.id():
        raise missing("Deal product")
    return row


def _shown(call: Call, row: Record) -> Record:
    return {**shape(call).show("deal_product", row), "company_id": call.company.id, "product_attachment_id": row["id"]}
