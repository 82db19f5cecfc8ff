"""Generation 1: projects, tasks, boards and phases, kept together with generation 2's. Lists are paged by cursor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok
from pipeflow.sandbox.filters import by_filter
from pipeflow.sandbox.kinds import is_deleted, noun
from pipeflow.sandbox.routing import Call, Handler, route
from pipeflow.sandbox.v1_common import by_cursor, living_of, one, shape
from pipeflow.sandbox.writes_v1 import read


def _listed(call: Call, kind: str, records: list[Record]) -> Answer:
    cut, additional = by_cursor(call, records)
    return ok([shape(call).show(kind, record) for record in cut], additional)


@route("GET", "/v1/projects")
def projects(call: Call) -> Answer:
    """List projects; archived ones only where asked for."""
    found = [one for one in call.company.living("project") if call.flag("include_archived") or not one["archive_time"]]
    if "filter_id" in call.query:
        found = by_filter(call.company, call.number("filter_id"), found)
    if (phase := call.number("phase_id")) is not None:
        found = [one for one in found if one["phase_id"] == phase]
    if states := call.listed("status"):
        found = [one for one in found if one["status"] in states]
    return _listed(call, "project", found)


@route("GET", "/v1/tasks")
def tasks(call: Call) -> Answer:
    """List tasks."""
    found = list(call.company.living("task"))
    for name in ("project_id", "parent_task_id"):
        if (wanted := call.number(name)) is not None:
            found = [one for one in found if one[name] == wanted]
    if (assignee := call.number("assignee_id")) is not None:
        found = [one for one in found if assignee in one["assignee_ids"]]
    if (done := call.flag("done")) is not None:
        found = [one for one in found if one["is_done"] == done]
    return _listed(call, "task", found)


@route("GET", "/v1/projects/boards")
def boards(call: Call) -> Answer:
    """List boards."""
    return ok([shape(call).show("board", one) for one in call.company.living("board")])


@route("GET", "/v1/projects/phases")
def phases(call: Call) -> Answer:
    """List the phases of a board."""
    if call.number("board_id") is None:
        raise RefusedError("board_id must be given", 400)
    found = living_of(call, "phase", board_id=call.number("board_id"))
    return ok([shape(call).show("phase", one) for one in found])


@route("GET", "/v1/projects/{id}/tasks")
def project_tasks(call: Call) -> Answer:
    """List the tasks of a project."""
    return _listed(call, "task", living_of(call, "task", project_id=_living("project", call)["id"]))


@route("GET", "/v1/projects/{id}/activities")
def project_activities(call: Call) -> Answer:
    """List the activities of a project."""
    return _listed(call, "activity", living_of(call, "activity", project_id=_living("project", call)["id"]))


@route("POST", "/v1/projects/{id}/archive")
def archive(call: Call) -> Answer:
    """Archive a project."""
    values = {"archive_time": call.company.clock.stamp()}
    return one(call, "project", call.company.change("project", _living("project", call)["id"], values, call.actor))


def _living(kind: str, call: Call) -> Record:
    record = call.company.get(kind, call.id())
    if is_deleted(record):
        raise missing(noun(kind))
    return record


def _reading(kind: str, call: Call) -> Answer:
    return one(call, kind, _living(kind, call))


def _adding(kind: str, call: Call) -> Answer:
    values = _read(kind, call, {})
    if not values.get("title"):
        raise RefusedError("title must be given", 400)
    return one(call, kind, call.company.add(kind, values, call.actor), status=201)


def _changing(kind: str, call: Call) -> Answer:
    before = _living(kind, call)
    return one(call, kind, call.company.change(kind, before["id"], _read(kind, call, before), call.actor))


def _deleting(kind: str, call: Call) -> Answer:
    return ok({"id": call.company.delete(kind, call.id(), call.actor)["id"]})


def _read(kind: str, call: Call, before: Record) -> Record:
    """Read a body; generation 1 names one person, one organization and one assignee where there are lists now."""
    values = read(call, kind, before)
    for old, new in (("person_id", "person_ids"), ("org_id", "org_ids"), ("assignee_id", "assignee_ids")):
        if str(call.fields.get(old)).isdigit() and kind == ("task" if old == "assignee_id" else "project"):
            values[new] = [int(call.fields[old])]
    return values


def _register() -> None:
    verbs: dict[tuple[str, str], Callable[[str, Call], Answer]] = {
        ("POST", ""): _adding,
        ("GET", "/{id}"): _reading,
        ("PUT", "/{id}"): _changing,
        ("DELETE", "/{id}"): _deleting,
    }
    for kind, resource in (("project", "projects"), ("task", "tasks")):
        for (method, tail), answer in verbs.items():
            route(method, f"/v1/{resource}{tail}")(_of(kind, answer))
    for kind, resource in (("board", "boards"), ("phase", "phases")):
        route("GET", f"/v1/projects/{resource}/{{id}}")(_of(kind, _reading))


def _of(kind: str, answer: Callable[[str, Call], Answer]) -> Handler:
    return partial(answer, kind)


_register()
