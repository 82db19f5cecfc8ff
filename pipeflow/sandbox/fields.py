"""Field definitions: the built-in ones of each kind and the custom ones with their 40-hex keys.

A definition is kept as a plain dict; `v1_field` and `v2_field` give it the shape of its generation.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pipeflow.sandbox.answers import Record, v1_time, v2_time

# key, name, type; a key that ends in `?` comes only when asked for by `include_fields`.
BUILT_IN: Final[dict[str, str]] = {
    "deal": """id ID int|title Title varchar|value Value monetary|currency Currency varchar|status Status status
        |stage_id Stage stage|pipeline_id Pipeline double|owner_id Owner user|creator_user_id Creator user
        |person_id Contact_person people|org_id Organization org|label_ids Label set|probability Probability int
        |lost_reason Lost_reason varchar_options|visible_to Visible_to visible_to|add_time Deal_created date
        |update_time Update_time date|stage_change_time Last_stage_change date|close_time Deal_closed_on date
        |won_time Won_time date|lost_time Lost_time date|expected_close_date Expected_close_date date
        |is_archived Archive_status boolean|archive_time Archive_time date|origin Source_origin varchar
        |origin_id Source_origin_ID varchar|channel Source_channel enum|channel_id Source_channel_ID varchar
        |source_lead_id Source_lead lead|arr ARR monetary|mrr MRR monetary|acv ACV monetary
        |next_activity_id? Next_activity activity|last_activity_id? Last_activity activity
        |first_won_time? First_won_time date|activities_count? Total_activities int
        |done_activities_count? Done_activities int|undone_activities_count? Activities_to_do int
        |files_count? Files_count int|notes_count? Notes_count int|followers_count? Followers_count int
        |participants_count? Participants_count int|products_count? Product_quantity int
        |email_messages_count? Email_messages_count int|last_incoming_mail_time? Last_email_received date
        |last_outgoing_mail_time? Last_email_sent date|smart_bcc_email? Smart_BCC varchar""",
    "person": """id ID int|name Name varchar|first_name First_name varchar|last_name Last_name varchar
        |owner_id Owner user|org_id Organization org|emails Email varchar|phones Phone phone|label_ids Labels set
        |visible_to Visible_to visible_to|picture_id Profile_picture picture|add_time Person_created date
        |update_time Update_time date|marketing_status Marketing_status enum|next_activity_id? Next_activity activity
        |last_activity_id? Last_activity activity|open_deals_count? Open_deals int|closed_deals_count? Closed_deals int
        |won_deals_count? Won_deals int|lost_deals_count? Lost_deals int|activities_count? Total_activities int
        |done_activities_count? Done_activities int|undone_activities_count? Activities_to_do int
        |files_count? Files_count int|notes_count? Notes_count int|followers_count? Followers_count int
        |smart_bcc_email? Smart_BCC varchar""",
    "organization": """id ID int|name Name varchar|owner_id Owner user|address Address address|label_ids Labels set
        |visible_to Visible_to visible_to|website Website varchar|linkedin LinkedIn_profile varchar
        |industry Industry enum|annual_revenue Annual_revenue double|employee_count Number_of_employees int
        |picture_id Profile_picture picture|add_time Organization_created date|update_time Update_time date
        |next_activity_id? Next_activity activity|last_activity_id? Last_activity activity
        |open_deals_count? Open_deals int|closed_deals_count? Closed_deals int|won_deals_count? Won_deals int
        |lost_deals_count? Lost_deals int|people_count? People int|activities_count? Total_activities int
        |done_activities_count? Done_activities int|undone_activities_count? Activities_to_do int
        |files_count? Files_count int|notes_count? Notes_count int|followers_count? Followers_count int
        |smart_bcc_email? Smart_BCC varchar""",
    "activity": """id ID int|subject Subject varchar|type Type enum|owner_id Assigned_to_user user
        |creator_user_id Creator user|deal_id Deal deal|lead_id Lead lead|person_id Contact_person people
        |org_id Organization org|project_id Project project|due_date Due_date date|due_time Due_time time
        |duration Duration time|busy Free/busy boolean|done Done boolean|marked_as_done_time Marked_as_done_time date
        |location Location address|participants Participants people|public_description Public_description text
        |priority Priority enum|note Note text|add_time Add_time date|update_time Last_updated_time date
        |attendees? Attendees json""",
    "product": """id ID int|name Name varchar|code Product_code varchar|description Description text
        |unit Unit varchar|tax Tax double|category Category enum|owner_id Owner user|is_linkable Active boolean
        |visible_to Visible_to visible_to|prices Unit_prices price_list
        |billing_frequency Billing_frequency billing_frequency|add_time Product_created date
        |update_time Update_time date""",
    "project": """id ID int|title Title varchar|description Description text|status Status varchar
        |board_id Board projects_board|phase_id Phase projects_phase|owner_id Owner user|start_date Start_date date
        |end_date End_date date|label_ids Labels set|add_time Project_created date|update_time Update_time date""",
    "lead": """id ID varchar|title Title varchar|value Value monetary|owner_id Owner user|creator_id Creator user
        |person_id Contact_person people|organization_id Organization org|label_ids Labels set
        |expected_close_date Expected_close_date date|source_name Source varchar|was_seen Seen boolean
        |add_time Lead_created date|update_time Update_time date""",
    "note": """id ID int|content Content text|user_id User user|deal_id Deal deal|person_id Person people
        |org_id Organization org|add_time Add_time date|update_time Update_time date""",
}

# Generation 1's names where they differ.
V1_KEYS: Final[dict[str, dict[str, str]]] = {
    "deal": {"owner_id": "user_id", "label_ids": "label"},
    "person": {"emails": "email", "phones": "phone", "label_ids": "label"},
    "organization": {"label_ids": "label"},
    "activity": {"owner_id": "user_id", "busy": "busy_flag"},
    "product": {"is_linkable": "selectable"},
}

CUSTOM_NAMES: Final = {
    "varchar": "Reference",
    "varchar_auto": "Source campaign",
    "text": "Requirements",
    "double": "Contract value",
    "monetary": "Budget",
    "enum": "Priority",
    "set": "Interests",
    "user": "Account manager",
    "org": "Partner company",
    "people": "Decision maker",
    "phone": "Hotline",
    "date": "Renewal date",
    "daterange": "Contract period",
    "time": "Preferred call time",
    "timerange": "Availability",
    "address": "Delivery address",
}
CREATABLE: Final = frozenset(CUSTOM_NAMES) | {"visible_to"}
SEARCHABLE: Final = frozenset({"address", "varchar", "text", "varchar_auto", "double", "monetary", "phone"})

# The entity under which a change of a definition is told; the real names are not published.
FIELD_ENTITIES: Final = {
    "deal": "dealField",
    "person": "personField",
    "organization": "organizationField",
    "product": "productField",
    "project": "projectField",
    "lead": "leadField",
}

STATUS_OPTIONS: Final = (("open", "Open"), ("won", "Won"), ("lost", "Lost"))
LABELS: Final = ((11, "Hot", "red"), (12, "Warm", "yellow"), (13, "Cold", "blue"))
VISIBILITY: Final = ((1, "Owner"), (3, "Entire company"))
SUBFIELDS: Final = {
    "monetary": ("currency",),
    "daterange": ("until",),
    "time": ("timezone_id",),
    "timerange": ("until", "timezone_id"),
    "address": (
        "subpremise",
        "street_number",
        "route",
        "sublocality",
        "locality",
        "admin_area_level_1",
        "admin_area_level_2",
        "country",
        "postal_code",
        "formatted_address",
    ),
}


def custom_key(seed: int, company: str, kind: str, number: int) -> str:
    """Make the 40-hex key of a custom field: the same for a seed, different in every company."""
    return hashlib.sha1(f"{seed}/{company}/{kind}/{number}".encode(), usedforsecurity=False).hexdigest()


def built_in(kind: str, now: str, first_id: int) -> list[Record]:
    """List the built-in definitions of a kind, numbered from `first_id`."""
    made = []
    for number, line in enumerate(BUILT_IN[kind].split("|")):
        key, name, field_type = line.split()
        field = definition(kind, first_id + number, key.rstrip("?"), name.replace("_", " "), field_type, now)
        field |= {"is_custom": False, "is_optional": key.endswith("?"), "order_nr": number + 1}
        field["options"] = _built_in_options(key)
        made.append(field)
    return made


def definition(kind: str, field_id: int, key: str, name: str, field_type: str, now: str) -> Record:
    """Make one custom definition without options."""
    return {
        "id": field_id,
        "kind": kind,
        "key": key,
        "name": name,
        "field_type": field_type,
        "is_custom": True,
        "is_optional": False,
        "options": None,
        "options_deleted": [],
        "order_nr": field_id,
        "description": None,
        "mandatory": False,
        "add_visible": False,
        "extra": {},
        "add_time": now,
        "update_time": now,
    }


def option(option_id: int | str, label: str, now: str | None, color: str | None = None) -> Record:
    """Make one option of a definition."""
    return {"id": option_id, "label": label, "color": color, "add_time": now, "update_time": now}


def _built_in_options(key: str) -> list[Record] | None:
    if key == "status":
        return [option(value, label, None) for value, label in STATUS_OPTIONS]
    if key == "label_ids":
        return [option(value, label, None, color) for value, label, color in LABELS]
    if key == "visible_to":
        return [option(value, label, None) for value, label in VISIBILITY]
    return None


def v1_field(field: Record, kind: str) -> Record:
    """Show a definition as generation 1 does; `kind` is the list it is shown in (leads share the deals' fields)."""
    custom = field["is_custom"]
    shown: Record = {
        "id": field["id"],
        "key": field["key"] if custom else V1_KEYS.get(kind, {}).get(field["key"], field["key"]),
        "name": field["name"],
        "order_nr": field["order_nr"],
        "field_type": field["field_type"],
        "add_time": v1_time(field["add_time"]),
        "update_time": v1_time(field["update_time"]),
        "last_updated_by_user_id": None,
        "created_by_user_id": None,
        "active_flag": True,
        "edit_flag": custom,
        "index_visible_flag": True,
        "details_visible_flag": True,
        "add_visible_flag": field["add_visible"],
        "important_flag": False,
        "bulk_edit_allowed": True,
        "searchable_flag": custom and field["field_type"] in SEARCHABLE,
        "filtering_allowed": True,
        "sortable_flag": True,
        "mandatory_flag": field["mandatory"],
    }
    if field["options"] is not None:
        shown["options"] = [{"id": one["id"], "label": one["label"]} for one in field["options"]]
        shown["options_deleted"] = [{"id": one["id"], "label": one["label"]} for one in field["options_deleted"]]
    return shown


def v2_field(field: Record, include: frozenset[str] = frozenset()) -> Record:
    """Show a definition as generation 2 does, with the blocks asked for by `include_fields`."""
    shown: Record = {
        "field_name": field["name"],
        "field_code": field["key"],
        "field_type": field["field_type"],
        "is_custom_field": field["is_custom"],
        "is_optional_response_field": field["is_optional"],
        "description": field["description"],
        "options": None if field["options"] is None else [_v2_option(one) for one in field["options"]],
        "subfields": _subfields(field),
    }
    defaults: dict[str, Any] = {
        "ui_visibility": {"add_visible_flag": field["add_visible"], "details_visible_flag": True},
        "important_fields": {"enabled": False, "stage_ids": []},
        "required_fields": {"enabled": field["mandatory"], "stage_ids": [], "statuses": {}},
    }
    for block, default in defaults.items():
        if block in include:
            shown[block] = field["extra"].get(block, default)
    return shown


def _v2_option(one: Record) -> Record:
    return {**one, "add_time": v2_time(one["add_time"]), "update_time": v2_time(one["update_time"])}


def _subfields(field: Record) -> list[Record] | None:
    parts = SUBFIELDS.get(field["field_type"])
    if not parts or not field["is_custom"]:
        return None
    return [
        {"field_code": part, "field_name": part.replace("_", " ").capitalize(), "field_type": _part_type(part)}
        for part in parts
    ]


def _part_type(part: str) -> str:
    return {"until": "date", "timezone_id": "int"}.get(part, "varchar")
