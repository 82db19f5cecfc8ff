"""How generation 1 shows records: flat, related records as objects, times without a zone.

`flat=True` is the form of its webhooks, where related records are plain ids.
"""

from __future__ import annotations

from typing import Any

from pipeflow.sandbox.answers import Record, v1_time
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.custom import ADDRESS, show_v1
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.shapes_v1_small import SMALL
from pipeflow.sandbox.tally import Tally


class Shape1:
    """Show a company's records as generation 1 does, for one request."""

    def __init__(self, company: Company, *, flat: bool = False, me: int | None = None) -> None:
        self._company = company
        self._flat = flat
        self._me = me
        self._tally = Tally(company)

    def show(self, kind: str, record: Record) -> Record:
        """Show one record."""
        large = {"deal": self._deal, "person": self._person, "organization": self._organization}
        if kind in large:
            return large[kind](record)
        if kind == "activity":
            return self._activity(record)
        if kind == "lead":
            return self._lead(record)
        if kind == "product":
            return self._product(record)
        return SMALL[kind](self._company, record, self._me)

    def related(self, records: list[Record]) -> Record:
        """Collect the users, persons and organizations that records point to."""
        found: dict[str, dict[str, Any]] = {"user": {}, "person": {}, "organization": {}}
        for record in records:
            for link, kind in (("owner_id", "user"), ("person_id", "person"), ("org_id", "organization")):
                target = self._company.tables[kind].get(record.get(link))
                if target is not None:
                    found[kind][str(target["id"])] = {"id": target["id"], **self._brief(kind, target)}
        return {kind: targets for kind, targets in found.items() if targets}

    # Related records

    def _link(self, kind: str, record_id: Any) -> Any:
        target = self._company.tables[kind].get(record_id)
        if target is None:
            return None
        return record_id if self._flat else {**self._brief(kind, target), "value": record_id}

    def _face(self, user_id: Any) -> Any:
        """Show a deal's user: deals alone have a boolean where the others have a number."""
        shown = self._link("user", user_id)
        return {**shown, "has_pic": False} if isinstance(shown, dict) else shown

    def _brief(self, kind: str, target: Record) -> Record:
        if kind == "user":
            faces = {"has_pic": 0, "pic_hash": None, "active_flag": target["active_flag"]}
            return {"id": target["id"], "name": target["name"], "email": target["email"], **faces}
        if kind == "person":
            contact = {"email": target["emails"] or [EMPTY], "phone": target["phones"] or [EMPTY]}
            rest = {"owner_id": target["owner_id"], "company_id": self._company.id}
            return {"active_flag": not is_deleted(target), "name": target["name"], **contact, **rest}
        return {
            "name": target["name"],
            "people_count": self._tally.count("person", "organization", target["id"]),
            "owner_id": target["owner_id"],
            "address": (target["address"] or {}).get("value"),
            "active_flag": not is_deleted(target),
            "cc_email": self._mail(),
        }

    def _name(self, kind: str, record_id: Any) -> str | None:
        target = self._company.tables[kind].get(record_id)
        return target["name"] if target else None

    def _mail(self) -> str:
        return f"{self._company.domain}@pipedrivemail.example"

    def _next(self, kind: str, record: Record) -> Record:
        following = self._tally.next_activity(kind, record["id"]) or {}
        last = self._tally.last_activity(kind, record["id"]) or {}
        due = following.get("due_time")
        return {
            "next_activity_date": following.get("due_date"),
            "next_activity_time": due[:5] if due else None,
            "last_activity_date": last.get("due_date"),
        }

    # Kinds

    def _deal(self, deal: Record) -> Record:
        stage = self._company.tables["stage"].get(deal["stage_id"], {})
        weight = stage.get("deal_probability", 100) if deal["probability"] is None else deal["probability"]
        weighted = round(deal["value"] * weight / 100, 2) if deal["value"] else 0
        shown: Record = {
            "id": deal["id"],
            "creator_user_id": self._face(deal["creator_user_id"]),
            "user_id": self._face(deal["owner_id"]),
            "person_id": self._link("person", deal["person_id"]),
            "org_id": self._link("organization", deal["org_id"]),
            "stage_id": deal["stage_id"],
            "title": deal["title"],
            "value": deal["value"],
            "currency": deal["currency"],
            "active": deal["status"] == "open" and not deal["is_deleted"],
            "deleted": deal["is_deleted"],
            "status": "deleted" if deal["is_deleted"] else deal["status"],
            "probability": deal["probability"],
            "lost_reason": deal["lost_reason"],
            "visible_to": str(deal["visible_to"]),
            "pipeline_id": deal["pipeline_id"],
            "expected_close_date": deal["expected_close_date"],
            "label": ",".join(map(str, deal["label_ids"])) or None,
            "label_ids": deal["label_ids"],
            "is_archived": deal["is_archived"],
            "stage_order_nr": stage.get("order_nr"),
            "person_name": self._name("person", deal["person_id"]),
            "org_name": self._name("organization", deal["org_id"]),
            "owner_name": self._name("user", deal["owner_id"]),
            "formatted_value": f"{deal['currency']} {deal['value']:,}",
            "weighted_value": weighted,
            "formatted_weighted_value": f"{deal['currency']} {weighted:,}",
            "weighted_value_currency": deal["currency"],
            "rotten_time": None,
            "cc_email": f"{self._company.domain}+deal{deal['id']}@pipedrivemail.example",
            "org_hidden": False,
            "person_hidden": False,
        }
        for name in ("origin", "origin_id", "channel", "channel_id", "arr", "mrr", "acv"):
            shown[name] = deal[name]
        shown |= {f"{name}_currency": deal["currency"] if deal[name] else None for name in ("arr", "mrr", "acv")}
        for name in ("stage_change", "close", "won", "first_won", "lost", "archive", "add", "update"):
            shown[f"{name}_time"] = v1_time(deal[f"{name}_time"])
        for name in ("won", "lost", "close"):
            shown[f"local_{name}_date"] = deal[f"{name}_time"][:10] if deal[f"{name}_time"] else None
        return shown | self._next_of_deal(deal) | self._tally.counters("deal", deal["id"]) | self._custom("deal", deal)

    def _next_of_deal(self, deal: Record) -> Record:
        following = self._tally.next_activity("deal", deal["id"]) or {}
        return {
            **self._next("deal", deal),
            "next_activity_subject": following.get("subject"),
            "next_activity_type": following.get("type"),
            "next_activity_duration": (following.get("duration") or "")[:5] or None,
            "next_activity_note": following.get("note"),
        }

    def _person(self, person: Record) -> Record:
        shown: Record = {
            "id": person["id"],
            "company_id": self._company.id,
            "owner_id": self._link("user", person["owner_id"]),
            "org_id": self._link("organization", person["org_id"]),
            "name": person["name"],
            "first_name": person["first_name"],
            "last_name": person["last_name"],
            "active_flag": not person["is_deleted"],
            "phone": person["phones"] or [EMPTY],
            "email": person["emails"] or [EMPTY],
            "primary_email": next((one["value"] for one in person["emails"] if one["primary"]), None),
            "first_char": person["name"][:1].lower(),
            "visible_to": str(person["visible_to"]),
            "picture_id": person["picture_id"],
            "label": person["label_ids"][0] if person["label_ids"] else None,
            "label_ids": person["label_ids"],
            "marketing_status": person["marketing_status"],
            "org_name": self._name("organization", person["org_id"]),
            "owner_name": self._name("user", person["owner_id"]),
            "cc_email": self._mail(),
        }
        return self._contact("person", person, shown)

    def _organization(self, organization: Record) -> Record:
        address = organization["address"] or {}
        shown: Record = {
            "id": organization["id"],
            "company_id": self._company.id,
            "owner_id": self._link("user", organization["owner_id"]),
            "name": organization["name"],
            "active_flag": not organization["is_deleted"],
            "first_char": organization["name"][:1].lower(),
            "visible_to": str(organization["visible_to"]),
            "picture_id": organization["picture_id"],
            "label": organization["label_ids"][0] if organization["label_ids"] else None,
            "label_ids": organization["label_ids"],
            "country_code": organization["country_code"],
            "owner_name": self._name("user", organization["owner_id"]),
            "cc_email": self._mail(),
            "related_won_deals_count": 0,
            "related_lost_deals_count": 0,
        }
        shown |= {"address" if part == "value" else f"address_{part}": address.get(part) for part in ADDRESS}
        return self._contact("organization", organization, shown)

    def _contact(self, kind: str, record: Record, shown: Record) -> Record:
        shown |= {f"{name}_time": v1_time(record[f"{name}_time"]) for name in ("add", "update")}
        shown["delete_time"] = v1_time(record.get("delete_time"))
        return shown | self._next(kind, record) | self._tally.counters(kind, record["id"]) | self._custom(kind, record)

    def _activity(self, activity: Record) -> Record:
        location = activity["location"] or {}
        deal = self._company.tables["deal"].get(activity["deal_id"], {})
        shown: Record = {
            "id": activity["id"],
            "company_id": self._company.id,
            "user_id": activity["owner_id"],
            "assigned_to_user_id": activity["owner_id"],
            "created_by_user_id": activity["creator_user_id"],
            "done": activity["done"],
            "busy_flag": activity["busy"],
            "active_flag": not activity["is_deleted"],
            "due_time": (activity["due_time"] or "")[:5],
            "duration": (activity["duration"] or "")[:5],
            "deal_title": deal.get("title"),
            "person_name": self._name("person", activity["person_id"]),
            "org_name": self._name("organization", activity["org_id"]),
            "owner_name": self._name("user", activity["owner_id"]),
            "person_dropbox_bcc": self._mail(),
            "deal_dropbox_bcc": self._mail() if deal else None,
            "participants": [
                {"person_id": one["person_id"], "primary_flag": one["primary"]} for one in activity["participants"]
            ],
            "attendees": activity["attendees"] or None,
            "location": location.get("value"),
        }
        for name in ("subject", "type", "deal_id", "lead_id", "person_id", "org_id", "project_id", "due_date", "note"):
            shown[name] = activity[name]
        for name in ("public_description", "priority", "update_user_id", "conference_meeting_url"):
            shown[name] = activity[name]
        shown |= {f"location_{part}": location.get(part) for part in ADDRESS if part != "value"}
        for name in ("add_time", "update_time", "marked_as_done_time"):
            shown[name] = v1_time(activity[name])
        return shown

    def _lead(self, lead: Record) -> Record:
        following = self._tally.next_activity("lead", lead["id"])
        shown = {key: value for key, value in lead.items() if key not in ("is_deleted", "delete_time", "custom_fields")}
        shown["next_activity_id"] = following["id"] if following else None
        shown["cc_email"] = f"{self._company.domain}+lead{lead['id']}@pipedrivemail.example"
        fields = self._company.custom_fields("lead").values()
        return shown | show_v1(lead["custom_fields"], fields, only_set=True)

    def _product(self, product: Record) -> Record:
        shown: Record = {
            "id": product["id"],
            "owner_id": self._link("user", product["owner_id"]),
            "active_flag": not product["is_deleted"],
            "selectable": product["is_linkable"],
            "visible_to": str(product["visible_to"]),
            "first_char": product["name"][:1].lower(),
            "prices": [
                {"id": number, "product_id": product["id"], **one} for number, one in enumerate(product["prices"], 1)
            ],
            "files_count": None,
        }
        for name in ("name", "code", "description", "unit", "tax", "category", "billing_frequency"):
            shown[name] = product[name]
        shown |= {f"{name}_time": v1_time(product[f"{name}_time"]) for name in ("add", "update")}
        return shown | self._custom("product", product)

    def _custom(self, kind: str, record: Record) -> Record:
        return show_v1(record["custom_fields"], self._company.custom_fields(kind).values())


EMPTY: Record = {"value": "", "primary": True}
