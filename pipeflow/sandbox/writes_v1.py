"""Read generation 1's bodies: lenient, old names, custom fields beside the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pipeflow.sandbox.answers import Record, RefusedError
from pipeflow.sandbox.clock import parse, stamp
from pipeflow.sandbox.custom import ADDRESS, read_v1
from pipeflow.sandbox.kinds import DEFAULTS
from pipeflow.sandbox.routing import Call

# Old name -> the state's name.
RENAMED: Final[dict[str, dict[str, str]]] = {
    "deal": {"user_id": "owner_id", "label": "label_ids"},
    "person": {"email": "emails", "phone": "phones", "label": "label_ids"},
    "organization": {"label": "label_ids"},
    "activity": {
        "user_id": "owner_id",
        "assigned_to_user_id": "owner_id",
        "busy_flag": "busy",
        "participants": "participants",
    },
    "product": {"selectable": "is_linkable"},
    "pipeline": {"deal_probability": "is_deal_probability_enabled", "active": "is_active"},
    "project": {"labels": "label_ids"},
    "task": {"done": "is_done"},
    "deal_product": {"enabled_flag": "is_enabled"},
    "stage": {"rotten_flag": "is_deal_rot_enabled", "rotten_days": "days_to_rotten"},
}
INTEGERS: Final = frozenset(
    [
        *("owner_id", "user_id", "person_id", "org_id", "organization_id", "deal_id", "stage_id", "pipeline_id"),
        *("project_id", "product_id", "activity_id", "probability", "order_nr", "visible_to", "priority"),
        *("days_to_rotten", "channel", "board_id", "phase_id", "deal_probability", "health_status"),
        "billing_frequency_cycles",
    ]
)
LARGEST: Final = 2**53
NUMBERS: Final = frozenset({"value", "item_price", "quantity", "discount", "tax", "amount"})
MOMENTS: Final = frozenset({"add_time", "close_time", "won_time", "lost_time", "archive_time"})
COMPOSED: Final = frozenset({"address", "location", "conditions", "attendees"})
READ_ONLY: Final = frozenset(
    ["id", "update_time", "is_deleted", "custom_fields", "stage_change_time", "first_won_time", "token", "delete_time"]
)


def read(call: Call, kind: str, before: Record) -> Record:
    """Read a body into the state's form; what is unknown or unreadable is left out."""
    values: Record = {}
    names = RENAMED.get(kind, {})
    for given, raw in call.fields.items():
        name = names.get(given, given)
        if (name not in DEFAULTS[kind] or name in READ_ONLY) and name != "add_time":
            continue
        value = _value(kind, name, raw)
        # A null where there must be something counts as not given.
        if value is not None or (DEFAULTS[kind].get(name) is None and name != "add_time"):
            values[name] = value
    if "custom_fields" in DEFAULTS[kind]:
        custom = read_v1(call.fields, call.company.custom_fields(kind), before.get("custom_fields", {}))
        if custom:
            values["custom_fields"] = custom
    if "address" in values and kind == "organization":
        values["address"] = _address(values["address"])
    if "location" in values:
        values["location"] = _address(values["location"])
    return values


def _value(kind: str, name: str, raw: Any) -> Any:
    special: dict[str, Callable[[Any], Any]] = {
        "label_ids": _labels if kind != "lead" else _texts,
        "emails": _contacts,
        "phones": _contacts,
        "participants": _participants,
        "prices": _objects,
    }
    default = DEFAULTS[kind].get(name)
    if raw is None:
        return [] if isinstance(default, list) else None
    if name in special:
        return special[name](raw)
    if isinstance(default, list):
        return _numbers(name, raw)
    if name in COMPOSED or (kind == "lead" and name in ("value", "visible_to")):
        return raw
    if name in INTEGERS or (kind != "lead" and name.endswith("_id") and name not in ("lead_id", "origin_id")):
        return _integer(name, raw)
    if name in NUMBERS:
        return _number(name, raw)
    if name in MOMENTS:
        return _moment(name, raw)
    if isinstance(default, bool):
        return raw in (True, 1, "1", "true")
    if isinstance(raw, list | dict):
        raise RefusedError(f"{name} must be a single value", 400)
    return raw if raw is None else str(raw)


def _integer(name: str, raw: Any) -> int | None:
    if raw in ("", "0", 0) and name != "probability":
        return None
    try:
        number = int(raw)
        if abs(number) > LARGEST:
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        if name in ("channel", "channel_id"):
            return None
        raise RefusedError(f"{name} must be an integer", 400) from None


def _number(name: str, raw: Any) -> int | float:
    try:
        number = float(raw or 0)
    except (TypeError, ValueError, OverflowError):
        raise RefusedError(f"{name} must be a number", 400) from None
    return int(number) if number.is_integer() and abs(number) <= LARGEST else number


def _moment(name: str, raw: Any) -> str | None:
    if not raw:
        return None
    try:
        return stamp(parse(str(raw)))
    except ValueError:
        raise RefusedError(f"{name} must be a time such as 2026-03-05 08:09:10", 400) from None


def _numbers(name: str, raw: Any) -> list[int]:
    if not isinstance(raw, list):
        raise RefusedError(f"{name} must be a list", 400)
    return [int(one) for one in raw if str(one).isdigit()]


def _texts(raw: Any) -> list[str]:
    return [one for one in raw if isinstance(one, str)] if isinstance(raw, list) else []


def _objects(raw: Any) -> list[Record]:
    return [one for one in raw if isinstance(one, dict)] if isinstance(raw, list) else []


def _labels(raw: Any) -> list[int]:
    pieces = raw if isinstance(raw, list) else str(raw).split(",")
    return [int(one) for one in pieces if str(one).strip().isdigit()]


def _contacts(raw: Any) -> list[Record]:
    """Read e-mails or phones: one text, several texts, or objects."""
    pieces = raw if isinstance(raw, list) else [raw]
    return [one if isinstance(one, dict) else {"value": str(one)} for one in pieces if one]


def _participants(raw: Any) -> list[Record]:
    pieces = raw if isinstance(raw, list) else []
    return [
        {"person_id": int(one["person_id"]), "primary": bool(one.get("primary_flag"))}
        for one in pieces
        if isinstance(one, dict) and str(one.get("person_id", "")).isdigit()
    ]


def _address(raw: Any) -> Record | None:
    if not raw:
        return None
    parts = raw if isinstance(raw, dict) else {"value": str(raw), "formatted_address": str(raw)}
    return {part: parts.get(part) for part in ADDRESS}
