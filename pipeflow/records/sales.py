"""Records of selling: deals, leads, and whom and what they are about. Imports the base and the types of fields."""

from __future__ import annotations

from typing import ClassVar

from pipeflow.records.base import Record
from pipeflow.records.types import (
    NO_ID,
    Amount,
    AnyId,
    Clock,
    Contacts,
    Day,
    Duration,
    Flag,
    Id,
    Ids,
    Moment,
    Number,
    Place,
    Prices,
    RefId,
    Text,
    Uuid,
    UuidRef,
    Uuids,
)


class Deal(Record):
    """A deal."""

    kind: ClassVar[str] = "deal"
    id: Id = NO_ID
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
    source_lead_id: UuidRef = None


class Lead(Record):
    """A lead: what may become a deal. Its id is a UUID."""

    kind: ClassVar[str] = "lead"
    id: Uuid = NO_ID
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
    deal_id: RefId = None
    """The deal that it was converted to; told with `lead.converted` alone."""
    add_time: Moment = None
    update_time: Moment = None


class Person(Record):
    """A person: somebody one talks to."""

    kind: ClassVar[str] = "person"
    id: Id = NO_ID
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
    id: Id = NO_ID
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
    id: Id = NO_ID
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
    lead_id: UuidRef = None
    due_date: Day = None
    due_time: Clock = None
    duration: Duration = None
    location: Place = None
    public_description: Text = None
    marked_as_done_time: Moment = None
    add_time: Moment = None
    update_time: Moment = None


class Product(Record):
    """A product one sells."""

    kind: ClassVar[str] = "product"
    id: Id = NO_ID
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


class DealProduct(Record):
    """A product on a deal."""

    kind: ClassVar[str] = "deal_product"
    id: Id = NO_ID
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
    id: Id = NO_ID
    deal_id: RefId = None
    amount: Number = None
    billing_date: Day = None
    description: Text = None


class Note(Record):
    """A note; `content` is HTML."""

    kind: ClassVar[str] = "note"
    id: Id = NO_ID
    user_id: RefId = None
    deal_id: RefId = None
    person_id: RefId = None
    org_id: RefId = None
    project_id: RefId = None
    lead_id: UuidRef = None
    content: Text = None
    active_flag: Flag = None
    pinned_to_deal_flag: Flag = None
    pinned_to_person_flag: Flag = None
    pinned_to_organization_flag: Flag = None
    add_time: Moment = None
    update_time: Moment = None
