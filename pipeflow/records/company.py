"""Records of how a company has set Pipedrive up. Imports the base and the types of fields."""

from __future__ import annotations

from typing import ClassVar

from pipeflow.records.base import Record
from pipeflow.records.types import NO_ID, AnyId, Anything, Flag, Id, Moment, Number, RefId, Text


class Pipeline(Record):
    """A pipeline; here `deal_probability` says whether its stages have one."""

    kind: ClassVar[str] = "pipeline"
    id: Id = NO_ID
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
    id: Id = NO_ID
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
    id: Id = NO_ID
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
    access: Anything = None


class ActivityType(Record):
    """A type of activity; told by payload version 1.0 only."""

    kind: ClassVar[str] = "activityType"
    id: Id = NO_ID
    name: Text = None
    key_string: Text = None
    icon_key: Text = None
    color: Text = None
    order_nr: RefId = None
    active_flag: Flag = None
    is_custom_flag: Flag = None
    add_time: Moment = None
    update_time: Moment = None
