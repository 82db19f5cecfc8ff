"""What a delivery says: the bodies of both payload versions, as recorded deliveries have them."""

from __future__ import annotations

from typing import Any, Final

from pipeflow.sandbox.answers import Record, v1_time, v2_time
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.company import Change, Company
from pipeflow.sandbox.custom import show_hook
from pipeflow.sandbox.fields import v2_field
from pipeflow.sandbox.shapes_v1 import Shape1

DEAL: Final = """id title value currency status stage_id pipeline_id owner_id creator_user_id person_id org_id label_ids
    probability visible_to expected_close_date add_time update_time stage_change_time close_time won_time first_won_time
    lost_time lost_reason origin origin_id channel channel_id is_archived archive_time custom_fields"""
FIELDS: Final = {
    "deal": DEAL.split(),
    "person": [
        "id",
        "name",
        "first_name",
        "last_name",
        "org_id",
        "owner_id",
        "emails",
        "phones",
        "label_ids",
        "visible_to",
        "add_time",
        "update_time",
        "custom_fields",
    ],
    "organization": [
        "id",
        "name",
        "owner_id",
        "address",
        "country_code",
        "label_ids",
        "picture_id",
        "website",
        "linkedin",
        "industry",
        "annual_revenue",
        "employee_count",
        "visible_to",
        "add_time",
        "update_time",
        "custom_fields",
    ],
    "lead": [
        "id",
        "title",
        "value",
        "owner_id",
        "creator_id",
        "person_id",
        "organization_id",
        "label_ids",
        "expected_close_date",
        "is_archived",
        "was_seen",
        "next_activity_id",
        "source_name",
        "origin",
        "origin_id",
        "channel",
        "channel_id",
        "add_time",
        "update_time",
        "custom_fields",
    ],
    "note": [
        "id",
        "user_id",
        "deal_id",
        "person_id",
        "org_id",
        "lead_id",
        "project_id",
        "content",
        "active_flag",
        "add_time",
        "update_time",
        "pinned_to_deal_flag",
        "pinned_to_person_flag",
        "pinned_to_organization_flag",
    ],
    "product": [
        "id",
        "name",
        "code",
        "description",
        "unit",
        "tax",
        "category",
        "owner_id",
        "visible_to",
        "prices",
        "add_time",
        "update_time",
        "custom_fields",
    ],
}
# A deal's own bookkeeping moves without being named in `previous`.
UNTOLD: Final = frozenset({"update_time", "stage_change_time"})
V1_ACTIONS: Final = {"create": "added", "change": "updated", "delete": "deleted"}


def hook_data(company: Company, kind: str, record: Record, *, fresh: bool = False) -> Record:
    """Show a record as webhooks of version 2.0 do; `fresh` is how it looks when it was just created."""
    if kind.endswith("Field"):
        return {"id": record["id"], **v2_field(record)}
    special = {"activity": _activity, "user": _user, "pipeline": _pipeline, "stage": _stage}
    if kind in special:
        return special[kind](record, fresh)
    names = FIELDS.get(kind) or [name for name in record if name not in ("is_deleted", "delete_time")]
    data = {name: record[name] for name in names}
    if kind != "lead":
        data = {name: v2_time(value) if name.endswith("_time") else value for name, value in data.items()}
    if "custom_fields" in data:
        data["custom_fields"] = show_hook(record["custom_fields"], company.custom_fields(kind).values())
    if "visible_to" in data:
        data["visible_to"] = str(data["visible_to"])
    if kind == "deal" and fresh:
        data["update_time"] = None
    if kind in ("person", "organization"):
        data["label"] = record["label_ids"][0] if record["label_ids"] else None
    if kind == "product":
        data |= {"selectable": record["is_linkable"], "category": record["category"] and str(record["category"])}
        data["prices"] = [{"product_id": record["id"], **one} for one in record["prices"]]
    return data


def _activity(record: Record, fresh: bool) -> Record:
    names = [
        "id",
        "subject",
        "type",
        "done",
        "owner_id",
        "deal_id",
        "person_id",
        "org_id",
        "lead_id",
        "due_date",
        "update_user_id",
    ]
    data = {name: record[name] for name in names}
    data |= {"active_flag": not record["is_deleted"], "busy_flag": record["busy"] or None, "custom_fields": {}}
    data |= {"location": record["location"], "public_description": record["public_description"] or ""}
    for name in ("due_time", "duration"):
        # A changed activity has objects where a created one has plain values.
        data[name] = record[name] if fresh else {"timezone_id": None, "value": record[name] or ""}
    return data | _times(record)


def _user(record: Record, fresh: bool) -> Record:
    names = ["name", "email", "phone", "default_currency", "locale", "active_flag", "timezone_name", "icon_url"]
    data = {"id": str(record["id"]), "lang": "en-GB", **{name: record[name] for name in names}}
    data |= {"last_login": v1_time(record["last_login"]), "created": v1_time(record["add_time"])}
    access = [
        {"app": "sales", "admin": record["is_admin"], "permission_set_id": "6b0f9b9e-0000-4000-8000-000000000002"}
    ]
    return data | {"modified": v1_time(record["update_time"]), "access": access}


def _pipeline(record: Record, fresh: bool) -> Record:
    data = {"id": record["id"], "name": record["name"], "url_title": record["name"].lower().replace(" ", "-")}
    data |= {"order_nr": record["order_nr"], "active_flag": not record["is_deleted"]}
    return data | {"deal_probability": record["is_deal_probability_enabled"]} | _times(record)


def _stage(record: Record, fresh: bool) -> Record:
    data = {name: record[name] for name in ("id", "name", "pipeline_id", "order_nr", "deal_probability")}
    data |= {"active_flag": not record["is_deleted"], "rotten_flag": record["is_deal_rot_enabled"]}
    return data | {"rotten_days": record["days_to_rotten"]} | _times(record)


def _times(record: Record) -> Record:
    return {"add_time": v2_time(record["add_time"]), "update_time": v2_time(record["update_time"])}


def permitted(company: Company, record: Record) -> list[int]:
    """List the users who may see a record."""
    return [user["id"] for user in company.users if user["active_flag"] and company.may_see(user, record)]


def body_v2(change: Change, webhook: Record, event_id: str) -> Record:
    """Write the body of a delivery of version 2.0."""
    company, user_event = change.company, change.kind == "user"
    moment = parse(change.time)
    meta: Record = {
        "action": change.action,
        "entity": change.kind,
        "entity_id": str(change.record_id),
        "company_id": str(company.id),
        "user_id": str(change.actor.user_id),
        "id": str(change.record_id) if user_event else event_id,
        "correlation_id": change.correlation_id,
        "timestamp": int(moment.timestamp()) if user_event else change.time,
        "version": "2.0",
        "type": webhook["type"],
        "webhook_id": str(webhook["id"]),
        "webhook_owner_id": str(webhook["owner_id"]),
        "change_source": change.actor.source,
        "is_bulk_edit": change.actor.bulk,
        "attempt": 1,
        "host": f"{company.domain}.pipedrive.com",
    }
    if not user_event:
        seen = permitted(company, change.after or change.before or {})
        meta["permitted_user_ids"] = [str(one) for one in seen]
    meta |= {name: str(value) for name, value in change.meta.items()}
    return {"meta": meta, "data": _data(change), "previous": _previous(change)}


def _data(change: Change) -> Record | None:
    if change.after is None:
        return None
    return hook_data(change.company, change.kind, change.after, fresh=change.action == "create")


def _previous(change: Change) -> Record | None:
    if change.before is None:
        return None
    before = hook_data(change.company, change.kind, change.before)
    if change.after is None:
        return before
    after = hook_data(change.company, change.kind, change.after)
    changed: Record = {
        name: value
        for name, value in before.items()
        if name not in UNTOLD and name != "custom_fields" and value != after.get(name)
    }
    old, new = before.get("custom_fields") or {}, after.get("custom_fields") or {}
    if custom := {key: value for key, value in old.items() if value != new.get(key)}:
        changed["custom_fields"] = custom
    if change.kind == "lead":
        # Told with every lead, changed or not, as in the vendor's own sample.
        changed["next_activity_id"] = change.before["next_activity_id"]
    return changed


def body_v1(change: Change, webhook: Record) -> Record:
    """Write the body of a delivery of version 1.0; a merge is one delivery whose two records are different ones."""
    company, moment = change.company, parse(change.time)
    merged = change.meta.get("merged_from_id")
    action = "merged" if merged is not None else V1_ACTIONS[change.action]
    shape = Shape1(company, flat=True)
    current = _v1(shape, change.kind, change.after)
    previous = _v1(shape, change.kind, change.before)
    if merged is not None:
        current = {**(current or {}), "merge_what_id": merged}
        previous = _v1(shape, change.kind, company.tables[change.kind][merged])
    micro = int(moment.timestamp() * 1_000_000)
    meta: Record = {
        "v": 1,
        "action": action,
        "object": change.kind,
        "id": change.record_id,
        "company_id": company.id,
        "user_id": change.actor.user_id,
        "host": f"{company.domain}.pipedrive.com",
        "timestamp": micro // 1_000_000,
        "timestamp_micro": micro,
        "prepublish_timestamp": micro // 1000,
        "permitted_user_ids": permitted(company, change.after or change.before or {}),
        "trans_pending": False,
        "is_bulk_update": change.actor.bulk,
        "pipedrive_service_name": False,
        "change_source": change.actor.source,
        "matches_filters": {"current": []},
        "webhook_id": str(webhook["id"]),
    }
    event = {"v": 1, "matches_filters": {"current": []}, "meta": meta, "current": current, "previous": previous}
    return event | {"event": f"{action}.{change.kind}", "retry": 0}


def _v1(shape: Shape1, kind: str, record: Record | None) -> dict[str, Any] | None:
    return None if record is None else shape.show(kind, record)
