"""A delivery's body, as storing needs it: who and what it is about, and the key that makes it one event. No I/O.

`read_delivery` takes just that from a body and never raises. Pipedrive's `create/change/delete` become
`added/updated/deleted` here and nowhere else. Imports catalog.values and, for payload version 1.0, version1.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, cast

import orjson

from pipeflow.catalog.values import to_datetime

PARTITIONS = 64
UNREADABLE = "unreadable"
MERGED_1 = "merged"

_OURS = {"create": "added", "change": "updated", "delete": "deleted"}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_WORD = 80
_LONGEST_ID = 120


def our_action(action: str) -> str:
    """Translate Pipedrive's word for what happened into ours; unknown words and `*` stay."""
    return _OURS.get(action, action)


def pipedrive_action(action: str) -> str:
    """Translate our word for what happened into Pipedrive's (payload version 2.0); unknown words and `*` stay."""
    return _THEIRS.get(action, action)


class Head(NamedTuple):
    """What storing a delivery needs to know of it; a tuple, as one is made for each delivery before it is answered.

    `key` makes it the same event within its company. `claimed_company` is what the body says, to be compared with
    the webhook it came through. Times are seconds since 1970.
    """

    company: int
    key: str
    name: str
    kind: str
    record_id: str
    action: str
    delivery_id: str | None
    occurred_at: float
    update_time: float | None
    actor_id: str | None
    bulk: bool
    claimed_company: int | None
    status: Literal["stored", "unreadable"]
    partition: int


def partition_of(company: int, kind: str, record_id: str) -> int:
    """Give the partition, 0 to 63, to which all events of one record belong; the same in every release."""
    return zlib.crc32(f"{company}:{kind}:{record_id}".encode()) % PARTITIONS


def read_delivery(raw: bytes, company: int, received_at: float) -> Head:
    """Read from a delivery's body what storing it needs. Never raises: what cannot be read is `unreadable`."""
    body = parse(raw)
    if body is None:
        return _unreadable(raw, company, received_at)
    meta = body["meta"]
    if is_version_1(body, meta):
        return _head_1(body, meta, company, received_at)
    data = body.get("data")
    kind, action = meta["entity"], _OURS.get(meta["action"], meta["action"])
    record_id = record_id_of(meta.get("entity_id"), data, body.get("previous"))
    delivery_id = id_text(meta.get("id"))
    unique = delivery_id and not (kind == "user" and delivery_id.isdigit())
    return Head(
        company=company,
        key=f"2.0:{delivery_id}" if unique else _composed_key(body, meta, kind, record_id, action),
        name=f"{kind}.{action}",
        kind=kind,
        record_id=record_id,
        action=action,
        delivery_id=delivery_id or None,
        occurred_at=(occurred_at := _seconds(meta.get("timestamp"), received_at)),
        update_time=_update_time(data, action, occurred_at),
        actor_id=id_text(meta.get("user_id")) or None,
        bulk=meta.get("is_bulk_edit") is True,
        claimed_company=_number(meta.get("company_id")),
        status="stored",
        partition=partition_of(company, kind, record_id),
    )


def _head_1(body: Mapping[str, Any], meta: Mapping[str, Any], company: int, received_at: float) -> Head:
    kind, told = meta["object"], meta["action"]
    action = "updated" if told == MERGED_1 else told
    current = body.get("current")
    record_id = record_id_of(meta.get("id"), current, body.get("previous"))
    return Head(
        company=company,
        key=key_1(body, meta, record_id),
        name=f"{kind}.{action}",
        kind=kind,
        record_id=record_id,
        action=action,
        delivery_id=None,
        occurred_at=(occurred_at := _seconds(_moment_1(meta), received_at)),
        update_time=_update_time(current, action, occurred_at),
        actor_id=id_text(meta.get("user_id")) or None,
        bulk=meta.get("is_bulk_update") is True,
        claimed_company=_number(meta.get("company_id")),
        status="stored",
        partition=partition_of(company, kind, record_id),
    )


def _unreadable(raw: bytes, company: int, received_at: float) -> Head:
    digest = hashlib.sha256(raw).hexdigest()
    return Head(
        company=company,
        key=f"unreadable:{digest}",
        name=UNREADABLE,
        kind=UNREADABLE,
        record_id="",
        action=UNREADABLE,
        delivery_id=None,
        occurred_at=received_at,
        update_time=None,
        actor_id=None,
        bulk=False,
        claimed_company=None,
        status="unreadable",
        partition=partition_of(company, UNREADABLE, ""),
    )


def parse(raw: bytes) -> dict[str, Any] | None:
    """Give the body if it is a JSON object whose `meta` names what happened to what, else None."""
    try:
        body = orjson.loads(raw)
    except ValueError:
        body = _mended(raw)
    meta = body.get("meta") if isinstance(body, dict) else None
    if not isinstance(meta, dict) or not _is_word(meta.get("action")):
        return None
    if not _is_word(meta.get("object" if is_version_1(body, meta) else "entity")):
        return None
    return cast("dict[str, Any]", body)


def _mended(raw: bytes) -> Any:
    """Give a body in which halves of characters stand, as where a text was cut in the middle of one; else None."""
    if _HALF.search(raw) is None:
        return None
    try:
        whole = json.dumps(json.loads(raw), ensure_ascii=False)
        return orjson.loads(whole.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def is_version_1(body: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
    """Say whether a body is of payload version 1.0."""
    if "version" in meta:
        return bool(meta["version"] == "1.0")
    return "entity" not in meta or body.get("v") == 1 or meta.get("v") == 1


def _is_word(value: Any) -> bool:
    # Databases cannot index endless text, and PostgreSQL has no NUL: such a body is kept, but names nothing.
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_WORD and "\0" not in value


def id_text(value: Any) -> str:
    """Give an id as text; "" for what can be none."""
    if type(value) is str:
        return value if len(value) <= _LONGEST_ID and "\0" not in value else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def record_id_of(told: Any, *states: Any) -> str:
    """Give the record's id as text: as told, else from the first state that has one, else ""."""
    if record_id := id_text(told):
        return record_id
    for state in states:
        if isinstance(state, dict) and (record_id := id_text(state.get("id"))):
            return record_id
    return ""


def _number(value: Any) -> int | None:
    text = id_text(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _seconds(value: Any, otherwise: float) -> float:
    try:
        if type(value) is str and value[-1:] == "Z":  # as nearly every moment comes; seven times as fast
            return datetime.fromisoformat(value).timestamp()
        moment = to_datetime(value)
        return moment.timestamp() if moment is not None else otherwise
    except (ValueError, OverflowError):
        return otherwise


def _update_time(state: Any, action: str, occurred_at: float) -> float | None:
    """Give when the record became as it is: the time of its deletion, else what it says of itself."""
    if action == "deleted":
        return occurred_at
    if not isinstance(state, dict):
        return None
    told = state.get("update_time")
    if told is None:
        told = state.get("modified")
    if told is None and action == "added":
        told = state.get("add_time")
    seconds = _seconds(told, -1.0)
    return seconds if seconds > 0 else None


def _composed_key(body: Mapping[str, Any], meta: Mapping[str, Any], kind: str, record_id: str, action: str) -> str:
    moment = str(meta.get("timestamp"))[:40]
    return f"2.0:{kind}:{record_id}:{action}:{moment}:{_digest(body.get('data'), body.get('previous'))}"


def key_1(body: Mapping[str, Any], meta: Mapping[str, Any], record_id: str) -> str:
    """Compose the key of an event of version 1.0, which has no id: the same for every retry."""
    subject = f"1.0:{meta['object']}:{record_id}:{meta['action']}"
    micro = meta.get("timestamp_micro")
    if isinstance(micro, int):
        return f"{subject}:{micro}"
    moment = str(_moment_1(meta))[:40]
    return f"{subject}:{moment}:{_digest(body.get('current'), body.get('previous'))}"


def _digest(*states: Any) -> str:
    return hashlib.sha256(orjson.dumps(states, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _moment_1(meta: Mapping[str, Any]) -> Any:
    from pipeflow.version1 import moment

    return moment(meta)
