"""The base of every generated model, and `UNSET`. Imports pydantic alone."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict


class Unset:
    """The type of `UNSET`: a field that was left out, which is not the same as `None`."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


class Model(BaseModel):
    """A value from Pipedrive: every field optional, unknown fields kept, nulls tolerated."""

    model_config = ConfigDict(extra="allow", defer_build=True, populate_by_name=True, protected_namespaces=())
