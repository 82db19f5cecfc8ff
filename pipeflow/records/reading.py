"""Makes records and differences of states; never fails, whatever the values. Imports the records beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pipeflow.customs import read_custom
from pipeflow.naming import FieldNames
from pipeflow.records import company, projects, sales
from pipeflow.records.base import Record
from pipeflow.records.types import Reads, as_it_came

RECORDS: dict[str, type[Record]] = {
    model.kind: model
    for model in (
        sales.Deal,
        sales.Person,
        sales.Organization,
        sales.Activity,
        sales.Lead,
        sales.Product,
        sales.Note,
        company.Pipeline,
        company.Stage,
        company.User,
        projects.Project,
        projects.Task,
        projects.Board,
        projects.Phase,
        sales.DealProduct,
        sales.DealInstallment,
        company.ActivityType,
        company.File,
        company.Follower,
        company.Mail,
    )
}
"""The class of each kind's records; other kinds are plain `Record`s."""


def read_record(
    kind: str,
    state: Mapping[str, Any],
    fields: FieldNames | None = None,
    record_types: type[Record] | tuple[type[Record], ...] | None = None,
) -> Record:
    """Make the record of a state; never fails, whatever the values. The first of `record_types` that fits is taken."""
    model = RECORDS.get(kind, Record)
    candidates = record_types if isinstance(record_types, tuple) else (record_types,) if record_types else ()
    model = next((candidate for candidate in candidates if issubclass(candidate, model)), model)
    record = model.model_validate(state)
    if fields is not None:
        record.__dict__["_fields"] = fields
    return record


def changes(
    kind: str, data: Mapping[str, Any], previous: Mapping[str, Any], fields: FieldNames | None = None
) -> dict[str, tuple[Any, Any]]:
    """Give the old and new value of what really changed; `previous` is the diff that the delivery told."""
    readers = _readers(RECORDS.get(kind, Record))
    found: dict[str, tuple[Any, Any]] = {}
    for key, old in previous.items():
        if key in ("custom_fields", "update_time"):
            continue
        read = readers.get(key, as_it_came)
        pair = (read(old), read(data.get(key)))
        if pair[0] != pair[1]:
            found[key] = pair
    custom, old_custom = data.get("custom_fields"), previous.get("custom_fields")
    if isinstance(old_custom, Mapping):
        new_custom = custom if isinstance(custom, Mapping) else {}
        for key, old in old_custom.items():
            pair = (read_custom(kind, key, old, fields), read_custom(kind, key, new_custom.get(key), fields))
            if pair[0] != pair[1]:
                found[key] = pair
    return found


@cache
def _readers(model: type[Record]) -> dict[str, Callable[[Any], Any]]:
    return {
        name: mark for name, info in model.model_fields.items() for mark in info.metadata if isinstance(mark, Reads)
    }
