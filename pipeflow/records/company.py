"""Records of how a company has set Pipedrive up, and of what hangs on others. Imports base and types of fields."""

from __future__ import annotations

from typing import ClassVar

from pipeflow.records.base import Record
from pipeflow.records.types import NO_ID, AnyId, Anything, Flag, Id, Moment, Number, RefId, Text, UuidRef


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


class File(Record):
    """A file on a record; found by polling alone. Its content is `client.files.download_file(file.id)`."""

    kind: ClassVar[str] = "file"
    id: Id = NO_ID
    name: Text = None
    file_name: Text = None
    file_type: Text = None
    file_size: Number = None
    description: Text = None
    user_id: RefId = None
    deal_id: RefId = None
    person_id: RefId = None
    org_id: RefId = None
    product_id: RefId = None
    activity_id: RefId = None
    lead_id: UuidRef = None
    project_id: RefId = None
    remote_location: Text = None
    remote_id: AnyId = None
    url: Text = None
    active_flag: Flag = None
    inline_flag: Flag = None
    add_time: Moment = None
    update_time: Moment = None


class Mail(Record):
    """A mail thread of the account's user; found by polling alone."""

    kind: ClassVar[str] = "mail"
    id: Id = NO_ID
    user_id: RefId = None
    subject: Text = None
    snippet: Text = None
    parties: Anything = None
    message_count: Number = None
    has_attachments_flag: Flag = None
    has_sent_flag: Flag = None
    deal_id: RefId = None
    lead_id: UuidRef = None
    add_time: Moment = None
    update_time: Moment = None


class Follower(Record):
    """A user who follows a deal, person or organization (`noun`); found by polling alone."""

    kind: ClassVar[str] = "follower"
    id: Text = None
    noun: Text = None
    user_id: RefId = None
    actor_user_id: RefId = None
    deal_id: RefId = None
    person_id: RefId = None
    org_id: RefId = None
    update_time: Moment = None


class ActivityType(Record):
    """A type of activity; told by payload version 1.0 and by polling."""

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
