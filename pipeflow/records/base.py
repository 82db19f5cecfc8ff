"""What every record has. Imports customs, naming and the types of fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from pipeflow.customs import CustomFields
from pipeflow.naming import FieldNames
from pipeflow.records.types import Anything


class Record(BaseModel):
    """Any record; what its class does not name is kept as it came."""

    model_config = ConfigDict(
        extra="allow", frozen=True, defer_build=True, protected_namespaces=(), arbitrary_types_allowed=True
    )
    kind: ClassVar[str] = ""
    # Not a private attribute: pydantic would prepare one for every record, and this is set by `read_record` alone.
    _fields: ClassVar[FieldNames | None] = None

    custom_fields: Anything = None

    @cached_property
    def custom(self) -> CustomFields:
        """The custom fields as Python values, by key or name."""
        values = self.custom_fields
        return CustomFields(self.kind, values if isinstance(values, Mapping) else {}, self._fields)
