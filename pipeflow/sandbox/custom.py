"""Values of custom fields in their three shapes: generation 1 (flat), generation 2 (as kept), webhooks (typed).

Imports nothing of ours but the sandbox's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeflow.sandbox.answers import Record, RefusedError, invalid

ZONES: Final = {
    "UTC": 1,
    "Europe/London": 283,
    "Europe/Tallinn": 310,
    "Europe/Berlin": 266,
    "Europe/Kyiv": 279,
    "America/New_York": 151,
    "America/Los_Angeles": 137,
    "America/Sao_Paulo": 175,
    "Asia/Tokyo": 241,
    "Asia/Kolkata": 217,
    "Australia/Sydney": 255,
}
ZONE_NAMES: Final = {number: name for name, number in ZONES.items()}
ADDRESS: Final = (
    "value",
    "street_number",
    "route",
    "subpremise",
    "sublocality",
    "locality",
    "admin_area_level_1",
    "admin_area_level_2",
    "country",
    "postal_code",
    "formatted_address",
)
TEXT_LIMITS: Final = {"varchar": 255, "varchar_auto": 255, "phone": 255, "text": 65_000}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
_HEX = re.compile(r"[0-9a-f]{40}")


def is_key(text: str) -> bool:
    """Tell whether `text` looks like the key of a custom field."""
    return _HEX.fullmatch(text) is not None


# Generation 2: what is kept


def read_v2(given: Mapping[str, Any], fields: Mapping[str, Record]) -> Record:
    """Check custom fields as generation 2 writes them; a key that no definition has fails the whole request."""
    values: Record = {}
    for key, value in given.items():
        field = fields.get(key)
        if field is None:
            raise invalid(f"custom_fields.{key}: unknown field")
        values[key] = None if value is None else _checked(field, value)
    return values


def _checked(field: Record, value: Any) -> Any:
    kind, code = field["field_type"], field["key"]
    if kind in TEXT_LIMITS:
        return _text(code, value, TEXT_LIMITS[kind])
    if kind == "double":
        return _number(code, value)
    if kind == "enum":
        return _option(field, value)
    if kind == "set":
        if not isinstance(value, list) or not value:
            raise invalid(f"custom_fields.{code}: must be a list of at least one option id, or null")
        return [_option(field, one) for one in value]
    if kind in ("user", "org", "people", "visible_to"):
        return _integer(code, value)
    if kind == "date":
        return _matching(code, value, _DATE, "date")
    return _composed(field, value)


def _composed(field: Record, value: Any) -> Any:
    kind, code = field["field_type"], field["key"]
    if kind == "time" and isinstance(value, str):
        value = {"value": value}
    if not isinstance(value, Mapping):
        raise invalid(f"custom_fields.{code}: must be an object")
    if kind == "monetary":
        currency = value.get("currency")
        amount = value.get("value")
        return {"value": None if amount is None else _number(code, amount), "currency": currency}
    if kind == "daterange":
        return {part: _matching(code, value.get(part), _DATE, "date") for part in ("value", "until")}
    if kind == "address":
        if not isinstance(value.get("value"), str):
            raise invalid(f"custom_fields.{code}.value: is required")
        return {part: value.get(part) for part in ADDRESS}
    parts = ("value",) if kind == "time" else ("value", "until")
    times = {part: _clock(code, value.get(part)) for part in parts}
    return {**times, "timezone_name": _zone(value)}


def _text(code: str, value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise invalid(f"custom_fields.{code}: must be a string")
    if len(value) > limit:
        raise invalid(f"custom_fields.{code}: must not be longer than {limit} characters")
    return value


def _number(code: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"custom_fields.{code}: must be a number")
    return value


def _integer(code: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(f"custom_fields.{code}: must be an integer")
    return value


def _matching(code: str, value: Any, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise invalid(f"custom_fields.{code}: must be a {what}")
    return value


def _clock(code: str, value: Any) -> str:
    text = _matching(code, value, _TIME, "time")
    return text if len(text) == 8 else f"{text}:00"


def _option(field: Record, value: Any) -> int:
    number = _integer(field["key"], value)
    if all(one["id"] != number for one in field["options"] or ()):
        raise invalid(f"custom_fields.{field['key']}: unknown option {number}")
    return number


def _zone(value: Mapping[str, Any]) -> str:
    name = value.get("timezone_name")
    if isinstance(name, str):
        return name
    return ZONE_NAMES.get(value.get("timezone_id", 1), "UTC")


def show_v2(values: Mapping[str, Any], fields: Iterable[Record], *, labels: bool = False) -> Record:
    """Show custom fields as generation 2 does: every key, null where empty; `labels` writes options in full."""
    if not labels:
        return {(key := field["key"]): values.get(key) for field in fields}
    return {field["key"]: _shown_v2(field, values.get(field["key"])) for field in fields}


def _shown_v2(field: Record, value: Any) -> Any:
    if value is None or field["field_type"] not in ("enum", "set"):
        return value
    names = {one["id"]: one["label"] for one in field["options"] or ()}
    if field["field_type"] == "enum":
        return {"id": value, "label": names.get(value)}
    return [{"id": one, "label": names.get(one)} for one in value]


# Generation 1: flat, with suffixed keys


def show_v1(values: Mapping[str, Any], fields: Iterable[Record], *, only_set: bool = False) -> Record:
    """Show custom fields as generation 1 does, beside the record's other fields."""
    shown: Record = {}
    for field in fields:
        value = values.get(field["key"])
        if value is None and only_set:
            continue
        shown |= _shown_v1(field["key"], field["field_type"], value)
    return shown


def _shown_v1(key: str, kind: str, value: Any) -> Record:
    if kind == "enum":
        return {key: None if value is None else str(value)}
    if kind == "set":
        return {key: None if value is None else ",".join(map(str, value))}
    if kind == "address":
        return {key if part == "value" else f"{key}_{part}": (value or {}).get(part) for part in ADDRESS}
    if kind not in ("monetary", "daterange", "time", "timerange"):
        return {key: value}
    value = value or {}
    shown = {key: value.get("value")}
    if kind == "monetary":
        shown[f"{key}_currency"] = value.get("currency")
    if kind in ("daterange", "timerange"):
        shown[f"{key}_until"] = value.get("until")
    if kind in ("time", "timerange"):
        shown[f"{key}_timezone_id"] = ZONES.get(value["timezone_name"], 1) if value else None
    return shown


def read_v1(given: Mapping[str, Any], fields: Mapping[str, Record], kept: Mapping[str, Any]) -> Record:
    """Read custom fields as generation 1 writes them; whatever cannot be read is left out, as Pipedrive does.

    `kept` are the values there are: a suffixed key alone changes only its part.
    """
    values: Record = {}
    for key, field in fields.items():
        parts = {name[41:]: given[name] for name in given if name.startswith(f"{key}_")}
        if key not in given and not parts:
            continue
        raw = given.get(key, _whole(kept.get(key)))
        if raw in (None, ""):
            values[key] = None
            continue
        try:
            values[key] = _checked(field, _from_v1(field["field_type"], raw, parts, kept.get(key)))
        except (RefusedError, ValueError, TypeError):
            continue
    return values


def _whole(value: Any) -> Any:
    return value.get("value") if isinstance(value, Mapping) else value


def _from_v1(kind: str, raw: Any, parts: Mapping[str, Any], kept: Any) -> Any:
    if kind in TEXT_LIMITS:
        return str(raw)
    if kind == "double":
        return float(raw)
    if kind in ("enum", "user", "org", "people", "visible_to"):
        return int(raw)
    if kind == "set":
        return [int(one) for one in (raw if isinstance(raw, list) else str(raw).split(","))]
    if kind == "date":
        return str(raw)[:10]
    before = dict(kept) if isinstance(kept, Mapping) else {}
    if kind == "monetary":
        return {"currency": parts.get("currency", before.get("currency", "EUR")), "value": float(raw)}
    if kind == "address":
        return {**parts, "value": str(raw)}
    zone = {"timezone_id": int(parts["timezone_id"])} if parts.get("timezone_id") else {}
    return (
        {"timezone_name": before.get("timezone_name"), "until": parts.get("until", before.get("until"))}
        | zone
        | {"value": str(raw)}
    )


# Webhooks: typed objects


def show_hook(values: Mapping[str, Any], fields: Iterable[Record]) -> Record:
    """Show custom fields as webhooks of version 2.0 do: typed objects, a bare null where empty."""
    return {
        field["key"]: None if (value := values.get(field["key"])) is None else hook_value(field["field_type"], value)
        for field in fields
    }


def hook_value(kind: str, value: Any) -> Any:
    """Wrap one value as webhooks of version 2.0 do."""
    if value is None:
        return None
    if kind in ("enum", "user", "org", "people"):
        return {"type": kind, "id": value}
    if kind == "set":
        return {"type": kind, "values": [{"id": one} for one in value]}
    if kind == "daterange":
        return {"type": kind, "from": value["value"], "until": value["until"]}
    if kind == "time":
        return {"type": kind, "value": value["value"], "timezone_id": ZONES.get(value["timezone_name"], 1)}
    if kind == "timerange":
        zone = ZONES.get(value["timezone_name"], 1)
        return {"type": kind, "from": value["value"], "until": value["until"], "timezone_id": zone}
    if kind in ("monetary", "address"):
        return {"type": kind, **value}
    return {"type": kind, "value": value}
