"""Who follows a record, for both generations. Changes of followers have no webhooks."""

from __future__ import annotations

from typing import Any

from pipeflow.sandbox.answers import Record, missing
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.company import Company


def add_follower(company: Company, kind: str, record_id: Any, user_id: int, actor: Actor) -> Record:
    """Let a user follow a record; one who does already stays."""
    company.get("user", user_id)
    rows = company.followers.setdefault(f"{kind}/{record_id}", [])
    for row in rows:
        if row["user_id"] == user_id:
            return row
    row = {"id": company.next_number("follower"), "user_id": user_id, "add_time": company.clock.stamp()}
    rows.append(row)
    _log(company, kind, record_id, user_id, actor, "added")
    return row


def remove_follower(company: Company, kind: str, record_id: Any, user_id: int, actor: Actor) -> None:
    """Let a user follow a record no more; refuses with 404 if the user did not."""
    rows = company.followers.get(f"{kind}/{record_id}", [])
    for row in rows:
        if row["user_id"] == user_id:
            rows.remove(row)
            _log(company, kind, record_id, user_id, actor, "removed")
            return
    raise missing("Follower")


def _log(company: Company, kind: str, record_id: Any, user_id: int, actor: Actor, action: str) -> None:
    entry = {"action": action, "actor_user_id": actor.user_id, "follower_user_id": user_id}
    log = company.follower_log.setdefault(f"{kind}/{record_id}", [])
    log.append({**entry, "time": company.clock.stamp(), "id": len(log) + 1})
