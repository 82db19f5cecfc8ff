"""Turn a lead into a deal and back. The source is deleted, its notes, files and activities move over."""

from __future__ import annotations

from typing import Any

from pipeflow.sandbox.answers import Record, RefusedError
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.kinds import is_deleted


def lead_to_deal(company: Company, lead_id: str, given: Record, actor: Actor) -> Record:
    """Turn a lead into a deal; gives the conversion with its id."""
    lead = company.get("lead", lead_id)
    _convertible(lead)
    value = lead["value"] or {"amount": 0, "currency": "EUR"}
    values: Record = {
        "title": lead["title"],
        "value": value["amount"],
        "currency": value["currency"],
        "owner_id": lead["owner_id"],
        "person_id": lead["person_id"],
        "org_id": lead["organization_id"],
        "expected_close_date": lead["expected_close_date"],
        "custom_fields": lead["custom_fields"],
        "source_lead_id": lead_id,
        **{name: given[name] for name in ("stage_id", "pipeline_id") if given.get(name) is not None},
    }
    deal = company.add("deal", values, actor)
    _move(company, {"lead_id": lead_id}, {"lead_id": None, "deal_id": deal["id"]}, actor)
    company.delete("lead", lead_id, actor)
    return _noted(company, deal_id=deal["id"])


def deal_to_lead(company: Company, deal_id: int, actor: Actor) -> Record:
    """Turn a deal into a lead; gives the conversion with its id."""
    deal = company.get("deal", deal_id)
    _convertible(deal)
    values: Record = {
        "title": deal["title"],
        "value": {"amount": deal["value"], "currency": deal["currency"]},
        "owner_id": deal["owner_id"],
        "person_id": deal["person_id"],
        "organization_id": deal["org_id"],
        "expected_close_date": deal["expected_close_date"],
        "custom_fields": deal["custom_fields"],
        "source_deal_id": deal_id,
        "source_name": "Deal",
    }
    lead = company.add("lead", values, actor)
    _move(company, {"deal_id": deal_id}, {"deal_id": None, "lead_id": lead["id"]}, actor)
    company.delete("deal", deal_id, actor)
    return _noted(company, lead_id=lead["id"])


def _convertible(record: Record) -> None:
    if is_deleted(record) or record["is_archived"]:
        raise RefusedError("An archived or deleted record cannot be converted", 400)


def _move(company: Company, old: Record, new: Record, actor: Actor) -> None:
    (link, target) = next(iter(old.items()))
    for kind in ("activity", "note", "file"):
        for record in list(company.living(kind)):
            if record.get(link) == target:
                company.change(kind, record["id"], new, actor)


def _noted(company: Company, **result: Any) -> Record:
    conversion_id = company.new_uuid(f"conversion/{company.next_number('conversion')}")
    made: Record = {"conversion_id": conversion_id, "asked": False, **result}
    company.conversions[conversion_id] = made
    return made
