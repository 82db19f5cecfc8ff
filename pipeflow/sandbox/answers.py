"""What the sandbox answers: envelopes, errors and time forms of both generations. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """One HTTP answer: `body` is JSON data, or bytes with a content type in `headers`; None is an empty body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request that Pipedrive would refuse; becomes an error answer of the generation that was asked.

    `code` is the machine-readable word beside the text, `errors` the field-wise texts of the webhooks API, `data`
    what a refusal still carries (deleting twice tells the id).
    """

    def __init__(self, message: str, status: int = 400, *, code: str | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.body = body


SCHEMA = "ERR_SCHEMA_VALIDATION_FAILED"


def invalid(what: str) -> RefusedError:
    """Refuse a request whose shape is wrong, in the words of generation 2."""
    return RefusedError(f"Validation failed: {what}", 400, code=SCHEMA)


def missing(noun: str) -> RefusedError:
    """Refuse because there is no such record, or it may not be seen."""
    return RefusedError(f"{noun} not found", 404)


def gone(record_id: Any) -> RefusedError:
    """Refuse to delete what is deleted: 410, and yet a success that names the record."""
    return RefusedError("already deleted", 410, body={"success": True, "data": {"id": record_id}})


def refusal(error: RefusedError, generation: str) -> Answer:
    """Write a refusal in the form of its generation."""
    if error.body is not None:
        return Answer(error.body, error.status)
    if generation == "v2":
        body: Record = {"success": False, "error": error.message}
        body["code"] = error.code or f"ERR_{'NOT_FOUND' if error.status == 404 else 'REQUEST_FAILED'}"
        return Answer(body, error.status)
    body = {"success": False, "error": error.message, "error_info": UNAUTHORIZED["error_info"]}
    body |= {"data": None, "additional_data": None}
    if error.code:
        body["code"] = error.code
    return Answer(body, error.status)


def ok(data: Any, additional: Any = None, *, related: Any = None, status: int = 200) -> Answer:
    """Wrap data in the success envelope."""
    body: Record = {"success": True, "data": data}
    if additional is not None:
        body["additional_data"] = additional
    if related is not None:
        body["related_objects"] = related
    return Answer(body, status)


CLOUDFLARE = b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"

UNAUTHORIZED: Record = {
    "success": False,
    "error": "unauthorized access",
    "errorCode": 401,
    "error_info": "Please check developers.pipedrive.com",
}


def unknown_method() -> Answer:
    """Answer a path that no generation knows."""
    return Answer({"status": False, "error": "Unknown method ."}, 404)


def over_limit() -> Answer:
    """Answer 429."""
    return Answer({"success": False, "error": "Request over limit", "errorCode": 429}, 429)


def blocked() -> Answer:
    """Answer as Cloudflare does when it stops somebody: 403, and a page instead of JSON."""
    return Answer(CLOUDFLARE, 403, {"content-type": "text/html; charset=UTF-8"})


def v1_time(text: str | None) -> str | None:
    """Write a time of the state as generation 1 does: `2026-11-24 10:00:00`, UTC."""
    return f"{text[:10]} {text[11:19]}" if text else None


def v2_time(text: str | None) -> str | None:
    """Write a time of the state as generation 2 does: `2026-11-24T10:00:00Z`."""
    return f"{text[:19]}Z" if text else None
