"""The bases of the generated models, and `UNSET`. Imports pydantic, and customs once a custom field is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pipeflow.customs import CustomFields as ReadCustomFields


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

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called as a file travels, with the bytes so far and, where it is known, in all."""


if TYPE_CHECKING:
    NumberId: TypeAlias = int
    TextId: TypeAlias = str
else:
    NumberId = int | None
    TextId = str | None

ABSENT: Any = None
"""The default of a field that every record of Pipedrive's has, and that code may therefore use without a question."""


class Model(BaseModel):
    """A value from Pipedrive: every field optional, unknown fields kept, nulls tolerated."""

    model_config = ConfigDict(extra="allow", defer_build=True, populate_by_name=True, protected_namespaces=())


class CustomModel(Model):
    """A record with custom fields: `custom` reads them, in either version, by name or key."""

    kind: ClassVar[str] = ""
    # The client puts what it knows of the company into the record's own `__dict__`; a private attribute would cost
    # every record, nested ones too, a call.
    _fields: ClassVar[Any] = None

    @property
    def custom(self) -> ReadCustomFields:
        """The custom fields as Python values: `deal.custom["Contract value"]`.

        By name or key, None where empty. KeyError for an unknown field; ConfigError for a name that two fields have.
        """
        from pipeflow.customs import CustomFields

        return CustomFields(self.kind, custom_values(self), self._fields)


def home_of(kind: str) -> str:
    """Give the kind of record whose custom fields a kind has: leads share those of deals."""
    return "deal" if kind == "lead" else kind


def custom_values(record: CustomModel) -> Mapping[str, Any]:
    """Give a record's custom fields as they came, by key: those of version 2, or version 1's flat ones gathered."""
    nested: Any = record.__dict__.get("custom_fields") or (record.model_extra or {}).get("custom_fields")
    if isinstance(nested, dict):
        return nested
    from pipeflow.customs import gathered

    return gathered(record.model_extra or {})
