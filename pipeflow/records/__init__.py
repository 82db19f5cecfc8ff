"""Records as deliveries tell them, with Python values. Imports catalog.values, customs and naming.

Tolerant by construction: every field may be missing, an unknown one is kept, and a value of another type than expected
is kept as it came. Sources: the `data` of webhook payload version 2.0, per entity; for projects, tasks, boards, phases
and what belongs to deals the fields of REST v2.
"""

from __future__ import annotations

from pipeflow.customs import CustomFields, Field, is_custom_key, read_custom
from pipeflow.records.base import Record
from pipeflow.records.company import ActivityType, File, Follower, Mail, Pipeline, Stage, User
from pipeflow.records.projects import Board, Phase, Project, Task
from pipeflow.records.reading import RECORDS, changes, read_record
from pipeflow.records.sales import (
    Activity,
    Deal,
    DealInstallment,
    DealProduct,
    Lead,
    Note,
    Organization,
    Person,
    Product,
)
from pipeflow.records.types import ContactDetail, Price

__all__ = [
    "RECORDS",
    "Activity",
    "ActivityType",
    "Board",
    "ContactDetail",
    "CustomFields",
    "Deal",
    "DealInstallment",
    "DealProduct",
    "Field",
    "File",
    "Follower",
    "Lead",
    "Mail",
    "Note",
    "Organization",
    "Person",
    "Phase",
    "Pipeline",
    "Price",
    "Product",
    "Project",
    "Record",
    "Stage",
    "Task",
    "User",
    "changes",
    "is_custom_key",
    "read_custom",
    "read_record",
]
