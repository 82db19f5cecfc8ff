"""The webhooks API: `/v1/webhooks`. Credentials are kept for the sender and shown masked."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pipeflow.sandbox.answers import Answer, RefusedError
from pipeflow.sandbox.routing import Call, route

MOST = 40
ACTIONS = {"2.0": ("create", "change", "delete", "*"), "1.0": ("added", "updated", "deleted", "merged", "*")}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _refused(field: str, text: str) -> RefusedError:
    return RefusedError(text, 400, body={"status": "error", "success": False, "errors": {field: [text]}})


def _shown(webhook: dict[str, Any]) -> dict[str, Any]:
    return webhook | {"http_auth_password": "***" if webhook["http_auth_password"] else None}


@route("GET", "/v1/webhooks")
def webhooks(call: Call) -> Answer:
    """List the company's webhooks."""
    mine = [_shown(one) for one in call.sandbox.webhooks.of(call.company)]
    return Answer({"status": "ok", "success": True, "data": mine})


@route("POST", "/v1/webhooks")
async def add_webhook(call: Call) -> Answer:
    """Add a webhook, if its URL answers."""
    given = call.fields
    version = str(given.get("version") or "2.0")
    for name in ("subscription_url", "event_action", "event_object"):
        if not isinstance(given.get(name), str):
            raise _refused(name, "is required")
    if version not in ACTIONS or given["event_action"] not in ACTIONS[version]:
        raise _refused("event_action", "invalid value")
    url = urlsplit(given["subscription_url"])
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
        raise _refused("subscription_url", "invalid or non-reachable URL")
    if not await call.sandbox.webhooks.reaches(given["subscription_url"]):
        raise _refused("subscription_url", "invalid or non-reachable URL")
    if len(call.sandbox.webhooks.of(call.company)) >= MOST:
        raise RefusedError("The limit of webhooks is reached", 422)
    made = call.sandbox.webhooks.add(call.company, call.user["id"], given, version)
    return Answer({"status": "ok", "success": True, "data": _shown(made)}, 201)


@route("DELETE", "/v1/webhooks/{id}")
def delete_webhook(call: Call) -> Answer:
    """Delete a webhook."""
    if not call.sandbox.webhooks.remove(call.company, call.id()):
        body = {"status": "error", "success": False, "errors": {"id": ["not found"]}}
        raise RefusedError("not found", 404, body=body)
    return Answer({"status": "ok", "success": True})
