"""Events that polling found, in the shape of deliveries. Imports events and store rows; no I/O."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeflow.events import partition_of, pipedrive_action
from pipeflow.store.base import NewEvent


def found_event(
    company: int,
    kind: str,
    action: str,
    *,
    data: dict[str, Any] | None,
    previous: dict[str, Any] | None,
    moment: float | None,
    happened: float,
    now: float,
) -> NewEvent:
    """Make the event that a record was added, updated or deleted (`action`, in our words).

    `moment` is when the record became so (None where Pipedrive does not say), `happened` when it is said to have
    happened; both on Pipedrive's clock. Found twice, it is the same event.
    """
    record_id = str((data or previous or {})["id"])
    meta = {
        "action": pipedrive_action(action),
        "entity": kind,
        "entity_id": record_id,
        "company_id": str(company),
        "timestamp": datetime.fromtimestamp(happened, UTC).isoformat().replace("+00:00", "Z"),
        "version": "2.0",
    }
    told = orjson.dumps({"data": data, "previous": previous}, option=orjson.OPT_SORT_KEYS)
    version = f"{moment:.3f}" if moment is not None else hashlib.sha256(told).hexdigest()[:32]
    return NewEvent(
        company=company,
        key=f"poll:{kind}:{record_id}:{action}:{version}",
        name=f"{kind}.{action}",
        kind=kind,
        record_id=record_id,
        action=action,
        source="poll",
        raw=orjson.dumps({"meta": meta, "data": data, "previous": previous}),
        received_at=now,
        partition=partition_of(company, kind, record_id),
        occurred_at=happened,
        update_time=moment,
    )
