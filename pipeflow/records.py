"""Records as deliveries tell them, with Python values. Imports catalog.values, customs and naming.

Tolerant by construction: every field may be missing, an unknown one is kept, and a value of another type than expected
is kept as it came. Ids are int where they are numbers and str where they are UUIDs; moments are aware (UTC); flags that
are told as 0 and 1 are bool. Sources: the `data` of webhook payload version 2.0, per entity; for projects, tasks,
boards, phases and what belongs to deals the fields of REST v2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic_core import CoreSchema, core_schema

from pipeflow.catalog.values import (
    ADDRESS_PARTS,
    Address,
    Money,
    to_date,
    to_datetime,
    to_decimal,
    to_id,
    to_number,
    to_time,
)
from pipeflow.customs import custom_value
from pipeflow.naming import FieldNames

# Values -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContactDetail:
    """One e-mail address or phone number of a person."""

    value: str | None
    label: str | None = None
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """What a product costs in one currency."""

    price: float | None
    currency: str | None
    cost: float | None = None
    direct_cost: float | None = None
    notes: str | None = None


class _Reads:
    """Marks a field with its reader; a value that the reader refuses is kept as it came."""

    def __init__(self, read: Callable[[Any], Any], empty: Any = None) -> None:
        self._read = read
        self._empty = empty

    def __call__(self, value: Any) -> Any:
        if value is None:
            return self._empty
        try:
            return self._read(value)
        except (ValueError, TypeError, OverflowError, ArithmeticError, LookupError):
            return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self)


def _text(value: Any) -> Any:
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1, "0", "1"):
        return bool(int(value))
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError(f"not a flag: {value!r}")


def _ids(value: Any) -> tuple[int | str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"not a list: {value!r}")
    return tuple(to_id(item) for item in value)


def _inner(value: Any) -> Any:
    # On a change an activity's `due_time` and `duration` are objects, on its creation text.
    return value.get("value") if isinstance(value, Mapping) else value


def _clock(value: Any) -> time | None:
    return to_time(_inner(value))


def _duration(value: Any) -> timedelta | None:
    text = _inner(value)
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise ValueError(f"not a duration: {value!r}")
    hours, minutes, seconds = ([int(part) for part in text.split(":")] + [0, 0])[:3]
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _money(value: Any) -> Money:
    currency = value["currency"]
    return Money(to_decimal(value["amount"]), str(currency) if currency else None)


def _address(value: Any) -> Address | None:
    if value == "":
        return None
    if isinstance(value, str):
        return Address(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"not an address: {value!r}")
    return Address(**{part: str(value[part]) for part in ADDRESS_PARTS if value.get(part) is not None})


def _contacts(value: Any) -> tuple[ContactDetail, ...]:
    if isinstance(value, str):
        return (ContactDetail(value, primary=True),) if value else ()
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return tuple(_contact(item) for item in value)


def _contact(item: Any) -> ContactDetail:
    if isinstance(item, str):
        return ContactDetail(item)
    return ContactDetail(item.get("value"), item.get("label"), _flag(item.get("primary") or False))


def _prices(value: Any) -> tuple[Price, ...]:
    items = value.values() if isinstance(value, Mapping) else value
    return tuple(
        Price(item.get("price"), item.get("currency"), item.get("cost"), item.get("direct_cost"), item.get("notes"))
        for item in items
    )


Id: TypeAlias = Annotated[int, _Reads(to_id)]
Uuid: TypeAlias = Annotated[str, _Reads(to_id)]
AnyId: TypeAlias = Annotated[int | str | None, _Reads(to_id)]
RefId: TypeAlias = Annotated[int | None, _Reads(to_id)]
Ids: TypeAlias = Annotated[tuple[int, ...], _Reads(_ids, ())]
Uuids: TypeAlias = Annotated[tuple[str, ...], _Reads(_ids, ())]
Text: TypeAlias = Annotated[str | None, _Reads(_text)]
Number: TypeAlias = Annotated[float | None, _Reads(to_number)]
Flag: TypeAlias = Annotated[bool | None, _Reads(_flag)]
Moment: TypeAlias = Annotated[datetime | None, _Reads(to_datetime)]
Day: TypeAlias = Annotated[date | None, _Reads(to_date)]
Clock: TypeAlias = Annotated[time | None, _Reads(_clock)]
Duration: TypeAlias = Annotated[timedelta | None, _Reads(_duration)]
Amount: TypeAlias = Annotated[Money | None, _Reads(_money)]
Place: TypeAlias = Annotated[Address | None, _Reads(_address)]
Contacts: TypeAlias = Annotated[tuple[ContactDetail, ...], _Reads(_contacts, ())]
Prices: TypeAlias = Annotated[tuple[Price, ...], _Reads(_prices, ())]
_NO_ID: Any = Field(default=None)


class CustomFields(Mapping[str, Any]):
    """A record's custom fields as Python values, by key or, where the company's fields are known, by name.

        deal.custom["Contract value"]      # Money(amount=Decimal("900"), currency="EUR")

    A field without a value is None. Iterating gives the keys that the delivery told. KeyError for an unknown field;
    ConfigError for a name that two fields have.
    """

    def __init__(self, kind: str, values: Mapping[str, Any], fields: FieldNames | None) -> None:
        self._kind = kind
        self._values = values
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        key = name if name in self._values else self._key(name)
        return read_custom(self._kind, key, self._values.get(key), self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"CustomFields({dict(self)!r})"

    def _key(self, name: str) -> str:
        if self._fields is not None:
            return self._fields.key(self._kind, name)
        if is_custom_key(name):
            return name
        raise KeyError(f"{name!r}: the names of the custom fields are not known here; use the key")


def is_custom_key(text: str) -> bool:
    """Say whether this is the key of a custom field: 40 hexadecimal digits."""
    return len(text) == 40 and all(letter in "0123456789abcdef" for letter in text)


# Records ------------------------------------------------------------------------------------------------------------


class Record(BaseModel):
    """Any record; what its class does not name is kept as it came."""

    model_config = ConfigDict(
        extra="allow", frozen=True, defer_build=True, protected_namespaces=(), arbitrary_types_allowed=True
    )
    kind: ClassVar[str] = ""
    _fields: FieldNames | None = PrivateAttr(default=None)

    custom_fields: Annotated[Any, _Reads(_text)] = None

    @cached_property
    def custom(self) -> CustomFields:
        """The custom fields as Python values, by key or name."""
        values = self.custom_fields
        return CustomFields(self.kind, values if isinstance(values, Mapping) else {}, self._fields)


class Deal(Record):
    """A deal."""

    kind: ClassVar[str] = "deal"
    id: Id = _NO_ID
    title: Text = None
    value: Number = None
    currency: Text = None
    status: Text = None
    stage_id: RefId = None
    pipeline_id: RefId = None
    owner_id: RefId = None
    creator_user_id: RefId = None
    person_id: RefId = None
    org_id: RefId = None
    label_ids: Ids = ()
    probability: Number = None
    visible_to: RefId = None
    expected_close_date: Day = None
    add_time: Moment = None
    update_time: Moment = None
    stage_change_time: Moment = None
    close_time: Moment = None
    won_time: Moment = None
    first_won_time: Moment = None
    lost_time: Moment = None
    lost_reason: Text = None
    origin: Text = None
    origin_id: AnyId = None
    channel: AnyId = None
    channel_id: AnyId = None
    is_archived: Flag = None
    archive_time: Moment = None
    source_lead_id: Annotated[str | None, _Reads(to_id)] = None


class Person(Record):
    """A person: somebody one talks to."""

    kind: ClassVar[str] = "person"
    id: Id = _NO_ID
    name: Text = None
    first_name: Text = None
    last_name: Text = None
    org_id: RefId = None
    owner_id: RefId = None
    emails: Contacts = ()
    phones: Contacts = ()
    label: AnyId = None
    label_ids: Ids = ()
    visible_to: RefId = None
    add_time: Moment = None
    update_time: Moment = None


class Organization(Record):
    """An organization: a company one sells to."""

    kind: ClassVar[str] = "organization"
    id: Id = _NO_ID
    name: Text = None
    owner_id: RefId = None
    address: Place = None
    country_code: Text = None
    label: AnyId = None
    label_ids: Ids = ()
    picture_id: AnyId = None
    visible_to: RefId = None
    website: Text = None
    linkedin: Text = None
    industry: AnyId = None
    annual_revenue: Number = None
    employee_count: Number = None
    add_time: Moment = None
    update_time: Moment = None


class Activity(Record):
    """An activity: a call, a meeting, anything planned or done."""

    kind: ClassVar[str] = "activity"
    id: Id = _NO_ID
    subject: Text = None
    type: Text = None
    done: Flag = None
    active_flag: Flag = None
    busy_flag: Flag = None
    owner_id: RefId = None
    creator_user_id: RefId = None
    update_user_id: RefId = None
    deal_id: RefId = None
    person_id: RefId = None
    org_id: RefId = None
    project_id: RefId = None
    lead_id: Annotated[str | None, _Reads(to_id)] = None
    due_date: Day = None
    due_time: Clock = None
    duration: Duration = None
    location: Place = None
    public_description: Text = None
    marked_as_done_time: Moment = None
    add_time: Moment = None
    update_time: Moment = None


class Lead(Record):
    """A lead: what may become a deal. Its id is a UUID."""

    kind: ClassVar[str] = "lead"
    id: Uuid = _NO_ID
    title: Text = None
    value: Amount = None
    owner_id: RefId = None
    creator_id: RefId = None
    person_id: RefId = None
    organization_id: RefId = None
    label_ids: Uuids = ()
    expected_close_date: Day = None
    is_archived: Flag = None
    was_seen: Flag = None
    next_activity_id: RefId = None
    source_name: Text = None
    origin: Text = None
    origin_id: AnyId = None
    channel: AnyId = None
    channel_id: AnyId = None
    visible_to: RefId = None
    add_time: Moment = None
    update_time: Moment = None


class Product(Record):
    """A product one sells."""

    kind: ClassVar[str] = "product"
    id: Id = _NO_ID
    name: Text = None
    code: Text = None
    description: Text = None
    unit: Text = None
    tax: Number = None
    category: AnyId = None
    owner_id: RefId = None
    selectable: Flag = None
    visible_to: RefId = None
    prices: Prices = ()
    add_time: Moment = None
    update_time: Moment = None


class Note(Record):
    """A note; `content` is HTML."""

    kind: ClassVar[str] = "note"
    id: Id = _NO_ID
    user_id: RefId = None
    deal_id: RefId = None
    person_id: RefId = None
    org_id: RefId = None
    project_id: RefId = None
    lead_id: Annotated[str | None, _Reads(to_id)] = None
    content: Text = None
    active_flag: Flag = None
    pinned_to_deal_flag: Flag = None
    pinned_to_person_flag: Flag = None
    pinned_to_organization_flag: Flag = None
    add_time: Moment = None
    update_time: Moment = None


class Pipeline(Record):
    """A pipeline; here `deal_probability` says whether its stages have one."""

    kind: ClassVar[str] = "pipeline"
    id: Id = _NO_ID
    name: Text = None
    url_title: Text = None
    order_nr: RefId = None
    active_flag: Flag = None
    deal_probability: Flag = None
    add_time: Moment = None
    update_time: Moment = None


class Stage(Record):
    """A stage of a pipeline; `deal_probability` in percent."""

    kind: ClassVar[str] = "stage"
    id: Id = _NO_ID
    name: Text = None
    pipeline_id: RefId = None
    order_nr: RefId = None
    active_flag: Flag = None
    deal_probability: Number = None
    rotten_flag: Flag = None
    rotten_days: Number = None
    add_time: Moment = None
    update_time: Moment = None


class User(Record):
    """A user of the company's account."""

    kind: ClassVar[str] = "user"
    id: Id = _NO_ID
    name: Text = None
    email: Text = None
    phone: Text = None
    default_currency: Text = None
    locale: Text = None
    lang: AnyId = None
    active_flag: Flag = None
    last_login: Moment = None
    timezone_name: Text = None
    icon_url: Text = None
    created: Moment = None
    modified: Moment = None
    access: Annotated[Any, _Reads(_text)] = None


class Project(Record):
    """A project."""

    kind: ClassVar[str] = "project"
    id: Id = _NO_ID
    title: Text = None
    description: Text = None
    status: Text = None
    board_id: RefId = None
    phase_id: RefId = None
    owner_id: RefId = None
    start_date: Day = None
    end_date: Day = None
    deal_ids: Ids = ()
    person_ids: Ids = ()
    org_ids: Ids = ()
    label_ids: Ids = ()
    health_status: AnyId = None
    status_change_time: Moment = None
    archive_time: Moment = None
    add_time: Moment = None
    update_time: Moment = None


class Task(Record):
    """A task of a project."""

    kind: ClassVar[str] = "task"
    id: Id = _NO_ID
    title: Text = None
    creator_id: RefId = None
    project_id: RefId = None
    is_done: Flag = None
    is_milestone: Flag = None
    start_date: Day = None
    due_date: Day = None
    parent_task_id: RefId = None
    assignee_ids: Ids = ()
    priority: AnyId = None
    marked_as_done_time: Moment = None
    add_time: Moment = None
    update_time: Moment = None


class Board(Record):
    """A board of projects."""

    kind: ClassVar[str] = "board"
    id: Id = _NO_ID
    name: Text = None
    order_nr: RefId = None
    add_time: Moment = None
    update_time: Moment = None


class Phase(Record):
    """A phase of a board."""

    kind: ClassVar[str] = "phase"
    id: Id = _NO_ID
    name: Text = None
    board_id: RefId = None
    order_nr: RefId = None
    add_time: Moment = None
    update_time: Moment = None


class DealProduct(Record):
    """A product on a deal."""

    kind: ClassVar[str] = "deal_product"
    id: Id = _NO_ID
    deal_id: RefId = None
    product_id: RefId = None
    product_variation_id: RefId = None
    name: Text = None
    item_price: Number = None
    quantity: Number = None
    sum: Number = None
    tax: Number = None
    tax_method: Text = None
    discount: Number = None
    discount_type: Text = None
    currency: Text = None
    comments: Text = None
    is_enabled: Flag = None
    order_nr: RefId = None
    billing_frequency: Text = None
    billing_frequency_cycles: Number = None
    billing_start_date: Day = None
    add_time: Moment = None
    update_time: Moment = None


class DealInstallment(Record):
    """One instalment of a deal's price."""

    kind: ClassVar[str] = "deal_installment"
    id: Id = _NO_ID
    deal_id: RefId = None
    amount: Number = None
    billing_date: Day = None
    description: Text = None


class ActivityType(Record):
    """A type of activity; told by payload version 1.0 only."""

    kind: ClassVar[str] = "activityType"
    id: Id = _NO_ID
    name: Text = None
    key_string: Text = None
    icon_key: Text = None
    color: Text = None
    order_nr: RefId = None
    active_flag: Flag = None
    is_custom_flag: Flag = None
    add_time: Moment = None
    update_time: Moment = None


RECORDS: dict[str, type[Record]] = {
    model.kind: model
    for model in (
        Deal,
        Person,
        Organization,
        Activity,
        Lead,
        Product,
        Note,
        Pipeline,
        Stage,
        User,
        Project,
        Task,
        Board,
        Phase,
        DealProduct,
        DealInstallment,
        ActivityType,
    )
}
"""The class of each kind's records; other kinds are plain `Record`s."""

# Reading ------------------------------------------------------------------------------------------------------------


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
    record._fields = fields
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
        read = readers.get(key, _text)
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


def read_custom(kind: str, key: str, raw: Any, fields: FieldNames | None) -> Any:
    """Give the Python value of one custom field."""
    if raw is None or fields is None:
        return custom_value(raw)
    return custom_value(raw, type=fields.type(kind, key), labels=fields.options(kind, key))


@cache
def _readers(model: type[Record]) -> dict[str, Callable[[Any], Any]]:
    return {
        name: mark for name, info in model.model_fields.items() for mark in info.metadata if isinstance(mark, _Reads)
    }
