"""Deliveries become events: one key for one event, one shape for both payload versions, names from the difference."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pipeflow import Change, Event
from pipeflow.catalog.values import Money
from pipeflow.client.definitions import Definitions, FieldDefinition
from pipeflow.errors import ConfigError
from pipeflow.events import build_event, merge_of, names_of, normalise, partition_of, read_delivery
from pipeflow.naming import known_names

COMPANY = 4410021
KEY = "ab" * 20
EVENT_ID = "0f8e5c1a-4d1b-4a8e-9b0e-2f6c3a7d1e55"


def version_2(
    action: str = "change", entity: str = "deal", *, data: Any = None, previous: Any = None, **meta: Any
) -> bytes:
    told = {
        "action": action,
        "entity": entity,
        "entity_id": "20417",
        "company_id": str(COMPANY),
        "user_id": "5521007",
        "id": EVENT_ID,
        "timestamp": "2026-11-03T09:41:22.057Z",
        "version": "2.0",
        **meta,
    }
    return json.dumps({"meta": told, "data": data, "previous": previous}).encode()


def version_1(
    action: str = "updated", entity: str = "deal", *, current: Any = None, previous: Any = None, **meta: Any
) -> bytes:
    told = {
        "v": 1,
        "action": action,
        "object": entity,
        "id": 49,
        "company_id": COMPANY,
        "user_id": 5521011,
        "timestamp": 1793699282,
        "timestamp_micro": 1793699282829509,
        "webhook_id": "770132",
        "is_bulk_update": False,
        **meta,
    }
    body = {"v": 1, "event": f"{action}.{entity}", "retry": 0, "meta": told, "current": current, "previous": previous}
    return json.dumps(body).encode()


def event_of(raw: bytes) -> Event[Any]:
    return build_event(normalise(raw), id=1, source="delivery", company=COMPANY, occurred_at=0.0, raw=raw)


def key_of(raw: bytes) -> str:
    return read_delivery(raw, COMPANY, 0.0).key


# -- what storing needs ------------------------------------------------------------------------------------------------


def test_a_delivery_tells_what_storing_needs() -> None:
    head = read_delivery(version_2(data={"id": 20417, "update_time": "2026-11-03T09:41:22Z"}), COMPANY, 5.0)
    assert (head.name, head.kind, head.record_id, head.action) == ("deal.updated", "deal", "20417", "updated")
    assert (head.key, head.delivery_id, head.actor_id) == (f"2.0:{EVENT_ID}", EVENT_ID, "5521007")
    assert head.occurred_at == datetime(2026, 11, 3, 9, 41, 22, 57000, UTC).timestamp()
    assert head.update_time == datetime(2026, 11, 3, 9, 41, 22, tzinfo=UTC).timestamp()
    assert (head.claimed_company, head.status, head.bulk) == (COMPANY, "stored", False)
    assert head.partition == partition_of(COMPANY, "deal", "20417")


def test_version_1_tells_the_same_in_its_own_words() -> None:
    head = read_delivery(version_1(current={"id": 49, "update_time": "2026-11-03 09:48:02"}), COMPANY, 5.0)
    assert (head.name, head.record_id, head.actor_id) == ("deal.updated", "49", "5521011")
    assert (head.claimed_company, head.delivery_id) == (COMPANY, None)
    assert head.occurred_at == pytest.approx(1793699282.829509)


def test_a_retry_has_the_key_of_the_first_try_in_both_versions() -> None:
    assert key_of(version_2(attempt=1)) == key_of(version_2(attempt=3))
    assert key_of(version_1()) == key_of(version_1().replace(b'"retry": 0', b'"retry": 2'))


@pytest.mark.parametrize("half", [b"\\ud83d", b"\\uDE00\\ud83d", b"\\\\\\udfff"])
def test_a_text_cut_in_the_middle_of_a_character_makes_no_delivery_unreadable(half: bytes) -> None:
    raw = version_2(data={"id": 7, "title": "HERE and here"}).replace(b"HERE", half)
    head = read_delivery(raw, COMPANY, 5.0)
    assert (head.status, head.name, head.delivery_id) == (
        "stored",
        "deal.updated",
        read_delivery(version_2(), 1, 5.0)[6],
    )
    assert str(normalise(raw).state["title"]).endswith("and here")


def test_other_events_have_other_keys_in_both_versions() -> None:
    assert key_of(version_2()) != key_of(version_2(id="another"))
    first = version_1()
    others = [version_1(timestamp_micro=1), version_1(id=50), version_1("deleted"), version_1(entity="person")]
    assert len({key_of(raw) for raw in [first, *others]}) == 5


def test_events_of_users_are_told_apart_although_their_id_is_the_users() -> None:
    first = version_2(entity="user", id="12", timestamp=1793699282, data={"id": "12", "name": "Ann"})
    second = version_2(entity="user", id="12", timestamp=1793699282, data={"id": "12", "name": "Anna"})
    assert key_of(first) == key_of(first)
    assert key_of(first) != key_of(second)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"meta": {}}',
        b'{"meta": {"action": 5, "entity": "deal"}}',
        b"\xff\xfe",
    ],
)
def test_what_names_nothing_is_unreadable_and_kept_under_a_key_of_its_own(raw: bytes) -> None:
    head = read_delivery(raw, COMPANY, 5.0)
    assert (head.status, head.kind, head.occurred_at) == ("unreadable", "unreadable", 5.0)
    assert head.key == key_of(raw) != key_of(raw + b" ")
    with pytest.raises(ValueError, match="not a delivery"):
        normalise(raw)


def test_unknown_entities_and_actions_keep_their_names() -> None:
    head = read_delivery(version_2("explode", "widget"), COMPANY, 0.0)
    assert (head.name, head.status) == ("widget.explode", "stored")


@pytest.mark.parametrize("told", ["2026-11-03T09:41:22Z", "2026-11-03 09:41:22", 1793698882, "1793698882"])
def test_timestamps_are_read_in_every_form_that_was_seen(told: Any) -> None:
    assert read_delivery(version_2(timestamp=told), COMPANY, 0.0).occurred_at == 1793698882.0


@pytest.mark.parametrize("told", ["soon", None, {}, 10**30, "0000-00-00 00:00:00"])
def test_an_odd_timestamp_is_the_time_at_which_it_came(told: Any) -> None:
    assert read_delivery(version_2(timestamp=told), COMPANY, 77.0).occurred_at == 77.0


def test_events_of_one_record_share_a_partition_and_records_are_spread() -> None:
    raws = [version_2(), version_2("delete"), version_2(id="another")]
    assert len({read_delivery(raw, COMPANY, 0.0).partition for raw in raws}) == 1
    spread = {partition_of(COMPANY, "deal", str(number)) for number in range(1000)}
    assert spread == set(range(64))
    assert partition_of(4410021, "deal", "20417") == 3


# -- one shape for both versions ---------------------------------------------------------------------------------------


def test_an_update_of_version_1_reads_like_one_of_version_2() -> None:
    old = {
        "id": 49,
        "title": "Acme",
        "status": "open",
        "user_id": 5,
        KEY: 500,
        f"{KEY}_currency": "USD",
        "label": "2,3",
    }
    new = {
        **old,
        "status": "won",
        "user_id": 6,
        KEY: 900,
        "label": "3",
        "formatted_value": "900 $",
        "activities_count": 4,
    }
    first = event_of(version_1(current=new, previous=old))
    custom = {KEY: {"type": "monetary", "value": 900, "currency": "USD"}}
    before = {KEY: {"type": "monetary", "value": 500, "currency": "USD"}}
    second = event_of(
        version_2(
            data={"id": 49, "title": "Acme", "status": "won", "owner_id": 6, "label_ids": [3], "custom_fields": custom},
            previous={"status": "open", "owner_id": 5, "label_ids": [2, 3], "custom_fields": before},
        )
    )
    assert first.changes == second.changes
    assert first.names == second.names == ("deal.updated", "deal.won", "deal.owner_changed")
    for event in (first, second):
        assert (event.record.title, event.record.owner_id, event.before and event.before.owner_id) == ("Acme", 6, 5)
        assert event.changes[KEY] == Change(Money(Decimal(500), "USD"), Money(Decimal(900), "USD"))


def test_related_records_that_version_1_nests_are_ids() -> None:
    event = event_of(version_1("added", current={"id": 49, "person_id": {"value": 8, "name": "Ann"}, "org_id": None}))
    assert (event.record.person_id, event.record.org_id, event.name) == (8, None, "deal.added")


def test_a_merge_is_told_by_both_halves_and_both_tell_the_same() -> None:
    gone = normalise(version_2("delete", entity_id="1", merged_to_id="2", previous={"id": 1}))
    kept = normalise(version_2("change", entity_id="2", merged_from_id="1", data={"id": 2}, previous={}))
    assert names_of(gone) == ("deal.deleted", "deal.merged")
    assert names_of(kept) == ("deal.updated", "deal.merged")
    assert merge_of(gone) == merge_of(kept)
    assert merge_of(normalise(version_2(data={}, previous={}))) is None
    old = normalise(version_1("merged", current={"id": 49, "merge_what_id": 48}, previous={"id": 48}))
    assert (names_of(old), merge_of(old) is not None) == (("deal.updated", "deal.merged"), True)


# -- names -------------------------------------------------------------------------------------------------------------

NAMES: list[tuple[str, Any, Any, tuple[str, ...]]] = [
    ("deal", {"status": "won"}, {"status": "open"}, ("deal.won",)),
    ("deal", {"status": "lost"}, {"status": "open"}, ("deal.lost",)),
    ("deal", {"status": "open"}, {"status": "lost"}, ("deal.reopened",)),
    ("deal", {"status": "won"}, {"status": "won"}, ()),
    ("deal", {"stage_id": 5}, {"stage_id": 4}, ("deal.stage_changed",)),
    ("deal", {"stage_id": 5}, {"stage_id": "5"}, ()),
    ("deal", {"pipeline_id": 2}, {"pipeline_id": 1}, ("deal.pipeline_changed",)),
    ("deal", {"is_archived": True}, {"is_archived": False}, ("deal.archived",)),
    ("deal", {"is_archived": False}, {"is_archived": True}, ("deal.unarchived",)),
    ("lead", {"owner_id": 2}, {"owner_id": 1}, ("lead.owner_changed",)),
    ("activity", {"done": 1}, {"done": False}, ("activity.completed",)),
    ("activity", {"done": False}, {"done": "1"}, ("activity.reopened",)),
    ("user", {"active_flag": False}, {"active_flag": True}, ("user.deactivated",)),
    ("widget", {"status": "won"}, {"status": "open"}, ()),
]


@pytest.mark.parametrize(("entity", "data", "previous", "derived"), NAMES)
def test_derived_names_come_from_the_difference(
    entity: str, data: Any, previous: Any, derived: tuple[str, ...]
) -> None:
    names = names_of(normalise(version_2(entity=entity, data=data, previous=previous)))
    assert names == (f"{entity}.updated", *derived)
    assert entity == "widget" or set(names) <= set(known_names())


def test_a_record_that_begins_as_won_or_done_is_told_so() -> None:
    assert names_of(normalise(version_2("create", data={"status": "won"}))) == ("deal.added", "deal.won")
    assert names_of(normalise(version_2("create", "activity", data={"done": True})))[1:] == ("activity.completed",)
    assert names_of(normalise(version_2("create", data={"status": "open"}))) == ("deal.added",)


# -- what a handler gets -----------------------------------------------------------------------------------------------


def test_an_event_tells_the_record_after_before_and_what_really_changed() -> None:
    custom, old = {KEY: {"type": "double", "value": 2}, "cd" * 20: None}, {KEY: None}
    event = event_of(
        version_2(
            data={"id": 1, "title": "New", "stage_id": 5, "org_id": None, "custom_fields": custom, "update_time": "x"},
            previous={"title": "Old", "stage_id": "5", "org_id": 7, "custom_fields": old, "update_time": None},
        )
    )
    assert dict(event.changes) == {"title": Change("Old", "New"), "org_id": Change(7, None), KEY: Change(None, 2)}
    assert event.before is not None
    assert (event.before.title, event.before.org_id, event.before.custom[KEY], event.before.stage_id) == (
        "Old",
        7,
        None,
        5,
    )
    assert (event.record.title, event.record.custom[KEY]) == ("New", 2)
    assert (event.name, event.actor_id, event.source, event.company) == ("deal.updated", 5521007, "delivery", COMPANY)


def test_changes_of_custom_fields_go_by_name_where_names_are_known() -> None:
    fields = Definitions()
    raw = version_2(
        data={"id": 1, "stage_id": 5, "custom_fields": {KEY: {"type": "double", "value": 2}}},
        previous={"stage_id": 4, "custom_fields": {KEY: None}},
    )
    event = build_event(normalise(raw), id=1, source="delivery", company=1, occurred_at=0.0, raw=raw, fields=fields)
    assert ("stage_id" in event.changes, "value" in event.changes, "weighted_value" in event.changes) == (
        True,
        False,
        False,
    )
    with pytest.raises(ConfigError):
        event.changes["Contract value"]
    fields.put("deal", [FieldDefinition(KEY, "Contract value", "double"), FieldDefinition("c" * 40, "Other", "double")])
    assert event.changes["Contract value"] == event.changes[KEY] == Change(None, 2)
    assert ("Other" in event.changes, "Nothing" in event.changes) == (False, False)
    assert list(event.changes) == ["stage_id", KEY]
    assert event.changes == {"stage_id": Change(4, 5), KEY: Change(None, 2)}
    fields.put("deal", [FieldDefinition(KEY, "Twin", "double"), FieldDefinition("c" * 40, "Twin", "double")])
    with pytest.raises(ConfigError, match=KEY):
        event.changes["Twin"]


def test_an_added_record_has_no_before_and_a_deleted_one_its_last_state() -> None:
    added = event_of(version_2("create", data={"id": 1, "title": "New"}))
    assert (added.record.title, added.before, dict(added.changes)) == ("New", None, {})
    deleted = event_of(version_2("delete", previous={"id": 1, "title": "Last"}))
    assert (deleted.record.title, deleted.before and deleted.before.title, dict(deleted.changes)) == (
        "Last",
        "Last",
        {},
    )


def test_a_delivery_without_any_state_is_an_event_all_the_same() -> None:
    for action in ("create", "change", "delete"):
        event = event_of(version_2(action))
        assert (event.record.id, dict(event.changes), dict(event.record.custom)) == (None, {}, {})
    listed = event_of(version_2("change", "user", data=[{"id": "12", "name": "Ann"}], previous=[]))
    assert (listed.record.id, listed.record.name) == (12, "Ann")


def test_a_tick_is_an_event_without_a_record() -> None:
    raw = b'{"job": "report.morning", "account": 1, "due_at": "2026-11-03T08:00:00+00:00"}'
    tick: Event[Any] = build_event(None, id=1, source="tick", company=COMPANY, occurred_at=0.0, raw=raw)
    assert (tick.name, tick.kind, tick.record_id, tick.record, tick.before) == (
        "tick",
        "job",
        "report.morning",
        None,
        None,
    )
    assert dict(tick.changes) == {}
