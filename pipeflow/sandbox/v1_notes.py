"""Generation 1: notes and their comments."""

from __future__ import annotations

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok
from pipeflow.sandbox.filters import by_query
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.v1_common import living_of, one, page
from pipeflow.sandbox.writes_v1 import read

LARGEST = 100_000
FLAGS = tuple(f"pinned_to_{name}_flag" for name in ("deal", "person", "organization", "lead", "project", "task"))


@route("GET", "/v1/notes")
def notes(call: Call) -> Answer:
    """List notes by what they are linked to, by day and by flag."""
    found = by_query(call, "note", call.company.living("note"))
    since, until = call.query.get("start_date", ""), call.query.get("end_date", "9999")
    found = [note for note in found if since <= note["add_time"][:10] <= until]
    for flag in FLAGS:
        if (wanted := call.flag(flag)) is not None:
            found = [note for note in found if note[flag] == wanted]
    return page(call, "note", found)


@route("GET", "/v1/notes/{id}")
def note(call: Call) -> Answer:
    """Read a note; a deleted one too, with its flag."""
    return one(call, "note", call.company.get("note", call.id()))


@route("POST", "/v1/notes")
def add_note(call: Call) -> Answer:
    """Add a note; it needs content and a link."""
    if not call.fields.get("content"):
        raise RefusedError("content must be given", 400)
    return one(call, "note", call.company.add("note", _read(call, {}), call.actor), status=201)


@route("PUT", "/v1/notes/{id}")
def change_note(call: Call) -> Answer:
    """Change a note."""
    before = _living(call)
    return one(call, "note", call.company.change("note", before["id"], _read(call, before), call.actor))


@route("DELETE", "/v1/notes/{id}")
def delete_note(call: Call) -> Answer:
    """Delete a note; the data of the answer is just true."""
    call.company.delete("note", call.id(), call.actor)
    return ok(True)


def _read(call: Call, before: Record) -> Record:
    values = read(call, "note", before)
    if len(str(values.get("content", "")).encode()) > LARGEST:
        raise RefusedError("The content is too large", 400)
    return values


def _living(call: Call) -> Record:
    record = call.company.get("note", call.id())
    if is_deleted(record):
        raise missing("Note")
    return record


@route("GET", "/v1/notes/{id}/comments")
def comments(call: Call) -> Answer:
    """List the comments of a note."""
    return page(call, "comment", living_of(call, "comment", note_id=_living(call)["id"]))


@route("POST", "/v1/notes/{id}/comments")
def add_comment(call: Call) -> Answer:
    """Comment on a note."""
    values = {"note_id": _living(call)["id"], "content": call.fields.get("content", ""), "user_id": call.user["id"]}
    return one(call, "comment", call.company.add("comment", values, call.actor), status=201)


@route("GET", "/v1/notes/{id}/comments/{commentId}")
def comment(call: Call) -> Answer:
    """Read a comment."""
    return one(call, "comment", call.company.get("comment", call.id(1)))


@route("PUT", "/v1/notes/{id}/comments/{commentId}")
def change_comment(call: Call) -> Answer:
    """Change a comment."""
    before = call.company.get("comment", call.id(1))
    values = {"content": call.fields.get("content", before["content"]), "updater_id": call.user["id"]}
    return one(call, "comment", call.company.change("comment", before["id"], values, call.actor))


@route("DELETE", "/v1/notes/{id}/comments/{commentId}")
def delete_comment(call: Call) -> Answer:
    """Delete a comment."""
    call.company.delete("comment", call.id(1), call.actor)
    return ok(True)
