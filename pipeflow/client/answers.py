"""Answers as they came, and the errors that some of them stand for. Imports errors and the catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeflow import errors
from pipeflow.catalog import Operation
from pipeflow.client.refusals import fail, read_body, said_in

# Reads are large and typed in one pass: one that begins so is not parsed to see whether it says that it failed.
_FINE = re.compile(rb'\s*{\s*"success"\s*:\s*true\b')


@dataclass(frozen=True)
class Response:
    """One answer of Pipedrive: `headers` have lower-case names, `content` is the body as it came.

    `sent` names the fields of the JSON body that was sent, `account` who asked.
    """

    operation: Operation
    path: str
    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    sent: frozenset[str] = frozenset()
    account: str | None = None

    @cached_property
    def envelope(self) -> Any:
        """The body as JSON; None where there is none. Raises UnexpectedBody where it cannot be read."""
        if not self.content.strip():
            return None
        try:
            return json.loads(self.content)
        except ValueError:
            text = self.content.decode(errors="replace")
            raise errors.UnexpectedBody(
                f"{self.operation.method} {self.path} answered {self.status} with a body that is no JSON.",
                method=self.operation.method,
                path=self.path,
                account=self.account,
                status=self.status,
                text=text,
            ) from None

    @property
    def data(self) -> Any:
        """The data in the envelope, or the whole body where the operation has none."""
        body = self.envelope
        if self.operation.result == "bare" or not isinstance(body, dict):
            return body
        return body.get("data")

    def part(self, name: str) -> dict[str, Any]:
        """Give a mapping beside the data, such as `additional_data`; empty where there is none."""
        body = self.envelope
        found = body.get(name) if isinstance(body, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def items(self) -> list[Any]:
        """The elements of a list answer, wherever they stand in it."""
        data = self.data
        if isinstance(data, list):
            return data
        if not isinstance(data, dict):
            return []
        if isinstance(data.get("items"), list):
            return list(data["items"])
        return next((value for value in data.values() if isinstance(value, list)), [])


def check(response: Response) -> None:
    """Raise the error that the answer stands for, if any."""
    if response.status >= 300:
        if _was_gone(response):
            return
        fail(response)
    if response.operation.result == "bytes" or (response.operation.method == "GET" and _FINE.match(response.content)):
        return
    body = response.envelope
    if isinstance(body, dict) and body.get("success") is False:
        raise errors.UnexpectedBody(
            f"{response.operation.method} {response.path} answered {response.status} but says it failed: "
            f"{said_in(body)}",
            method=response.operation.method,
            path=response.path,
            status=response.status,
            text=response.content.decode(errors="replace"),
        )


def _was_gone(response: Response) -> bool:
    """Tell whether what should be deleted had been before: Pipedrive says 410, success and the id."""
    if response.status != 410 or response.operation.method != "DELETE":
        return False
    body = read_body(response.content)
    return isinstance(body, dict) and body.get("success") is True
