"""Every handler of the API in one place: importing a module registers what it answers."""

from __future__ import annotations

from pipeflow.sandbox import (
    search,
    v1_attached,
    v1_fields,
    v1_files,
    v1_filters,
    v1_leads,
    v1_more,
    v1_notes,
    v1_projects,
    v1_records,
    v1_users,
    v1_webhooks,
    v2_fields,
    v2_more,
    v2_records,
)
from pipeflow.sandbox.generic import anything
from pipeflow.sandbox.routing import HANDLERS, Handler

MODULES = (
    search,
    v1_attached,
    v1_fields,
    v1_files,
    v1_filters,
    v1_leads,
    v1_more,
    v1_notes,
    v1_projects,
    v1_records,
    v1_users,
    v1_webhooks,
    v2_fields,
    v2_more,
    v2_records,
)


def handler_of(method: str, template: str) -> Handler:
    """Give the handler of a verb and a matched path; what has none of its own is answered by its schema."""
    return HANDLERS.get((method, template), anything)
