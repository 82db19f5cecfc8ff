"""Records as REST lists them, in the shape in which deliveries tell them, and how two states differ.

Imports records and customs; no I/O. A list and a delivery never agree in every field, so that only what both have can
differ: a field that one of them leaves out is no change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeflow.catalog.values import ADDRESS_PARTS, to_datetime
from pipeflow.customs import custom_value
from pipeflow.records import RECORDS, changes

State = dict[str, Any]

_CUSTOM = re.compile(r"^([0-9a-f]{40})(?:_(.+))?$")
_WITH_ID = frozenset({"enum", "user", "org", "people"})
_ZONED = frozenset({"time", "timerange"})
_UNSTEADY: Mapping[str, frozenset[str]] = {
    "user": frozenset({"lang", "access", "last_login", "icon_url", "modified"}),
    "activity": frozenset({"update_user_id"}),
}
"""Fields that lists and deliveries write differently, or that move without anybody having changed the record."""


def as_delivered(kind: str, listed: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> State:
    """Give a listed record (REST v1 or v2) as a delivery would tell it.

    `known` is the last state: it tells the types of custom fields, which lists leave out.
    """
    told = dict(listed)
    reshape = _RESHAPED.get(kind)
    if reshape is not None:
        told |= reshape(listed)
    model = RECORDS.get(kind)
    state = {name: value for name, value in told.items() if model is None or name in model.model_fields}
    custom = _custom_fields(listed, (known or {}).get("custom_fields") or {})
    if custom is not None:
        state["custom_fields"] = custom
    return state


def is_deleted(kind: str, listed: Mapping[str, Any]) -> bool:
    """Say whether a list shows the record as deleted."""
    if listed.get("is_deleted") is True or listed.get("status") == "deleted":
        return True
    return kind in ("note", "file", "activityType") and listed.get("active_flag") in (False, 0)


def updated_at(listed: Mapping[str, Any]) -> float | None:
    """Give when a record was last updated, or added where it never was: seconds since 1970 on Pipedrive's clock."""
    for name in ("update_time", "modified", "add_time", "created"):
        moment = seconds_of(listed.get(name))
        if moment is not None:
            return moment
    return None


def added_at(listed: Mapping[str, Any]) -> float | None:
    """Give when a record was added: seconds since 1970 on Pipedrive's clock."""
    return seconds_of(listed.get("add_time")) or seconds_of(listed.get("created"))


def seconds_of(value: Any) -> float | None:
    """Read a moment in any of Pipedrive's forms; None for what is none."""
    try:
        moment = to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return None if moment is None or moment.timestamp() <= 0 else moment.timestamp()


def differences(kind: str, state: Mapping[str, Any], before: Mapping[str, Any]) -> State:
    """Give the old values of what really changed from `before` to `state`, as `previous` of a delivery has them."""
    unsteady = _UNSTEADY.get(kind, frozenset())
    previous: State = {
        name: before[name]
        for name, value in state.items()
        if name in before and name not in unsteady and name != "custom_fields" and _differ(before[name], value)
    }
    custom, old_custom = state.get("custom_fields") or {}, before.get("custom_fields") or {}
    changed_custom = {
        key: old_custom[key]
        for key, value in custom.items()
        if key in old_custom and _custom_differ(old_custom[key], value)
    }
    really = changes(kind, {**state, "custom_fields": custom}, {**previous, "custom_fields": changed_custom})
    previous = {name: value for name, value in previous.items() if name in really}
    changed_custom = {key: value for key, value in changed_custom.items() if key in really}
    return {**previous, "custom_fields": changed_custom} if changed_custom else previous


def _differ(old: Any, new: Any) -> bool:
    nothing: tuple[Any, ...] = (None, "", [], {})
    # An address, or a time of day, is told as text by the one and as an object by the other.
    old, new = _plain(old, new), _plain(new, old)
    return bool(old != new and not (old in nothing and new in nothing))


def _plain(value: Any, beside: Any) -> Any:
    return value.get("value") if isinstance(value, Mapping) and isinstance(beside, str) else value


def _custom_differ(old: Any, new: Any) -> bool:
    kind = _type_of(old) or _type_of(new)
    if kind in _ZONED and isinstance(old, Mapping) and isinstance(new, Mapping):
        # A delivery numbers the time zone that a list names.
        return any(_clock(old, part) != _clock(new, part) for part in ("value", "from", "until"))
    return bool(custom_value(old, type=kind) != custom_value(new, type=kind))


def _clock(value: Mapping[str, Any], part: str) -> str:
    return str(value.get(part) or "")[:5]


def _type_of(value: Any) -> str | None:
    told = value.get("type") if isinstance(value, Mapping) else None
    return told if isinstance(told, str) else None


# Custom fields ------------------------------------------------------------------------------------------------------


def _custom_fields(listed: Mapping[str, Any], known: Mapping[str, Any]) -> State | None:
    nested = listed.get("custom_fields")
    if isinstance(nested, Mapping):
        return {key: _typed(value, _type_of(known.get(key))) for key, value in nested.items()}
    flat: dict[str, dict[str, Any]] = {}
    for name, value in listed.items():
        if match := _CUSTOM.match(name):
            flat.setdefault(match[1], {})[match[2] or "value"] = value
    if not flat:
        return None
    return {key: _typed(_joined(parts), _type_of(known.get(key))) for key, parts in flat.items()}


def _joined(parts: dict[str, Any]) -> Any:
    """Put a value of REST v1 together that came as several fields."""
    return parts["value"] if parts.keys() == {"value"} else parts


def _typed(value: Any, known: str | None) -> Any:
    """Give a value the typed form of a delivery, as far as value or last state tell the type."""
    if value is None or value == "":
        return None
    kind = known or _guess(value)
    if kind == "set":
        members = value if isinstance(value, list) else str(value).split(",")
        return {"type": "set", "values": [{"id": _id(member)} for member in members]}
    if kind in _WITH_ID:
        return {"type": kind, "id": _id(value)}
    if not isinstance(value, Mapping):
        return {"type": kind, "value": value}
    if kind in ("daterange", "timerange"):
        rest = {name: part for name, part in value.items() if name != "value"}
        return {"type": kind, "from": value.get("value"), **rest}
    return {"type": kind, **value}


def _guess(value: Any) -> str | None:
    if isinstance(value, list):
        return "set"
    if not isinstance(value, Mapping):
        return None
    if "currency" in value:
        return "monetary"
    zoned = "timezone_name" in value or "timezone_id" in value
    if "until" in value:
        return "timerange" if zoned else "daterange"
    if zoned:
        return "time"
    return "address" if value.keys() & set(ADDRESS_PARTS[1:]) else None


def _id(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = value.get("id", value.get("value"))
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() else value


# Kinds --------------------------------------------------------------------------------------------------------------


def _deal(listed: Mapping[str, Any]) -> State:
    return {"visible_to": _text(listed.get("visible_to"))} if "visible_to" in listed else {}


def _contact(listed: Mapping[str, Any]) -> State:
    labels = listed.get("label_ids")
    return {**_deal(listed), **({"label": labels[0] if labels else None} if isinstance(labels, list) else {})}


def _activity(listed: Mapping[str, Any]) -> State:
    people = listed.get("participants") or ()
    first = next((one.get("person_id") for one in people if isinstance(one, Mapping) and one.get("primary")), None)
    return {
        "active_flag": not listed.get("is_deleted"),
        "busy_flag": listed.get("busy") or None,
        "person_id": listed.get("person_id") or first,
    }


def _product(listed: Mapping[str, Any]) -> State:
    told = {**_deal(listed), "category": _text(listed.get("category"))}
    return {**told, "selectable": listed["is_linkable"]} if "is_linkable" in listed else told


def _pipeline(listed: Mapping[str, Any]) -> State:
    return {
        "active_flag": not listed.get("is_deleted"),
        "deal_probability": listed.get("is_deal_probability_enabled"),
    }


def _stage(listed: Mapping[str, Any]) -> State:
    return {
        "active_flag": not listed.get("is_deleted"),
        "rotten_flag": listed.get("is_deal_rot_enabled"),
        "rotten_days": listed.get("days_to_rotten"),
    }


def _user(listed: Mapping[str, Any]) -> State:
    return {"id": _text(listed.get("id"))}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_RESHAPED: Mapping[str, Callable[[Mapping[str, Any]], State]] = {
    "deal": _deal,
    "person": _contact,
    "organization": _contact,
    "activity": _activity,
    "product": _product,
    "pipeline": _pipeline,
    "stage": _stage,
    "user": _user,
}
