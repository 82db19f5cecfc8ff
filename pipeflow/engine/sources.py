"""Where Pipedrive lists what changed, by kind of record, and what looking there costs. Imports the catalog; no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeflow.catalog import operation

Need = tuple[str, str]
Way = Literal["since", "newest", "whole", "known", "followers"]

MINUTES = 60.0
OFTEN = 15 * MINUTES
TOLD_NOWHERE_ELSE = 5 * MINUTES
DAILY = 24 * 60 * MINUTES
ONLY_BY_POLLING = frozenset({"activityType", "file", "mail", "follower"})
"""Nouns of which no webhook of version 2.0 tells: looked for only where a handler names them."""


@dataclass(frozen=True, slots=True)
class Source:
    """One list of Pipedrive's in which changes of a kind are found.

    `way`: since, the list takes `updated_since` · newest, it begins with what changed last · whole, it is read to its
    end, and what is missing in it is gone · known, it is asked for the ids we know, for what is missing was deleted ·
    followers, it is read to its end for the number of followers.

    `name` is that of its watermark; `clock` is the time by which it is sorted; `every` is in seconds. `also` is another
    list that belongs to the whole, `each_of` a list of parents, by whose ids it is asked for one after the other.
    """

    name: str
    kind: str
    operation: str
    way: Way
    arguments: Mapping[str, Any] = field(default_factory=dict)
    every: float = OFTEN
    clock: Literal["update_time", "add_time"] = "update_time"
    also: str | None = None
    each_of: tuple[str, str] | None = None

    @property
    def cost(self) -> int:
        """What one page costs, in API tokens; with what belongs to it."""
        return operation(self.operation).cost + (operation(self.also).cost if self.also else 0)

    @property
    def is_slow(self) -> bool:
        """Whether it costs much for the little that changes there, so that frequent polls may leave it out."""
        return self.way in ("whole", "followers") or self.name.endswith(":archived")


_OLDEST_FIRST = {"sort_by": "update_time", "sort_direction": "asc"}
_LATEST_ADDED = {"sort_by": "add_time", "sort_direction": "desc"}
_DEAL_STATUS = "open,won,lost,deleted"
_BOARDS = "v2.ProjectBoardsApi.getProjectsBoards"


def _followers(noun: str, operation_id: str) -> Source:
    return Source(f"follower:{noun}", "follower", operation_id, "followers", {"include_fields": "followers_count"})


def _by_ids(kind: str, operation_id: str) -> Source:
    return Source(f"{kind}:known", kind, operation_id, "known", {}, DAILY)


SOURCES: tuple[Source, ...] = (
    Source("deal", "deal", "v2.DealsApi.getDeals", "since", {"status": _DEAL_STATUS, **_OLDEST_FIRST}),
    # A deal that nobody changed yet may have no time of update, so that no `updated_since` finds it.
    Source("deal:added", "deal", "v2.DealsApi.getDeals", "newest", _LATEST_ADDED, OFTEN, "add_time"),
    Source("deal:archived", "deal", "v2.DealsApi.getArchivedDeals", "since", _OLDEST_FIRST),
    Source("person", "person", "v2.PersonsApi.getPersons", "since", _OLDEST_FIRST),
    Source("organization", "organization", "v2.OrganizationsApi.getOrganizations", "since", _OLDEST_FIRST),
    Source("activity", "activity", "v2.ActivitiesApi.getActivities", "since", _OLDEST_FIRST),
    Source("product", "product", "v2.ProductsApi.getProducts", "since", _OLDEST_FIRST),
    Source("lead", "lead", "v1.LeadsApi.getLeads", "since", {"sort": "update_time ASC"}),
    Source("lead:archived", "lead", "v1.LeadsApi.getArchivedLeads", "newest", {"sort": "update_time DESC"}),
    Source("note", "note", "v1.NotesApi.getNotes", "since", {"sort": "update_time ASC"}),
    Source("pipeline", "pipeline", "v2.PipelinesApi.getPipelines", "whole"),
    Source("stage", "stage", "v2.StagesApi.getStages", "whole"),
    Source("user", "user", "v1.UsersApi.getUsers", "whole"),
    Source("project", "project", "v2.ProjectsApi.getProjects", "whole", also="v2.ProjectsApi.getArchivedProjects"),
    Source("task", "task", "v2.TasksApi.getTasks", "whole"),
    Source("board", "board", _BOARDS, "whole"),
    Source("phase", "phase", "v2.ProjectPhasesApi.getProjectsPhases", "whole", each_of=(_BOARDS, "board_id")),
    Source("activityType", "activityType", "v1.ActivityTypesApi.getActivityTypes", "whole", {}, TOLD_NOWHERE_ELSE),
    Source("file", "file", "v1.FilesApi.getFiles", "newest", {"sort": "update_time DESC"}, TOLD_NOWHERE_ELSE),
    Source("mail:inbox", "mail", "v1.MailboxApi.getMailThreads", "newest", {"folder": "inbox"}, TOLD_NOWHERE_ELSE),
    Source("mail:sent", "mail", "v1.MailboxApi.getMailThreads", "newest", {"folder": "sent"}, TOLD_NOWHERE_ELSE),
    _followers("deal", "v2.DealsApi.getDeals"),
    _followers("person", "v2.PersonsApi.getPersons"),
    _followers("organization", "v2.OrganizationsApi.getOrganizations"),
    _by_ids("person", "v2.PersonsApi.getPersons"),
    _by_ids("organization", "v2.OrganizationsApi.getOrganizations"),
    _by_ids("activity", "v2.ActivitiesApi.getActivities"),
    _by_ids("product", "v2.ProductsApi.getProducts"),
)

ONE_OF: Mapping[str, str] = {
    "person": "v2.PersonsApi.getPerson",
    "organization": "v2.OrganizationsApi.getOrganization",
    "activity": "v2.ActivitiesApi.getActivity",
    "product": "v2.ProductsApi.getProduct",
}
"""How to ask for one record that a list of known ids left out: deleted ones are still shown for 30 days."""


def kinds_of(needs: Collection[Need]) -> set[str]:
    """Give the kinds of record of which the handlers want to hear, as far as a list tells of them."""
    nouns = {noun for _, noun in needs}
    listed = {source.kind for source in SOURCES}
    return (listed - ONLY_BY_POLLING if "*" in nouns else set()) | (listed & nouns)


def sources_of(needs: Collection[Need]) -> tuple[Source, ...]:
    """Give the lists in which the events that handlers need are found."""
    kinds = kinds_of(needs)
    return tuple(source for source in SOURCES if source.kind in kinds and _is_needed(source, needs))


def wants(needs: Collection[Need], kind: str, *actions: str) -> bool:
    """Say whether a handler wants to hear that one of these things happened to a record of a kind."""
    return any(noun in ("*", kind) and (action == "*" or action in actions) for action, noun in needs)


def _is_needed(source: Source, needs: Collection[Need]) -> bool:
    if source.way == "known":
        return wants(needs, source.kind, "deleted")
    return source.clock == "update_time" or wants(needs, source.kind, "added")
