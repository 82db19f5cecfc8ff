"""One company's data: records, users, field definitions, followers, history. Every change goes through here.

A change makes a new dict and never touches the old one, so that before and after can be told apart by webhooks.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from pipeflow.sandbox import rules
from pipeflow.sandbox.answers import Record, RefusedError, gone, missing
from pipeflow.sandbox.changes import Action, Actor, Change
from pipeflow.sandbox.clock import Clock, shift
from pipeflow.sandbox.fields import custom_key, definition
from pipeflow.sandbox.kinds import DEFAULTS, SILENT_KINDS, UUID_KINDS, deleted_values, is_deleted, noun

PURGE_DAYS = 30
LONGEST_HISTORY = 2_000


class Company:
    """A company's whole state. Everything in it is plain data, so that it can be written to a file."""

    def __init__(self, company_id: int, domain: str, name: str, clock: Clock, seed: int) -> None:
        self.id = company_id
        self.domain = domain
        self.name = name
        self.clock = clock
        self.seed = seed
        self.country = "EE"
        self.plan = "premium"
        self.timezone = "Europe/Tallinn"
        self.tables: dict[str, dict[Any, Record]] = {kind: {} for kind in DEFAULTS}
        self.counters: dict[str, int] = {}
        self.fields: dict[str, dict[str, Record]] = {}
        self._customs: dict[str, dict[str, Record]] = {}
        self.followers: dict[str, list[Record]] = {}
        self.follower_log: dict[str, list[Record]] = {}
        self.history: dict[str, list[Record]] = {}
        self.conversions: dict[str, Record] = {}
        self.webhooks: dict[int, Record] = {}
        self.files: dict[int, bytes] = {}
        self.extras: dict[str, Any] = {}
        self.noop_events = False
        self.listeners: list[Callable[[Company, Change], None]] = []

    # Reading

    def find(self, kind: str, record_id: Any) -> Record | None:
        """Give a record, also a deleted one until it is purged after 30 days."""
        record = self.tables[kind].get(record_id)
        if record is None or not record.get("delete_time"):
            return record
        purged = shift(record["delete_time"], days=PURGE_DAYS) < self.clock.stamp()
        return None if purged else record

    def get(self, kind: str, record_id: Any, user: Record | None = None) -> Record:
        """Give a record that the user may see, deleted or not; refuses with 404."""
        record = self.find(kind, record_id)
        if record is None or (user is not None and not self.may_see(user, record)):
            raise missing(noun(kind))
        return record

    def living(self, kind: str) -> Iterator[Record]:
        """Go through the records of a kind that are not deleted, oldest first."""
        return (record for record in self.tables[kind].values() if not is_deleted(record))

    def may_see(self, user: Record, record: Record) -> bool:
        """Tell whether a user sees a record: all but the ones that only their owner and admins may see."""
        if user["is_admin"] or str(record.get("visible_to", 3)) != "1":
            return True
        return bool(record.get("owner_id") == user["id"])

    def custom_fields(self, kind: str) -> dict[str, Record]:
        """Give the custom definitions of a kind by key; leads have the deals'."""
        kind = "deal" if kind == "lead" else kind
        if kind not in self._customs:
            source = self.fields.get(kind, {})
            self._customs[kind] = {key: one for key, one in source.items() if one["is_custom"]}
        return self._customs[kind]

    @property
    def users(self) -> list[Record]:
        """Everybody, also deactivated users."""
        return list(self.tables["user"].values())

    @property
    def admin(self) -> Record:
        """The first user."""
        return next(iter(self.tables["user"].values()))

    # Writing

    def next_number(self, name: str, first: int = 1) -> int:
        """Count on: ids never come back."""
        number = self.counters.get(name, first - 1) + 1
        self.counters[name] = number
        return number

    def next_id(self, kind: str) -> Any:
        """Give the next id of a kind; leads and lead labels have UUIDs."""
        number = self.next_number(kind)
        return self.new_uuid(f"{kind}/{number}") if kind in UUID_KINDS else number

    def add(self, kind: str, values: Record, actor: Actor, **fixed: Any) -> Record:
        """Add a record: the kind's defaults, then what the rules derive from `values`. `fixed` is set as given."""
        now = self.clock.stamp()
        record: Record = {"id": None, **copy.deepcopy(DEFAULTS[kind]), **values}
        record.setdefault("add_time", now)
        record["update_time"] = record["add_time"]
        rules.on_add(self, kind, record, values, actor, now)
        record |= fixed
        if record["id"] is None:
            record["id"] = self.next_id(kind)
        self.tables[kind][record["id"]] = record
        self._tell(kind, "create", None, record, actor)
        return record

    def change(self, kind: str, record_id: Any, values: Record, actor: Actor, **meta: Any) -> Record:
        """Change a record and derive the rest; a write that changes nothing is silent, unless `noop_events` is set."""
        before = self.tables[kind][record_id]
        after = {**before, **values}
        if "custom_fields" in values:
            merged = {**before["custom_fields"], **values["custom_fields"]}
            after["custom_fields"] = {key: value for key, value in merged.items() if value is not None}
        now = self.clock.stamp()
        rules.on_change(self, kind, before, after, values, actor, now)
        if after == before and not meta and not self.noop_events:
            return before
        after["update_time"] = now
        self.tables[kind][record_id] = after
        self._remember(kind, before, after, actor, now)
        self._tell(kind, "change", before, after, actor, **meta)
        return after

    def delete(self, kind: str, record_id: Any, actor: Actor, **meta: Any) -> Record:
        """Delete a record softly; a second time is 410. What belongs to it alone goes with it."""
        before = self.get(kind, record_id)
        if is_deleted(before):
            raise gone(record_id)
        now = self.clock.stamp()
        after = {**before, **deleted_values(before), "delete_time": now, "update_time": now}
        self.tables[kind][record_id] = after
        for child_kind, child_id in list(rules.children(self, kind, record_id)):
            self.delete(child_kind, child_id, actor)
        # A user is never deleted in webhooks of version 2.0: the flag changes.
        if kind == "user":
            self._tell(kind, "change", before, after, actor)
        else:
            self._tell(kind, "delete", after, None, actor, **meta)
        return after

    # Field definitions

    def add_field(self, kind: str, name: str, field_type: str, actor: Actor, **more: Any) -> Record:
        """Define a custom field; its key is derived from seed, company and number."""
        number = self.next_number("field", 1)
        key = custom_key(self.seed, self.domain, kind, number)
        made = definition(kind, number, key, name, field_type, self.clock.stamp()) | more
        self._put_field(kind, key, made)
        self._tell(f"{kind}Field", "create", None, made, actor)
        return made

    def change_field(self, kind: str, key: str, values: Record, actor: Actor) -> Record:
        """Change a definition."""
        before = self.fields[kind][key]
        after = {**before, **values, "update_time": self.clock.stamp()}
        self._put_field(kind, key, after)
        self._tell(f"{kind}Field", "change", before, after, actor)
        return after

    def delete_field(self, kind: str, key: str, actor: Actor) -> Record:
        """Delete a custom definition; the values go with it."""
        before = self.fields[kind][key]
        if not before["is_custom"]:
            raise RefusedError("Only custom fields can be deleted", 403)
        self._put_field(kind, key, None)
        for record_kind in (kind, "lead") if kind == "deal" else (kind,):
            for record_id, record in self.tables[record_kind].items():
                if key in record["custom_fields"]:
                    left = {name: value for name, value in record["custom_fields"].items() if name != key}
                    self.tables[record_kind][record_id] = {**record, "custom_fields": left}
        self._tell(f"{kind}Field", "delete", before, None, actor)
        return before

    def _put_field(self, kind: str, key: str, field: Record | None) -> None:
        if field is None:
            del self.fields[kind][key]
        else:
            self.fields[kind][key] = field
        self._customs.pop(kind, None)

    # Telling

    def announce(
        self,
        kind: str,
        action: Action,
        before: Record | None,
        after: Record | None,
        actor: Actor,
        meta: Record | None = None,
    ) -> str:
        """Tell of something that did not happen here; gives the event's id."""
        change = self._made(kind, action, before, after, actor, as_given=True, meta=meta or {})
        self._spread(change)
        return change.event_id

    def _tell(
        self, kind: str, action: Action, before: Record | None, after: Record | None, actor: Actor, **meta: Any
    ) -> None:
        if kind not in SILENT_KINDS:
            self._spread(self._made(kind, action, before, after, actor, meta=meta))

    def _made(
        self, kind: str, action: Action, before: Record | None, after: Record | None, actor: Actor, **more: Any
    ) -> Change:
        number = self.next_number("event")
        return Change(
            kind=kind,
            action=action,
            record_id=(after or before or {}).get("id"),
            before=before,
            after=after,
            actor=actor,
            time=self.clock.stamp(),
            event_id=self.new_uuid(f"event/{number}"),
            correlation_id=self.new_uuid(f"correlation/{number}"),
            **more,
        )

    def _spread(self, change: Change) -> None:
        for listener in self.listeners:
            listener(self, change)

    def _remember(self, kind: str, before: Record, after: Record, actor: Actor, now: str) -> None:
        if kind not in ("deal", "person", "organization", "project"):
            return
        log = self.history.setdefault(f"{kind}/{after['id']}", [])
        if len(log) > LONGEST_HISTORY:
            del log[: LONGEST_HISTORY // 2]
        for key, old, new in _differences(before, after):
            log.append(
                {
                    "field_key": key,
                    "old_value": old,
                    "new_value": new,
                    "actor_user_id": actor.user_id,
                    "time": now,
                    "change_source": actor.source,
                    "change_source_user_agent": actor.agent,
                    "is_bulk_update_flag": actor.bulk,
                }
            )

    def new_uuid(self, name: str) -> str:
        """Make a UUID that is the same for seed, company and name."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox/{self.seed}/{self.domain}/{name}"))


def _differences(before: Record, after: Record) -> Iterator[tuple[str, Any, Any]]:
    for key in after:
        if key in ("custom_fields", "update_time"):
            continue
        if before.get(key) != after[key]:
            yield key, before.get(key), after[key]
    old, new = before.get("custom_fields", {}), after.get("custom_fields", {})
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)
