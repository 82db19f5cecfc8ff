"""Turns a delivery of payload version 1.0 into the shape of version 2.0. Knows fields, not events; no I/O.

Version 1.0 sends the whole record twice, flat and in the words of REST v1. Version 2.0 sends the record once and only
what changed of the other; custom fields stand in a mapping of their own, each with its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeflow.catalog.values import ADDRESS_PARTS
from pipeflow.customs import gathered

_RENAMED: dict[str, dict[str, str]] = {
    "deal": {"user_id": "owner_id"},
    "person": {"email": "emails", "phone": "phones"},
    "activity": {"assigned_to_user_id": "owner_id", "user_id": "owner_id", "created_by_user_id": "creator_user_id"},
    "pipeline": {"active": "active_flag"},
}
"""The later name wins where two become one (an activity's `user_id` over `assigned_to_user_id`)."""

_DERIVED_PREFIXES = ("formatted_", "weighted_", "next_activity_", "last_activity_", "local_")
_DERIVED_SUFFIXES = ("_count",)
_DERIVED: dict[str, frozenset[str]] = {
    "deal": frozenset(
        [
            "active",
            "deleted",
            "person_name",
            "org_name",
            "owner_name",
            "stage_order_nr",
            "rotten_time",
            "cc_email",
            "acv",
            "arr",
            "mrr",
            "acv_currency",
            "arr_currency",
            "mrr_currency",
            "person_hidden",
            "org_hidden",
            "last_incoming_mail_time",
            "last_outgoing_mail_time",
            "merge_what_id",
        ]
    ),
    "person": frozenset(
        [
            "owner_name",
            "org_name",
            "cc_email",
            "first_char",
            "company_id",
            "last_incoming_mail_time",
            "last_outgoing_mail_time",
            "merge_what_id",
        ]
    ),
    "organization": frozenset(["owner_name", "cc_email", "first_char", "company_id", "merge_what_id"]),
    "activity": frozenset(
        [
            "owner_name",
            "person_name",
            "org_name",
            "deal_title",
            "lead_title",
            "person_dropbox_bcc",
            "deal_dropbox_bcc",
            "company_id",
        ]
    ),
}
_RELATED = frozenset(["owner_id", "creator_user_id", "person_id", "org_id", "deal_id", "user_id"])


def convert(body: Mapping[str, Any], *, action: str, kind: str, event_id: str) -> dict[str, Any]:
    """Give `meta`, `data` and `previous` as version 2.0 would have sent them.

    `action` is version 2.0's word for what happened; `event_id` stands in for the id that 1.0 does not send.
    """
    old_meta: Mapping[str, Any] = body["meta"]
    data = _record(kind, body.get("current"), old_meta.get("id"))
    previous = _record(kind, body.get("previous"), None)
    meta = _meta(body, old_meta, action=action, kind=kind, event_id=event_id)
    if old_meta.get("action") == "merged":
        # `previous` is the other record here, so that no difference can be made of the two.
        _tell_merge(meta, body)
        return {"meta": meta, "data": data, "previous": {}}
    if action == "change":
        return {"meta": meta, "data": data, "previous": difference(data or {}, previous or {})}
    return {"meta": meta, "data": data, "previous": previous}


def difference(data: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """Give the old values of what changed; a key that only one side has is no change."""
    custom, old_custom = _mapping(data.get("custom_fields")), _mapping(previous.get("custom_fields"))
    changed = {key: old for key, old in previous.items() if key != "custom_fields" and key in data and data[key] != old}
    changed_custom = {key: old for key, old in old_custom.items() if key in custom and custom[key] != old}
    return {**changed, "custom_fields": changed_custom} if changed_custom else changed


def _meta(body: Mapping[str, Any], meta: Mapping[str, Any], *, action: str, kind: str, event_id: str) -> dict[str, Any]:
    retry = body.get("retry")
    permitted = meta.get("permitted_user_ids")
    return {
        "action": action,
        "entity": kind,
        "entity_id": _text(meta.get("id")),
        "company_id": _text(meta.get("company_id")),
        "user_id": _text(meta.get("user_id")),
        "id": event_id,
        "timestamp": moment(meta),
        "version": "2.0",
        "type": "general",
        "webhook_id": _text(meta.get("webhook_id")),
        "change_source": meta.get("change_source"),
        "is_bulk_edit": bool(meta.get("is_bulk_update")),
        "attempt": retry + 1 if isinstance(retry, int) else 1,
        "host": meta.get("host"),
        "permitted_user_ids": [str(user) for user in permitted] if isinstance(permitted, list) else [],
    }


def moment(meta: Mapping[str, Any]) -> Any:
    """Give the time of a 1.0 event as RFC 3339 from the finest of its timestamps, else the coarse one as it came."""
    for key, divisor in (("timestamp_micro", 1e6), ("timestamp_milli", 1e3)):
        value = meta.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            try:
                stamp = datetime.fromtimestamp(value / divisor, UTC)
            except (OverflowError, OSError, ValueError):
                continue
            return stamp.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return meta.get("timestamp")


def _tell_merge(meta: dict[str, Any], body: Mapping[str, Any]) -> None:
    other = _first(body.get("current"), None).get("merge_what_id") or _first(body.get("previous"), None).get("id")
    meta["merged_from_id"] = _text(other) or ""


def _record(kind: str, whole: Any, record_id: Any) -> dict[str, Any] | None:
    if whole is None:
        return None
    flat = _first(whole, record_id)
    custom = gathered(flat)
    record: dict[str, Any] = {}
    for key, value in flat.items():
        if key[:40] not in custom and not _is_derived(kind, key):
            record[key] = value["value"] if key in _RELATED and _is_nested(value) else value
    _rename(kind, record)
    _reshape(kind, record)
    if custom or kind in ("deal", "person", "organization", "product"):
        record["custom_fields"] = {key: _typed(parts) for key, parts in custom.items()}
    return record


def _first(whole: Any, record_id: Any) -> Mapping[str, Any]:
    # `user` events may carry a list of records.
    if isinstance(whole, Mapping):
        return whole
    candidates = [item for item in whole if isinstance(item, Mapping)] if isinstance(whole, list) else []
    for candidate in candidates:
        if record_id is not None and str(candidate.get("id")) == str(record_id):
            return candidate
    return candidates[0] if candidates else {}


def _is_derived(kind: str, key: str) -> bool:
    if kind not in _DERIVED:
        return False
    return key in _DERIVED[kind] or key.startswith(_DERIVED_PREFIXES) or key.endswith(_DERIVED_SUFFIXES)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) and "value" in value


def _rename(kind: str, record: dict[str, Any]) -> None:
    for old, new in _RENAMED.get(kind, {}).items():
        if old in record:
            record[new] = record.pop(old)


def _reshape(kind: str, record: dict[str, Any]) -> None:
    if kind == "deal" and "label" in record:
        record["label_ids"] = _ids(record.pop("label"))
    if kind == "organization":
        parts = {part: record.pop(f"address_{part}", None) for part in ADDRESS_PARTS if part != "value"}
        if record.get("address") is not None:
            record["address"] = {"value": record["address"], **parts}


def _ids(label: Any) -> list[int]:
    if isinstance(label, int) and not isinstance(label, bool):
        return [label]
    if not isinstance(label, str):
        return []
    return [int(part) for part in label.split(",") if part.strip().isascii() and part.strip().isdigit()]


def _typed(parts: dict[str, Any]) -> dict[str, Any] | None:
    """Give a custom field the typed form of 2.0, as far as its suffixed neighbours tell the type."""
    value = parts.get("value")
    if value is None or value == "":
        return None
    if "currency" in parts:
        return {"type": "monetary", "value": value, "currency": parts["currency"]}
    if "until" in parts:
        kind = "timerange" if "timezone_id" in parts else "daterange"
        zone = {"timezone_id": parts["timezone_id"]} if "timezone_id" in parts else {}
        return {"type": kind, "from": value, "until": parts["until"], **zone}
    if "timezone_id" in parts:
        return {"type": "time", "value": value, "timezone_id": parts["timezone_id"]}
    if parts.keys() & set(ADDRESS_PARTS[1:]):
        return {"type": "address", **{part: parts.get(part) for part in ADDRESS_PARTS}}
    # Text, numbers, options and references look alike here: the field's definition decides when the value is read.
    return {"type": None, "value": value}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
