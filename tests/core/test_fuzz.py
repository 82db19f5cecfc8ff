"""Whatever comes through the door: reading it never raises, and an event made of it never surprises a handler."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeflow.events import UNREADABLE, build_event, names_of, normalise, read_delivery
from pipeflow.records import RECORDS
from tests.web.conftest import DELIVERY

COMPANY = 4410021
FIRST: dict[str, Any] = {
    "v": 1,
    "event": "updated.deal",
    "retry": 0,
    "meta": {"v": 1, "action": "updated", "object": "deal", "id": 7, "company_id": COMPANY, "timestamp": 1762162882},
    "current": {"id": 7, "title": "Chairs", "value": 12, "stage_id": 3, "update_time": "2026-11-03 09:41:22"},
    "previous": {"id": 7, "title": "Chairs", "value": 10, "stage_id": 2, "update_time": "2026-11-03 09:40:00"},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a delivery of either version with anything in place of some of its fields."""
    body = copy.deepcopy(draw(st.sampled_from([DELIVERY, FIRST])))
    body["meta"]["entity" if "entity" in body["meta"] else "object"] = draw(st.sampled_from([*RECORDS, "widget"]))
    for _ in range(draw(st.integers(0, 5))):
        part = draw(st.sampled_from(sorted(body)))
        inside = body[part]
        if isinstance(inside, dict) and inside and draw(st.booleans()):
            inside[draw(st.sampled_from(sorted(inside)) | st.text(max_size=12))] = draw(anything)
        else:
            body[part] = draw(anything)
    return body


def as_an_engine_does(raw: bytes) -> None:
    """Read a body, name it and look at everything that a handler may look at."""
    head = read_delivery(raw, COMPANY, 1.0)
    try:
        payload = normalise(raw)
    except ValueError:
        assert head.status == "unreadable"
        return
    assert head.status == "stored"
    names = names_of(payload)
    assert names[0] == f"{payload.kind}.{payload.action}"
    event = build_event(
        payload, id=1, source="delivery", company=COMPANY, occurred_at=head.occurred_at, raw=raw, names=names
    )
    assert event.record is not None
    assert event.action == "added" or event.before is not None
    for change in event.changes.values():
        assert change.old != change.new


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_a_damaged_delivery_is_an_event_or_unreadable_and_never_an_error(body: dict[str, Any]) -> None:
    as_an_engine_does(json.dumps(body).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_event_or_unreadable_and_never_an_error(raw: bytes) -> None:
    as_an_engine_does(raw)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"meta":{}}', b'{"meta":{"action":1,"entity":"deal"}}'])
def test_what_names_no_record_is_unreadable(raw: bytes) -> None:
    assert read_delivery(raw, COMPANY, 1.0).name == UNREADABLE
