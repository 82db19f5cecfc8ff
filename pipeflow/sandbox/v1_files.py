"""Generation 1: files, uploaded and downloaded for real. One file per upload; there are no webhooks of files."""

from __future__ import annotations

from pathlib import PurePath

from pipeflow.sandbox.answers import Answer, Record, RefusedError, missing, ok
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.v1_common import one, page
from pipeflow.sandbox.writes_v1 import read

REMOTE_TYPES = {
    "gdoc": "document",
    "gslides": "presentation",
    "gsheet": "spreadsheet",
    "gform": "form",
    "gdraw": "drawing",
}


@route("GET", "/v1/files")
def files(call: Call) -> Answer:
    """List files, at most 100 a page."""
    return page(call, "file", call.company.living("file"), most=100)


@route("GET", "/v1/files/{id}")
def file(call: Call) -> Answer:
    """Read a file's facts."""
    return one(call, "file", _living(call))


@route("POST", "/v1/files")
def add_file(call: Call) -> Answer:
    """Upload a file."""
    upload = call.files.get("file")
    if upload is None:
        raise RefusedError("file must be given as multipart/form-data", 400)
    values = read(call, "file", {}) | {
        "file_name": upload.name,
        "name": upload.name,
        "file_type": PurePath(upload.name).suffix.lstrip(".") or "file",
        "file_size": len(upload.content),
        "user_id": call.user["id"],
    }
    record = call.company.add("file", values, call.actor)
    call.company.files[record["id"]] = upload.content
    return one(call, "file", record, status=201)


@route("GET", "/v1/files/{id}/download")
def download(call: Call) -> Answer:
    """Give a file's content; nothing with 204 if it is empty."""
    record = _living(call)
    content = call.company.files.get(record["id"], b"")
    if not content:
        return Answer(None, 204)
    name = record["file_name"].encode("ascii", "replace").decode().replace('"', "'")
    return Answer(content, 200, {"content-disposition": f'attachment; filename="{name}"'})


@route("PUT", "/v1/files/{id}")
def change_file(call: Call) -> Answer:
    """Rename or describe a file."""
    record = _living(call)
    values: Record = {name: call.fields[name] for name in ("name", "description") if name in call.fields}
    return one(call, "file", call.company.change("file", record["id"], values, call.actor))


@route("DELETE", "/v1/files/{id}")
def delete_file(call: Call) -> Answer:
    """Delete a file."""
    record = call.company.delete("file", call.id(), call.actor)
    return ok({"id": record["id"]})


@route("POST", "/v1/files/remote")
@route("POST", "/v1/files/remoteLink")
def remote_file(call: Call) -> Answer:
    """Make or link a file that is kept elsewhere."""
    if not call.fields.get("item_type") or not call.fields.get("item_id"):
        raise RefusedError("item_type and item_id must be given", 400)
    link = {"deal": "deal_id", "organization": "org_id", "person": "person_id"}.get(str(call.fields["item_type"]))
    name = call.fields.get("title") or call.fields.get("remote_id") or "remote"
    values: Record = {
        "file_name": name,
        "name": name,
        "file_type": REMOTE_TYPES.get(str(call.fields.get("file_type")), "document"),
        "remote_location": call.fields.get("remote_location", "googledrive"),
        "remote_id": call.fields.get("remote_id") or f"remote-{call.company.counters.get('file', 0) + 1}",
        "user_id": call.user["id"],
    }
    if link and str(call.fields["item_id"]).isdigit():
        values[link] = int(call.fields["item_id"])
    return one(call, "file", call.company.add("file", values, call.actor))


def _living(call: Call) -> Record:
    record = call.company.get("file", call.id())
    if is_deleted(record):
        raise missing("File")
    return record
