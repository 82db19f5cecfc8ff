"""The sandbox itself: companies, clock, webhooks, faults and what it received, in one object that servers serve."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, Final

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.changes import Action, Actor, Change, Source
from pipeflow.sandbox.clock import Clock
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.faults import Faults
from pipeflow.sandbox.grants import App, Grants
from pipeflow.sandbox.journal import Journal
from pipeflow.sandbox.limits import Limits
from pipeflow.sandbox.merging import merge
from pipeflow.sandbox.seed import make_company
from pipeflow.sandbox.team import Team
from pipeflow.sandbox.webhooks import Webhooks

API_TOKEN: Final = "sandbox-token-0000000000000000000000000000"  # noqa: S105  (not a secret: it opens only sample data)
CLIENT_ID: Final = "sandbox-client-id"
CLIENT_SECRET: Final = "sandbox-client-secret"  # noqa: S105  (opens only sample data)


class Sandbox:
    """A fake Pipedrive with sample data, the same for a seed.

        sandbox = Sandbox(seed=1)
        async with running(sandbox) as url:
            sandbox.change("deal", 1, stage_id=3)          # as a person in the app; webhooks fire

    `companies` is how many there are, `deals` how many deals each begins with, `extra_fields` how many further
    custom fields deals have; `start` and `scale` set the clock; `api_token` is the first user's token (every other
    user has one of their own); `redirect_uri` is the callback of its one app; `check_reachable` asks a webhook's URL
    before it is made; `keep` bounds the requests, events and deliveries that are remembered.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        companies: int = 1,
        deals: int = 30,
        extra_fields: int = 0,
        start: datetime | None = None,
        scale: float = 1.0,
        api_token: str = API_TOKEN,
        redirect_uri: str = "http://127.0.0.1:8000/oauth/callback",
        check_reachable: bool = True,
        keep: int = 10_000,
    ) -> None:
        self.seed = seed
        self.version = 0
        self.told = 0
        self.clock = Clock(start, scale)
        self.faults = Faults()
        self.limits = Limits()
        self.journal = Journal(keep)
        self.events: deque[Record] = deque(maxlen=keep)
        self.check_reachable = check_reachable
        self.open_control = True
        self.companies: dict[str, Company] = {}
        self.webhooks = Webhooks(self.companies, self.clock, seed, keep, self.touch)
        self.oauth = Grants(self.clock, seed)
        self.oauth.add_app(App(CLIENT_ID, CLIENT_SECRET, "pipeflow (sandbox)", redirect_uri))
        self.team = Team(self.companies, self.clock, seed)
        for _ in range(companies):
            self.add_company(deals=deals, extra_fields=extra_fields)
        self.company.admin["token"] = api_token

    def add_company(self, *, deals: int = 30, extra_fields: int = 0) -> Company:
        """Make the next company with sample data."""
        made = make_company(self.seed, len(self.companies), self.clock, deals=deals, extra_fields=extra_fields)
        self.adopt(made)
        return made

    def adopt(self, company: Company) -> None:
        """Take a company in and listen to its changes."""
        self.companies[company.domain] = company
        company.listeners.append(self._changed)

    @property
    def company(self) -> Company:
        """The first company."""
        return next(iter(self.companies.values()))

    @property
    def api_token(self) -> str:
        """The token of the first company's first user, an admin."""
        token: str = self.company.admin["token"]
        return token

    def who(self, token: str) -> tuple[Company, Record] | None:
        """Find the company and the active user of an API token."""
        for company in self.companies.values():
            for user in company.tables["user"].values():
                if user["token"] == token and user["active_flag"]:
                    return company, user
        return None

    # Changes as people make them

    def add(self, kind: str, *, by: int | None = None, company: str | None = None, **values: Any) -> Record:
        """Add a record as a person does in the app; `by` is the user's id, by default the admin's."""
        home = self.home(company)
        return home.add(kind, values, self.actor(home, by))

    def change(
        self,
        kind: str,
        record_id: Any,
        *,
        by: int | None = None,
        company: str | None = None,
        source: Source = "app",
        bulk: bool = False,
        **values: Any,
    ) -> Record:
        """Change a record as a person does in the app; a bulk edit is told as made through the API."""
        home = self.home(company)
        home.get(kind, record_id)
        return home.change(kind, record_id, values, self.actor(home, by, source=source, bulk=bulk))

    def delete(self, kind: str, record_id: Any, *, by: int | None = None, company: str | None = None) -> Record:
        """Delete a record as a person does in the app."""
        home = self.home(company)
        return home.delete(kind, record_id, self.actor(home, by))

    def actor(self, company: Company, by: int | None, *, source: Source = "app", bulk: bool = False) -> Actor:
        """Make the actor of a change; list-view bulk edits come through the API, as the real app does it."""
        agent = "bulk-actions-api" if bulk else None
        return Actor(by or company.admin["id"], "api" if bulk else source, bulk, agent)

    def act(
        self,
        action: str = "change",
        *,
        kind: str,
        id: Any = None,
        changes: Record | None = None,
        user: int | None = None,
        company: str | None = None,
        source: Source = "app",
        bulk: bool = False,
        into: Any = None,
        delete_first: bool = True,
    ) -> Record:
        """Do what a person does: `add`, `change`, `delete` or `merge` a record; gives it as the state keeps it.

        `changes` are the fields in generation 2's names. A merge puts the record `id` into the record `into`;
        `delete_first` is the order in which its two halves are told.
        """
        home = self.home(company)
        actor = self.actor(home, user, source=source, bulk=bulk)
        if action == "add":
            return home.add(kind, changes or {}, actor)
        home.get(kind, id)
        if action == "change":
            return home.change(kind, id, changes or {}, actor)
        if action == "delete":
            return home.delete(kind, id, actor)
        if action == "merge":
            return merge(home, kind, id, into, actor, delete_first=delete_first)
        raise ValueError(f"there is no action {action!r}; there are add, change, delete, merge")

    def tell(
        self,
        kind: str,
        action: Action = "change",
        *,
        data: Record | None = None,
        previous: Record | None = None,
        meta: Record | None = None,
        company: str | None = None,
        user: int | None = None,
    ) -> str:
        """Deliver an event that no change made, with `data` and `previous` as given; gives its id.

        For what nobody has seen yet: an entity that comes next year, a record with odd values. `meta` replaces what
        version 2.0 would say there.
        """
        home = self.home(company)
        return home.announce(kind, action, previous, data, self.actor(home, user), meta)

    def home(self, domain: str | None) -> Company:
        """Give a company by its domain, the first by default."""
        if domain is None:
            return self.company
        if domain not in self.companies:
            raise ValueError(f"there is no company {domain}; there are {', '.join(self.companies)}")
        return self.companies[domain]

    # Life

    def start(self) -> None:
        """Start what runs beside requests: deliveries, and the sales team if it has a rate."""
        self.webhooks.sender.start()
        self.team.start()

    async def stop(self) -> None:
        """Stop it again."""
        await self.team.stop()
        await self.webhooks.sender.stop()

    def touch(self) -> None:
        """Say that the state changed, to whoever saves it."""
        self.version += 1

    def _changed(self, company: Company, change: Change) -> None:
        self.told += 1
        row = {"number": self.told, "company": company.domain, "time": change.time}
        row |= {"event_id": change.event_id, "kind": change.kind, "action": change.action}
        self.events.append(row | {"record_id": change.record_id, "user_id": change.actor.user_id})
        self.webhooks.publish(company, change)
        self.touch()
