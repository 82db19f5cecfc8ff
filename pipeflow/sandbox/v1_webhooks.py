"""Generation 1: the webhooks API. There is no way to change a webhook: delete it and add another."""

from __future__ import annotations

from typing import Any

from pipeflow.sandbox.answers import Answer, Record, RefusedError
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.webhooks import ACTIONS, LIMIT, OBJECTS_V1, OBJECTS_V2, shown
from pipeflow.sandbox.wire import Wire, WireError, place_of

LOOPBACK = ("localhost", "127.0.0.1", "::1")
REACH_SECONDS = 3.0


def _refused(status: int, **errors: str) -> RefusedError:
    body = {"status": "error", "success": False, "errors": {name: [text] for name, text in errors.items()}}
    return RefusedError("Validation failed", status, body=body)


def _visible(call: Call) -> list[Record]:
    """List the webhooks that the caller sees: an app its own, an admin everybody's, others their own."""
    call.sandbox.webhooks.expire()
    hooks = [one for one in call.company.webhooks.values() if one["client_id"] == call.app]
    if call.app is None and call.user["is_admin"]:
        return hooks
    return [one for one in hooks if one["owner_id"] == call.user["id"]]


@route("GET", "/v1/webhooks")
def get_webhooks(call: Call) -> Answer:
    """List webhooks, all at once."""
    return Answer({"status": "ok", "success": True, "data": [shown(one) for one in _visible(call)]})


@route("POST", "/v1/webhooks")
async def add_webhook(call: Call) -> Answer:
    """Add a webhook after its URL has answered; unknown keys are dropped silently, as Pipedrive does it."""
    values = _checked(call)
    if call.sandbox.check_reachable and not await reachable(values["subscription_url"], call.base_url):
        raise _refused(400, subscription_url="invalid or non-reachable URL")
    mine = [
        one
        for one in call.company.webhooks.values()
        if one["owner_id"] == call.user["id"] and one["client_id"] == call.app and one["is_active"]
    ]
    if len(mine) >= LIMIT:
        raise _refused(422, webhooks=f"the limit of {LIMIT} webhooks per user is reached")
    made = call.sandbox.webhooks.add(call.company, call.user["id"], call.app, values)
    call.sandbox.touch()
    return Answer({"status": "ok", "success": True, "data": shown(made)}, 201)


def _checked(call: Call) -> Record:
    given = call.fields
    version = str(given.get("version") or "2.0")
    if version not in ACTIONS:
        raise _refused(400, version="must be 1.0 or 2.0")
    objects = OBJECTS_V1 if version == "1.0" else OBJECTS_V2
    errors: dict[str, str] = {}
    if given.get("event_action") not in (*ACTIONS[version], "*"):
        errors["event_action"] = f"must be one of {', '.join(ACTIONS[version])}, *"
    if str(given.get("event_object")) not in ("*", *objects):
        errors["event_object"] = f"is not known to version {version}"
    if not isinstance(given.get("subscription_url"), str) or not given["subscription_url"]:
        errors["subscription_url"] = "is required"
    if len(str(given.get("name") or "")) > 255:
        errors["name"] = "must not be longer than 255 characters"
    user_id: Any = given.get("user_id")
    if user_id is not None and (not str(user_id).isdigit() or int(user_id) not in call.company.tables["user"]):
        errors["user_id"] = "is not a user of this company"
    if errors:
        raise _refused(400, **errors)
    return {**given, "version": version, "user_id": int(user_id) if user_id is not None else None}


@route("DELETE", "/v1/webhooks/{id}")
def delete_webhook(call: Call) -> Answer:
    """Delete a webhook of one's own."""
    webhook = call.company.webhooks.get(call.id())
    if webhook is None or (webhook["client_id"] != call.app and call.app is None and webhook["client_id"]):
        raise _refused(404, id="not found")
    if webhook["client_id"] != call.app or (webhook["owner_id"] != call.user["id"] and not call.user["is_admin"]):
        raise RefusedError("Forbidden", 403, body={"success": False, "message": "Forbidden"})
    call.sandbox.webhooks.remove(call.company, webhook)
    call.sandbox.touch()
    return Answer({"status": "ok", "success": True})


async def reachable(url: str, own_url: str) -> bool:
    """Tell whether a webhook may be made for a URL: anything answers there, without a redirect.

    https, or http on loopback; never the sandbox's own API.
    """
    try:
        place, own = place_of(url), place_of(own_url)
    except ValueError:
        return False
    if not place.secure and place.host not in LOOPBACK:
        return False
    if (place.host, place.port) == (own.host, own.port):
        return False
    wire = Wire()
    try:
        reply = await wire.send("GET", url, {"accept": "*/*"}, b"", REACH_SECONDS)
    except WireError:
        return False
    finally:
        wire.close()
    return not 300 <= reply.status < 400
