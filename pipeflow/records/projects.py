"""Records of projects. Imports the base and the types of fields."""

from __future__ import annotations

from typing import ClassVar

from pipeflow.records.base import Record
from pipeflow.records.types import NO_ID, AnyId, Day, Flag, Id, Ids, Moment, RefId, Text


class Project(Record):
    """A project."""

    kind: ClassVar[str] = "project"
    id: Id = NO_ID
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
    id: Id = NO_ID
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
    id: Id = NO_ID
    name: Text = None
    order_nr: RefId = None
    add_time: Moment = None
    update_time: Moment = None


class Phase(Record):
    """A phase of a board."""

    kind: ClassVar[str] = "phase"
    id: Id = NO_ID
    name: Text = None
    board_id: RefId = None
    order_nr: RefId = None
    add_time: Moment = None
    update_time: Moment = None
