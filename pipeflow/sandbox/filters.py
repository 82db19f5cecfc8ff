"""Which records a list shows: query parameters, and the stored filters of `filter_id`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pipeflow.sandbox.answers import Record, missing
from pipeflow.sandbox.clock import parse, stamp
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.routing import Call

# Query parameters of generation 2 that must equal a field: name -> field.
EQUALS: Final[dict[str, dict[str, str]]] = {
    "deal": {name: name for name in ("owner_id", "person_id", "org_id", "pipeline_id", "stage_id")},
    "person": {"owner_id": "owner_id", "org_id": "org_id"},
    "organization": {"owner_id": "owner_id"},
    "activity": {name: name for name in ("owner_id", "deal_id", "lead_id", "person_id", "org_id")},
    "product": {"owner_id": "owner_id"},
    "stage": {"pipeline_id": "pipeline_id"},
    "project": {"status": "status", "phase_id": "phase_id"},
    "task": {"project_id": "project_id", "parent_task_id": "parent_task_id"},
    "phase": {"board_id": "board_id"},
    "lead": {name: name for name in ("owner_id", "person_id", "organization_id")},
    "note": {name: name for name in ("user_id", "lead_id", "deal_id", "person_id", "org_id", "project_id", "task_id")},
}


def same(given: str, value: Any) -> bool:
    """Compare a query parameter with a value."""
    return given == str(value).lower() if isinstance(value, bool) else given == str(value)


def by_query(call: Call, kind: str, records: Iterable[Record]) -> list[Record]:
    """Keep the records that the query's equalities and times allow, or the stored filter's: that one wins."""
    if "filter_id" in call.query:
        return by_filter(call.company, call.number("filter_id"), records)
    tests: list[Callable[[Record], bool]] = []
    for name, field in EQUALS.get(kind, {}).items():
        if given := call.query.get(name):
            tests.append(lambda record, given=given, field=field: same(given, record[field]))  # type: ignore[misc]
    if ids := {int(one) for one in call.listed("ids") if one.isdigit()}:
        tests.append(lambda record: record["id"] in ids)
    if since := call.query.get("updated_since"):
        after = _second(since)
        tests.append(lambda record: record["update_time"][:19] >= after)
    if until := call.query.get("updated_until"):
        before = _second(until)
        tests.append(lambda record: record["update_time"][:19] < before)
    return [record for record in records if all(test(record) for test in tests)]


def _second(text: str) -> str:
    return stamp(parse(text))[:19]


def by_filter(company: Company, filter_id: int | None, records: Iterable[Record]) -> list[Record]:
    """Keep the records that a stored filter allows."""
    stored = company.find("filter", filter_id)
    if stored is None or is_deleted(stored):
        raise missing("Filter")
    names = {str(field["id"]): field["key"] for fields in company.fields.values() for field in fields.values()}
    return [record for record in records if _holds(stored["conditions"], record, names)]


def _holds(condition: Record, record: Record, names: dict[str, str]) -> bool:
    """Evaluate a filter's tree: groups with a glue, leaves with a field, an operator and a value."""
    if "conditions" in condition:
        parts = [_holds(one, record, names) for one in condition["conditions"] or [] if one]
        return (any(parts) or not parts) if condition.get("glue") == "or" else all(parts)
    if "field_id" not in condition and "field_code" not in condition:
        return True
    key = condition.get("field_code") or names.get(str(condition["field_id"]), "")
    value = record.get(key, record.get("custom_fields", {}).get(key))
    wanted, operator = condition.get("value"), condition.get("operator", "=")
    if operator in ("IS NULL", "IS NOT NULL"):
        return bool((value is None) == (operator == "IS NULL"))
    if operator in ("=", "!="):
        return bool((str(value).lower() == str(wanted).lower()) == (operator == "="))
    if value is None or wanted is None:
        return False
    if operator.startswith("LIKE"):
        return str(wanted).strip("%").lower() in str(value).lower()
    return _ordered(operator, value, wanted)


def _ordered(operator: str, value: Any, wanted: Any) -> bool:
    if isinstance(value, int | float):
        try:
            wanted = float(wanted)
        except (TypeError, ValueError):
            return False
    else:
        value, wanted = str(value), str(wanted)
    results = {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}
    return bool(results.get(operator, False))
