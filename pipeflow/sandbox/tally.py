"""Counts and next activities of records, worked out once per request. Imports nothing of ours but the sandbox's own."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any, Final

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.company import Company

LINK_OF: Final = {"deal": "deal_id", "person": "person_id", "organization": "org_id", "product": "product_id"}


class Tally:
    """What a company's records say about each other. Built lazily, valid for one request."""

    def __init__(self, company: Company) -> None:
        self._company = company

    @cached_property
    def _activities(self) -> dict[tuple[str, Any], list[Record]]:
        found: dict[tuple[str, Any], list[Record]] = {}
        for activity in self._company.living("activity"):
            for link in ("deal_id", "person_id", "org_id", "lead_id"):
                if activity[link] is not None:
                    found.setdefault((link, activity[link]), []).append(activity)
        return found

    @cached_property
    def _counts(self) -> Counter[tuple[str, str, Any]]:
        counts: Counter[tuple[str, str, Any]] = Counter()
        for kind in ("note", "file", "deal_product"):
            for record in self._company.living(kind):
                for link in ("deal_id", "person_id", "org_id", "product_id"):
                    if record.get(link) is not None:
                        counts[kind, link, record[link]] += 1
        for deal in self._company.living("deal"):
            for link in ("person_id", "org_id"):
                counts[f"{deal['status']}_deals", link, deal[link]] += 1
        for person in self._company.living("person"):
            counts["person", "org_id", person["org_id"]] += 1
        return counts

    def activities(self, kind: str, record_id: Any) -> list[Record]:
        """List the living activities of a record."""
        return self._activities.get(("lead_id" if kind == "lead" else LINK_OF[kind], record_id), [])

    def next_activity(self, kind: str, record_id: Any) -> Record | None:
        """Give the open activity that is due first."""
        open_ones = [one for one in self.activities(kind, record_id) if not one["done"]]
        return min(open_ones, key=lambda one: (one["due_date"] or "9999", one["due_time"] or ""), default=None)

    def last_activity(self, kind: str, record_id: Any) -> Record | None:
        """Give the activity that was done last."""
        done = [one for one in self.activities(kind, record_id) if one["done"]]
        return max(done, key=lambda one: one["marked_as_done_time"], default=None)

    def count(self, what: str, kind: str, record_id: Any) -> int:
        """Count the notes, files, products, deals by status or people of a record."""
        return self._counts[what, LINK_OF[kind], record_id]

    def counters(self, kind: str, record_id: Any) -> Record:
        """Give every counter and activity link that generation 2 shows when asked, and generation 1 always."""
        following, last = self.next_activity(kind, record_id), self.last_activity(kind, record_id)
        activities = self.activities(kind, record_id)
        done = sum(1 for one in activities if one["done"])
        shown: Record = {
            "next_activity_id": following["id"] if following else None,
            "last_activity_id": last["id"] if last else None,
            "activities_count": len(activities),
            "done_activities_count": done,
            "undone_activities_count": len(activities) - done,
            "files_count": self.count("file", kind, record_id),
            "notes_count": self.count("note", kind, record_id),
            "followers_count": len(self._company.followers.get(f"{kind}/{record_id}", ())),
            "email_messages_count": 0,
            "last_incoming_mail_time": None,
            "last_outgoing_mail_time": None,
        }
        if kind == "deal":
            deal = self._company.tables["deal"][record_id]
            people = {deal["person_id"], *self._company.extras.get(f"participants/{record_id}", ())} - {None}
            shown["participants_count"] = len(people)
            shown["products_count"] = self.count("deal_product", kind, record_id)
            return shown
        counts = {state: self.count(f"{state}_deals", kind, record_id) for state in ("open", "won", "lost")}
        shown |= {f"{state}_deals_count": number for state, number in counts.items()}
        shown["closed_deals_count"] = counts["won"] + counts["lost"]
        if kind == "organization":
            shown["people_count"] = self.count("person", kind, record_id)
        return shown
