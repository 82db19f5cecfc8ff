"""The base of every generated model, and `UNSET`. Imports pydantic alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict


class Unset:
    """The type of `UNSET`: a field that was left out, which is not the same as `None`."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

CustomFields: TypeAlias = Mapping[str, Any]
"""Values of custom fields by the field's name or key; `None` clears one."""

FileInput: TypeAlias = Path | bytes | BinaryIO | tuple[str, bytes | BinaryIO] | tuple[str, bytes | BinaryIO, str]
"""A file to upload: a path, bytes, a named file object, or `(file name, content[, content type])`."""


class Model(BaseModel):
    """A value from Pipedrive: every field optional, unknown fields kept, nulls tolerated."""

    model_config = ConfigDict(extra="allow", defer_build=True, populate_by_name=True, protected_namespaces=())
