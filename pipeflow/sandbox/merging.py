"""Merge two records of a kind: one stays and takes what it lacks from the other, which goes."""

from __future__ import annotations

from typing import Any, Final

from pipeflow.sandbox.answers import Record, RefusedError
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.kinds import is_deleted
from pipeflow.sandbox.tally import LINK_OF

MERGEABLE: Final = ("deal", "person", "organization")
MOVED: Final = ("activity", "note", "file", "lead", "deal", "person", "deal_product")


def merge(
    company: Company, kind: str, loser_id: Any, survivor_id: Any, actor: Actor, *, delete_first: bool = True
) -> Record:
    """Merge `loser_id` into `survivor_id`; both halves are told, in the order asked for. Gives the survivor."""
    if kind not in MERGEABLE:
        raise RefusedError(f"A {kind} cannot be merged", 400)
    loser, survivor = company.get(kind, loser_id), company.get(kind, survivor_id)
    if loser_id == survivor_id or is_deleted(loser) or is_deleted(survivor):
        raise RefusedError("These records cannot be merged", 400)
    taken = _taken(loser, survivor)
    _move_links(company, kind, loser_id, survivor_id, actor)
    if delete_first:
        company.delete(kind, loser_id, actor, merged_to_id=survivor_id)
    merged = company.change(kind, survivor_id, taken, actor, merged_from_id=loser_id)
    if not delete_first:
        company.delete(kind, loser_id, actor, merged_to_id=survivor_id)
    return merged


def _taken(loser: Record, survivor: Record) -> Record:
    """Collect what the survivor lacks and the other has."""
    never = ("id", "add_time", "update_time", "custom_fields", "stage_id", "pipeline_id", "is_archived")
    taken = {
        name: value
        for name, value in loser.items()
        if name not in never and survivor.get(name) in (None, "", []) and value not in (None, "", [])
    }
    for name in ("won_time", "lost_time", "close_time", "lost_reason", "stage_change_time", "first_won_time"):
        taken.pop(name, None)
    custom = {key: value for key, value in loser["custom_fields"].items() if key not in survivor["custom_fields"]}
    if custom:
        taken["custom_fields"] = custom
    return taken


def _move_links(company: Company, kind: str, loser_id: Any, survivor_id: Any, actor: Actor) -> None:
    """Hang what belonged to the one on the other; each moved record tells its own change."""
    link = LINK_OF[kind]
    for moved in MOVED:
        field = "organization_id" if moved == "lead" and kind == "organization" else link
        for record in list(company.living(moved)):
            if field in record and record[field] == loser_id and moved != kind:
                company.change(moved, record["id"], {field: survivor_id}, actor)
