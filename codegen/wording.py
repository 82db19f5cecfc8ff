"""Turns Pipedrive's names into Python's and into sentences. Imports the standard library alone."""

from __future__ import annotations

import re


def snake(name: str) -> str:
    """`getDeals` → `get_deals`, `type.params.stage_id` → `type_params_stage_id`, `channel-id` → `channel_id`."""
    name = re.sub(r"[.\-]", "_", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def attribute_of(resource: str) -> str:
    """`DealFieldsApi` → `deal_fields`."""
    return snake(resource.removesuffix("Api"))


def summary_of(method: str, path: str) -> str:
    """Say what an operation does in one imperative sentence."""
    words = snake(method).split("_")
    return " ".join(words).capitalize() + "."
