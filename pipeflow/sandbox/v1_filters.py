"""Generation 1: stored filters, and what changed recently."""

from __future__ import annotations

from datetime import timedelta

from pipeflow.sandbox.answers import Answer, RefusedError, ok, v1_time
from pipeflow.sandbox.clock import stamp
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.v1_common import one, shape, window
from pipeflow.sandbox.writes_v1 import read

RECENT_KINDS = (
    "activity",
    "activityType",
    "deal",
    "file",
    "filter",
    "note",
    "person",
    "organization",
    "pipeline",
    "product",
    "stage",
    "user",
)


@route("GET", "/v1/filters")
def filters(call: Call) -> Answer:
    """List stored filters."""
    kind = call.query.get("type")
    found = [one for one in call.company.living("filter") if kind in (None, one["type"])]
    return ok([shape(call).show("filter", one) for one in found])


@route("GET", "/v1/filters/{id}")
def filter_(call: Call) -> Answer:
    """Read a stored filter."""
    return one(call, "filter", call.company.get("filter", call.id()))


@route("POST", "/v1/filters")
def add_filter(call: Call) -> Answer:
    """Store a filter."""
    if not call.fields.get("name") or not isinstance(call.fields.get("conditions"), dict):
        raise RefusedError("name and conditions must be given", 400)
    values = read(call, "filter", {}) | {"user_id": call.user["id"]}
    return ok({"id": call.company.add("filter", values, call.actor)["id"]}, status=201)


@route("PUT", "/v1/filters/{id}")
def change_filter(call: Call) -> Answer:
    """Change a stored filter."""
    before = call.company.get("filter", call.id())
    return ok({"id": call.company.change("filter", before["id"], read(call, "filter", before), call.actor)["id"]})


@route("DELETE", "/v1/filters/{id}")
def delete_filter(call: Call) -> Answer:
    """Delete a stored filter."""
    return ok({"id": call.company.delete("filter", call.id(), call.actor)["id"]})


@route("GET", "/v1/recents")
def recents(call: Call) -> Answer:
    """List what changed since a time, oldest change first; silently at most a month back."""
    since = call.query.get("since_timestamp", "")
    if not since:
        raise RefusedError("since_timestamp must be given", 400)
    earliest = max(since, str(v1_time(stamp(call.company.clock.now() - timedelta(days=31)))))
    wanted = call.listed("items") or RECENT_KINDS
    found = [
        (str(v1_time(record["update_time"])), kind, record)
        for kind in RECENT_KINDS
        if kind in wanted
        for record in call.company.tables[kind].values()
    ]
    found = sorted((row for row in found if row[0] >= earliest), key=lambda row: (row[0], row[1], row[2]["id"]))
    cut, pagination = window(call, found)
    shown = shape(call)
    data = [{"item": kind, "id": record["id"], "data": shown.show(kind, record)} for _, kind, record in cut]
    times = {"since_timestamp": since, "last_timestamp_on_page": cut[-1][0] if cut else since}
    return ok(data or None, {**times, "pagination": pagination})
