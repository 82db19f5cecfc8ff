"""Read form bodies: url-encoded and multipart. Imports the standard library alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from pipeflow.sandbox.answers import Record, RefusedError


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a multipart body."""

    name: str
    content_type: str
    content: bytes


def read_form(body: bytes) -> Record:
    """Read a url-encoded body."""
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def read_multipart(content_type: str, body: bytes) -> tuple[Record, dict[str, Upload]]:
    """Read a multipart body into its fields and its files."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if boundary is None:
        raise RefusedError("The multipart body has no boundary", 400)
    fields: Record = {}
    files: dict[str, Upload] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = head.decode("utf-8", "replace")
        name, file_name = _parameter(headers, "name"), _parameter(headers, "filename")
        kind = re.search(r"(?im)^content-type:\s*(\S+)", headers)
        if name is None:
            continue
        if file_name is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            files[name] = Upload(file_name, kind[1] if kind else "application/octet-stream", content)
    return fields, files


def _parameter(headers: str, name: str) -> str | None:
    found = re.search(rf'(?i)[;\s]{name}="((?:[^"\\]|\\.)*)"', headers)
    return re.sub(r"\\(.)", r"\1", found[1]).replace("%22", '"') if found else None
