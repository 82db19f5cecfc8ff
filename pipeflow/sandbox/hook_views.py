"""How deliveries of version 2.0 show records: names that are neither generation 1's nor generation 2's."""

from __future__ import annotations

from typing import Final

from pipeflow.sandbox.answers import Record, v1_time, v2_time
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.custom import show_hook
from pipeflow.sandbox.fields import v2_field

# Kinds that are shown by a list of names alone; what is not named here is shown whole.
FIELDS: Final = {
    kind: tuple(names.split())
    for kind, names in {
        "deal": """id title value currency status stage_id pipeline_id owner_id creator_user_id person_id org_id
            label_ids probability visible_to expected_close_date add_time update_time stage_change_time close_time
            won_time first_won_time lost_time lost_reason origin origin_id channel channel_id is_archived archive_time
            custom_fields""",
        "person": """id name first_name last_name org_id owner_id emails phones label_ids visible_to add_time
            update_time custom_fields""",
        "organization": """id name owner_id address country_code label_ids picture_id website linkedin industry
            annual_revenue employee_count visible_to add_time update_time custom_fields""",
        "lead": """id title value owner_id creator_id person_id organization_id label_ids expected_close_date
            is_archived was_seen next_activity_id source_name origin origin_id channel channel_id add_time update_time
            custom_fields""",
        "note": """id user_id deal_id person_id org_id lead_id project_id content active_flag add_time update_time
            pinned_to_deal_flag pinned_to_person_flag pinned_to_organization_flag""",
        "product": """id name code description unit tax category owner_id visible_to prices add_time update_time
            custom_fields""",
    }.items()
}


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
    names = ("id", "subject", "type", "done", "owner_id", "deal_id", "person_id", "org_id", "lead_id", "due_date")
    data = {name: record[name] for name in names} | {"update_user_id": record["update_user_id"]}
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
