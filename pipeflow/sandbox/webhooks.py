"""Webhooks: which there are, what is sent to them, when one is banned or deleted.

The registrations are kept with their company; sending is the sender's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, Final

import orjson

from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.changes import Change
from pipeflow.sandbox.clock import Clock
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.delivery import Delivery, Try
from pipeflow.sandbox.hook_bodies import Telling, v1_action
from pipeflow.sandbox.modes import Modes
from pipeflow.sandbox.sender import Sender

OBJECTS_V1: Final = frozenset(
    {"activity", "activityType", "deal", "note", "organization", "person", "pipeline", "product", "stage", "user"}
)
OBJECTS_V2: Final = frozenset(
    [
        "activity",
        "deal",
        "lead",
        "note",
        "organization",
        "person",
        "pipeline",
        "product",
        "stage",
        "user",
        "deal_product",
        "deal_installment",
        "project",
        "task",
        "board",
        "phase",
        "dealField",
        "personField",
        "organizationField",
        "productField",
        "projectField",
        "leadField",
    ]
)
ACTIONS: Final = {"1.0": ("added", "updated", "deleted", "merged"), "2.0": ("create", "change", "delete")}
BAN_AFTER: Final = 10
BAN_SECONDS: Final = 30 * 60.0
DARK_SECONDS: Final = 3 * 86400.0
LIMIT: Final = 40
HIDDEN: Final = frozenset({"failures", "banned_until", "dark_since", "good_at", "client_id"})


class Webhooks:
    """The webhooks of all companies."""

    def __init__(
        self, companies: dict[str, Company], clock: Clock, seed: int, keep: int, touched: Callable[[], None]
    ) -> None:
        self._companies = companies
        self._touched = touched
        self._clock = clock
        self._chance = random.Random(f"{seed}/deliveries")  # noqa: S311
        self.modes = Modes()
        self.sender = Sender(clock, self.target, self._settle, keep)
        self._held: list[Delivery] = []

    # Registrations

    def add(self, company: Company, owner: int, client_id: str | None, values: Record) -> Record:
        """Register a webhook."""
        number = company.next_number("webhook")
        webhook: Record = {
            "id": number,
            "company_id": company.id,
            "owner_id": owner,
            "user_id": values.get("user_id") or owner,
            "admin_id": owner,
            "event_action": values["event_action"],
            "event_object": values["event_object"],
            "subscription_url": values["subscription_url"],
            "version": values["version"],
            "type": "application" if client_id else "general",
            "name": values.get("name"),
            "is_active": 1,
            "add_time": self._clock.stamp(),
            "remove_time": None,
            "remove_reason": None,
            "last_delivery_time": None,
            "last_http_status": None,
            "http_auth_user": values.get("http_auth_user"),
            "http_auth_password": values.get("http_auth_password"),
            "failures": 0,
            "banned_until": None,
            "dark_since": None,
            "good_at": self._clock.seconds(),
            "client_id": client_id,
        }
        company.webhooks[number] = webhook
        return webhook

    def remove(self, company: Company, webhook: Record, reason: str | None = None) -> None:
        """Remove a webhook; one that Pipedrive removed itself (`reason`) may stay in the list, inactive."""
        if reason is None or not self.modes.remove_listed:
            company.webhooks.pop(webhook["id"], None)
        webhook |= {"is_active": 0, "remove_time": self._clock.stamp(), "remove_reason": reason}

    def ban(self, webhook: Record) -> None:
        """Ban a webhook for 30 minutes."""
        webhook |= {"banned_until": self._clock.seconds() + BAN_SECONDS, "failures": 0}

    def expire(self) -> None:
        """Remove the webhooks that have been dark for three days."""
        oldest = self._clock.seconds() - DARK_SECONDS
        for company in self._companies.values():
            for webhook in list(company.webhooks.values()):
                since = webhook["good_at"] if self.modes.quiet_is_dark else webhook["dark_since"]
                if webhook["is_active"] and since is not None and since <= oldest:
                    self.remove(company, webhook, "no successful delivery on three days")

    # Deliveries

    def publish(self, company: Company, change: Change) -> None:
        """Deliver a change to every webhook that asks for it."""
        self.expire()
        telling = Telling(company, change, old_dates=self.modes.old_dates)
        asking = self._odd_ones(company, change) if change.as_given else self._matching(company, change)
        for number, webhook in enumerate(asking):
            shared = number == 0 or self.modes.shared_event_id
            event_id = change.event_id if shared else change.event_id[:-4] + f"{number:04x}"
            payload = orjson.dumps(telling.body(webhook, event_id))
            for copy in range(1 + self.modes.duplicates):
                self._deliver(company, change, webhook, event_id, payload, copy > 0)

    def _matching(self, company: Company, change: Change) -> Iterable[Record]:
        record = change.after or change.before or {}
        for webhook in list(company.webhooks.values()):
            if not webhook["is_active"] or not wants(webhook, change):
                continue
            viewer = company.tables["user"].get(webhook["user_id"])
            if viewer is None or company.may_see(viewer, record):
                yield webhook

    def _odd_ones(self, company: Company, change: Change) -> Iterable[Record]:
        """List who hears of entities that the sandbox has none of: whoever asked for everything."""
        for webhook in list(company.webhooks.values()):
            live = webhook["is_active"] and webhook["version"] == "2.0"
            if (
                live
                and webhook["event_object"] in ("*", change.kind)
                and webhook["event_action"] in ("*", change.action)
            ):
                yield webhook

    def _deliver(
        self, company: Company, change: Change, webhook: Record, event_id: str, payload: bytes, duplicate: bool
    ) -> None:
        delivery = Delivery(
            number=self.sender.next_number(),
            company=company.domain,
            webhook_id=webhook["id"],
            event_id=event_id,
            kind=change.kind,
            record_id=str(change.record_id),
            action=change.action,
            version=webhook["version"],
            time=change.time,
            payload=payload,
            duplicate=duplicate,
        )
        self.sender.keep(delivery)
        if self.modes.dark or self._banned(webhook):
            self.sender.end(delivery, "dropped")
            return
        if self.modes.hold:
            self._held.append(delivery)
            return
        self.sender.send(delivery, delay=self._chance.uniform(0, self.modes.reorder) if self.modes.reorder else 0.0)

    def again(self, number: int) -> Delivery:
        """Send a kept delivery once more, as a retry after a slow answer does; a ValueError says that it is gone."""
        kept = self.sender.find(number)
        if kept is None or not kept.payload:
            raise ValueError(f"delivery {number} is not kept any more, or its body is not")
        self.sender.send(kept)
        return kept

    def waiting(self) -> list[tuple[float, Delivery]]:
        """List what has not ended, with the seconds until it is due: for the state's file."""
        return self.sender.waiting() + [(0.0, one) for one in self._held]

    def set_modes(self, **wanted: Any) -> None:
        """Change modes; a ValueError names the ones there are. Held deliveries go when `hold` is taken away."""
        known = asdict(self.modes)
        if unknown := sorted(set(wanted) - set(known)):
            raise ValueError(f"there is no mode {', '.join(unknown)}; there are {', '.join(known)}")
        self.modes = replace(self.modes, **wanted)
        self.sender.parallel = self.modes.parallel
        if not self.modes.hold:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        if self.modes.order == "last":
            held.reverse()
        if self.modes.order == "shuffled":
            self._chance.shuffle(held)
        for delivery in held:
            self.sender.send(delivery)

    def _banned(self, webhook: Record) -> bool:
        until = webhook["banned_until"]
        return self.modes.ban and until is not None and self._clock.seconds() < until

    def target(self, delivery: Delivery) -> Record | None:
        """Give the webhook of a delivery while it is active."""
        company = self._companies.get(delivery.company)
        webhook = company.webhooks.get(delivery.webhook_id) if company else None
        return webhook if webhook and webhook["is_active"] else None

    def _settle(self, delivery: Delivery, webhook: Record, attempt: Try) -> None:
        """Keep the books of a webhook after an attempt."""
        self._touched()
        webhook |= {"last_delivery_time": attempt.time, "last_http_status": attempt.status}
        if attempt.ok:
            webhook |= {"dark_since": None, "good_at": self._clock.seconds()}
            if self.modes.ban_resets:
                webhook["failures"] = 0
            return
        if webhook["dark_since"] is None:
            webhook["dark_since"] = self._clock.seconds()
        if len(delivery.attempts) == 1 and self.modes.ban and not delivery.duplicate:
            webhook["failures"] += 1
            if webhook["failures"] >= BAN_AFTER:
                self.ban(webhook)


def wants(webhook: Record, change: Change) -> bool:
    """Tell whether a webhook asks for a change."""
    old = webhook["version"] == "1.0"
    if change.kind not in (OBJECTS_V1 if old else OBJECTS_V2):
        return False
    if webhook["event_object"] not in ("*", change.kind):
        return False
    action = v1_action(change) if old else change.action
    return webhook["event_action"] in ("*", action) and not (old and "merged_to_id" in change.meta)


def shown(webhook: Record) -> Record:
    """Show a webhook as the API does; whether the password is masked there is not known, here it is."""
    data = {name: value for name, value in webhook.items() if name not in HIDDEN}
    return data | {"http_auth_password": "***" if webhook["http_auth_password"] else None}
