"""What the listing commands show of each row: the keys of `--json` are fixed, scripts rely on them. No I/O."""

from __future__ import annotations

from typing import Any

from pipeflow.catalog import operation
from pipeflow.cli.times import iso
from pipeflow.store.base import Account, Attempt, Pause, Run, StoredEvent, Webhook, Write

Row = dict[str, Any]


def event_row(event: StoredEvent) -> Row:
    """Show an event in a listing."""
    return {
        "id": event.id,
        "name": event.name,
        "names": list(event.names),
        "company": event.company,
        "kind": event.kind,
        "record_id": event.record_id,
        "action": event.action,
        "source": event.source,
        "delivery_id": event.delivery_id,
        "occurred_at": iso(event.occurred_at),
        "received_at": iso(event.received_at),
        "stale": event.stale,
        "status": event.status,
    }


def run_row(run: Run) -> Row:
    """Show a run in a listing."""
    return {
        "id": run.id,
        "event_id": run.event_id,
        "handler": run.handler,
        "lane": run.lane,
        "company": run.company,
        "kind": run.kind,
        "record_id": run.record_id,
        "status": run.status,
        "attempts": run.attempts,
        "next_attempt_at": iso(run.due_at) if run.status == "pending" else None,
        "error": run.error,
        "replay_of": run.replay_of,
        "created_at": iso(run.created_at),
        "finished_at": iso(run.finished_at),
    }


def attempt_row(attempt: Attempt) -> Row:
    """Show an attempt below its run."""
    return {
        "number": attempt.number,
        "started_at": iso(attempt.started_at),
        "finished_at": iso(attempt.finished_at),
        "outcome": attempt.outcome,
        "counted": attempt.counted,
        "alone": attempt.alone,
        "error": attempt.error,
        "traceback": attempt.traceback,
    }


def webhook_row(webhook: Webhook, ours: bool) -> Row:
    """Show a webhook, in Pipedrive's words."""
    return {
        "id": webhook.id,
        "action": webhook.action,
        "object": webhook.object,
        "url": webhook.url,
        "version": webhook.version,
        "name": webhook.name,
        "active": webhook.active,
        "ours": ours,
    }


def account_row(account: Account) -> Row:
    """Show an account; nothing of its credentials."""
    return {
        "id": account.id,
        "company": account.company,
        "company_name": account.company_name,
        "user_id": account.user_id,
        "name": account.name,
        "mode": account.mode,
        "status": account.status,
        "acting": account.acting,
        "admin": account.is_admin,
        "timezone": account.timezone,
        "api_domain": account.api_domain,
        "expires_at": iso(account.expires_at),
        "connected_at": iso(account.connected_at),
        "reason": account.reason,
    }


def write_row(write: Write) -> Row:
    """Show a write: what a handler changed, from what to what."""
    return {
        "id": write.id,
        "run_id": write.run_id,
        "handler": write.handler,
        "chain": list(write.chain),
        "company": write.company,
        "kind": write.kind,
        "record_id": write.record_id,
        "operation": operation(write.operation).attribute,
        "values": dict(write.values),
        "before": None if write.before is None else dict(write.before),
        "answer": None if write.answer is None else dict(write.answer),
        "outcome": write.outcome,
        "intended_at": iso(write.intended_at),
        "settled_at": iso(write.settled_at),
    }


def told_values(values: Row) -> str:
    """Write what was sent on one line: `stage_id=3 title='Acme'`."""
    return " ".join(f"{name}={value!r}" for name, value in values.items())


def pause_row(pause: Pause) -> Row:
    """Show a pause."""
    return {
        "what": pause.what,
        "company": pause.company or None,
        "handler": pause.handler or None,
        "kind": pause.kind or None,
        "record_id": pause.record_id or None,
        "reason": pause.reason or None,
        "paused_at": iso(pause.paused_at),
    }
