"""Our webhooks at Pipedrive: make what is missing, remove what is ours and not needed. Imports client and registry."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeflow.client.v1.models import Webhook as PipedriveWebhook
from pipeflow.engine.accounts import Accounts
from pipeflow.errors import BadRequest, ConfigError
from pipeflow.events import pipedrive_action
from pipeflow.registry import Registry
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Store, Webhook
from pipeflow.vault import Vault

VERSION = "2.0"
NAME = "pipeflow"
_ONLY_BY_POLLING = frozenset({"activityType", "file", "mail", "follower"})

log = logging.getLogger("pipeflow.webhooks")

Need = tuple[str, str]


@dataclass
class WebhookChanges:
    """What a sync did."""

    added: list[Webhook] = field(default_factory=list)
    kept: list[Webhook] = field(default_factory=list)
    removed: list[Webhook] = field(default_factory=list)


class WebhookKeeper:
    """Keeps our webhooks at Pipedrive as the handlers need them."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        accounts: Accounts,
        vault: Vault,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._registry = registry
        self._accounts = accounts
        self._vault = vault
        self._settings = settings
        self._clock = clock

    async def sync(self) -> WebhookChanges:
        """List, compare, make what is missing, remove what is ours and not needed; others' webhooks stay.

        Raises ConfigError where Pipedrive cannot reach `PIPEFLOW_PUBLIC_URL`, ClientError where it refuses otherwise.
        """
        changes = WebhookChanges()
        for account in await self._accounts.connected():
            if account.acting:
                await self._sync_one(account, changes)
        return changes

    async def _sync_one(self, account: Account, changes: WebhookChanges) -> None:
        hooks = self._accounts.client_for(account).webhooks
        url = f"{(self._settings.public_url or '').rstrip('/')}/webhooks/{account.company}"
        missing = fewest(self._registry.needs())
        kept: list[Webhook] = []
        for found in await hooks.get_webhooks():
            if not is_ours(found):
                continue
            row = self._row(account, found)
            need = (row.action, row.object)
            if row.active and row.url == url and row.version == VERSION and need in missing:
                missing.discard(need)
                kept.append(row)
                continue
            await hooks.delete_webhook(row.id)
            changes.removed.append(row)
        for need in sorted(missing):
            row = await self._add(account, url, need)
            changes.added.append(row)
            kept.append(row)
        changes.kept.extend(row for row in kept if row not in changes.added)
        await self._store.save_webhooks(account.company, kept)

    async def _add(self, account: Account, url: str, need: Need) -> Webhook:
        action, noun = need
        user, password = self._vault.webhook_credentials(account.company)
        try:
            made = await self._accounts.client_for(account).webhooks.add_webhook(
                subscription_url=url,
                event_action=action,
                event_object=noun,
                name=f"{NAME} {action}.{noun}",
                version=VERSION,
                http_auth_user=user,
                http_auth_password=password,
            )
        except BadRequest as error:
            raise ConfigError(
                f"Pipedrive refused a webhook to {url}: {error} It must reach PIPEFLOW_PUBLIC_URL from outside, over "
                "https and without a redirect."
            ) from error
        return self._row(account, made)

    def _row(self, account: Account, found: PipedriveWebhook) -> Webhook:
        return Webhook(
            id=int(found.id or 0),
            company=account.company,
            account_id=account.id,
            action=found.event_action or "*",
            object=found.event_object or "*",
            url=found.subscription_url or "",
            version=str(found.version or ""),
            name=found.name or "",
            active=bool(found.is_active) and not found.remove_time,
            seen_at=self._clock(),
        )


def is_ours(webhook: PipedriveWebhook) -> bool:
    """Say whether we made a webhook: its name tells."""
    return (webhook.name or "").startswith(NAME)


def fewest(needs: Iterable[Need]) -> set[Need]:
    """Give the fewest webhooks that cover the needs (action and noun in our words), in Pipedrive's words."""
    wanted = {need for need in needs if need[1] not in _ONLY_BY_POLLING}
    if ("*", "*") in wanted:
        return {("*", "*")}
    nouns = {noun for _, noun in wanted if noun != "*"}
    found: set[Need] = {need for need in wanted if need[1] == "*"}
    everywhere = {action for action, _ in found}
    for noun in nouns:
        actions = {action for action, its in wanted if its == noun} - everywhere
        found |= {("*", noun)} if "*" in actions or len(actions) > 1 else {(action, noun) for action in actions}
    return {(action if action == "*" else pipedrive_action(action), noun) for action, noun in found}
