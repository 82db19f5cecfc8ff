"""What a delivery says: the bodies of both payload versions, as recorded deliveries have them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from pipeflow.sandbox.answers import Record, v1_time
from pipeflow.sandbox.changes import Change
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.hook_views import hook_data
from pipeflow.sandbox.shapes_v1 import Shape1

# A record's own bookkeeping moves without being named in `previous`.
UNTOLD: Final = frozenset({"update_time", "modified", "stage_change_time"})
V1_ACTIONS: Final = {"create": "added", "change": "updated", "delete": "deleted"}


def permitted(company: Company, record: Record) -> list[int]:
    """List the users who may see a record."""
    return [user["id"] for user in company.users if user["active_flag"] and company.may_see(user, record)]


def v1_action(change: Change) -> str:
    """Name a change as version 1.0 does: a merge is one event, and a user who is switched off is deleted."""
    if "merged_from_id" in change.meta:
        return "merged"
    if change.kind == "user" and change.before and change.after:
        gone = change.before["active_flag"] and not change.after["active_flag"]
        return "deleted" if gone else "updated"
    return V1_ACTIONS[change.action]


class Telling:
    """One change, told to as many webhooks as ask; what is the same for all is worked out once.

    `old_dates` tells products with the times they had before April 2026.
    """

    def __init__(self, company: Company, change: Change, *, old_dates: bool = False) -> None:
        self._company = company
        self._change = change
        self._old_dates = old_dates and change.kind == "product"

    def body(self, webhook: Record, event_id: str) -> Record:
        """Write the body of the first attempt for a webhook."""
        return self._version_1(webhook) if webhook["version"] == "1.0" else self._version_2(webhook, event_id)

    @cached_property
    def _seen_by(self) -> list[int]:
        return permitted(self._company, self._change.after or self._change.before or {})

    # Version 2.0

    def _version_2(self, webhook: Record, event_id: str) -> Record:
        change, about_user = self._change, self._change.kind == "user"
        meta: Record = {
            "action": change.action,
            "entity": change.kind,
            "entity_id": str(change.record_id),
            "company_id": str(self._company.id),
            "user_id": str(change.actor.user_id),
            "id": str(change.record_id) if about_user else event_id,
            "correlation_id": change.correlation_id,
            "timestamp": self._timestamp,
            "version": "2.0",
            "type": webhook["type"],
            "webhook_id": str(webhook["id"]),
            "webhook_owner_id": str(webhook["owner_id"]),
            "change_source": change.actor.source,
            "is_bulk_edit": change.actor.bulk,
            "attempt": 1,
            "host": f"{self._company.domain}.pipedrive.com",
        }
        if not about_user:
            meta["permitted_user_ids"] = [str(one) for one in self._seen_by]
        meta |= change.meta if change.as_given else {name: str(value) for name, value in change.meta.items()}
        return {"meta": meta, "data": self._data, "previous": self._previous}

    @property
    def _timestamp(self) -> Any:
        if self._change.kind == "user":
            return int(parse(self._change.time).timestamp())
        return v1_time(self._change.time) if self._old_dates else self._change.time

    def _view(self, record: Record, *, fresh: bool = False) -> Record:
        if self._change.as_given:
            return record
        data = hook_data(self._company, self._change.kind, record, fresh=fresh)
        if self._old_dates:
            data |= {name: v1_time(data[name]) for name in ("add_time", "update_time")}
        return data

    @cached_property
    def _data(self) -> Record | None:
        after = self._change.after
        return None if after is None else self._view(after, fresh=self._change.action == "create")

    @cached_property
    def _previous(self) -> Record | None:
        change = self._change
        if change.before is None:
            return None
        before = self._view(change.before)
        if change.after is None or self._change.as_given:
            return before
        after = self._data or {}
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

    # Version 1.0

    def _version_1(self, webhook: Record) -> Record:
        change, action = self._change, v1_action(self._change)
        micro = int(parse(change.time).timestamp() * 1_000_000)
        meta: Record = {
            "v": 1,
            "action": action,
            "object": change.kind,
            "id": change.record_id,
            "company_id": self._company.id,
            "user_id": change.actor.user_id,
            "host": f"{self._company.domain}.pipedrive.com",
            "timestamp": micro // 1_000_000,
            "timestamp_micro": micro,
            "prepublish_timestamp": micro // 1000,
            "permitted_user_ids": self._seen_by,
            "trans_pending": False,
            "is_bulk_update": change.actor.bulk,
            "pipedrive_service_name": False,
            "change_source": change.actor.source,
            "matches_filters": {"current": []},
            "webhook_id": str(webhook["id"]),
        }
        current, previous = self._flat
        event = {"v": 1, "matches_filters": {"current": []}, "meta": meta, "current": current, "previous": previous}
        return event | {"event": f"{action}.{change.kind}", "retry": 0}

    @cached_property
    def _flat(self) -> tuple[Record | None, Record | None]:
        """Both records in generation 1's flat form; after a merge they are two different ones."""
        change, shape = self._change, Shape1(self._company, flat=True)
        after = None if change.after is None else shape.show(change.kind, change.after)
        merged = change.meta.get("merged_from_id")
        if merged is not None:
            other = self._company.tables[change.kind][merged]
            return {**(after or {}), "merge_what_id": merged}, shape.show(change.kind, other)
        before = None if change.before is None else shape.show(change.kind, change.before)
        return (None if v1_action(change) == "deleted" else after), before
