"""How generation 2 shows records: related ids only, RFC 3339 times, custom fields nested."""

from __future__ import annotations

from collections.abc import Collection
from zoneinfo import ZoneInfo

from pipeflow.sandbox.answers import Record, v2_time
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.custom import show_v2
from pipeflow.sandbox.tally import Tally

TIMES = (
    "add_time",
    "update_time",
    "stage_change_time",
    "close_time",
    "won_time",
    "lost_time",
    "archive_time",
    "marked_as_done_time",
    "status_change_time",
)
HIDDEN = frozenset(
    {"delete_time", "first_won_time", "update_user_id", "country_code", "attendees", "marketing_status", "token"}
)
COUNTED = ("deal", "person", "organization")


class Shape2:
    """Show a company's records as generation 2 does, for one request.

    `include` are the optional fields asked for, `keys` the custom fields (None: all), `option_labels` and `labels`
    write options and labels in full.
    """

    def __init__(
        self,
        company: Company,
        *,
        include: Collection[str] = (),
        keys: Collection[str] | None = None,
        option_labels: bool = False,
        labels: bool = False,
    ) -> None:
        self._company = company
        self._include = frozenset(include)
        self._keys = keys
        self._option_labels = option_labels
        self._labels = labels
        self._tally = Tally(company)
        self._fields: dict[str, list[Record]] = {}

    def show(self, kind: str, record: Record) -> Record:
        """Show one record."""
        shown = {name: value for name, value in record.items() if name not in HIDDEN}
        for name in TIMES:
            if shown.get(name):
                shown[name] = v2_time(shown[name])
        if "custom_fields" in record:
            shown["custom_fields"] = self._custom(kind, record)
        if kind == "deal":
            self._deal(record, shown)
        if kind == "activity" and "attendees" in self._include:
            shown["attendees"] = record["attendees"]
        if kind in COUNTED and self._include:
            self._optional(kind, record, shown)
        if self._labels and "label_ids" in record:
            shown["labels"] = [self._label(kind, one) for one in record["label_ids"]]
        return shown

    def _deal(self, record: Record, shown: Record) -> None:
        # A deal that nobody has changed yet has no update time.
        if record["update_time"] == record["add_time"]:
            shown["update_time"] = None
        zone = ZoneInfo(self._company.timezone)
        for name in ("won", "lost", "close"):
            moment = record[f"{name}_time"]
            shown[f"local_{name}_date"] = parse(moment).astimezone(zone).date().isoformat() if moment else None

    def _optional(self, kind: str, record: Record, shown: Record) -> None:
        counters = self._tally.counters(kind, record["id"])
        counters["smart_bcc_email"] = f"{self._company.domain}+{kind}{record['id']}@pipedrivemail.example"
        if kind == "deal":
            counters["first_won_time"] = v2_time(record["first_won_time"])
        shown |= {name: value for name, value in counters.items() if name in self._include}

    def _custom(self, kind: str, record: Record) -> Record:
        if kind not in self._fields:
            known = self._company.custom_fields(kind)
            self._fields[kind] = [one for key, one in known.items() if self._keys is None or key in self._keys]
        return show_v2(record["custom_fields"], self._fields[kind], labels=self._option_labels)

    def _label(self, kind: str, label_id: int) -> Record:
        field = self._company.fields[kind]["label_ids"]
        known = {one["id"]: one["label"] for one in field["options"] or ()}
        return {"id": label_id, "label": known.get(label_id)}
