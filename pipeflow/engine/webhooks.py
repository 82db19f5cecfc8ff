"""Our webhooks at Pipedrive: makes what is missing or broken, removes what is ours and not needed. Imports client.

What replaces a webhook is made before the old one goes, so that no event falls between the two; an event that comes
through both is stored once. Others' webhooks are never touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pipeflow.engine.accounts import Accounts
from pipeflow.engine.sources import Need
from pipeflow.engine.webhookplan import MOST, VERSION, Plan, Want, fewest, is_ours, name_of, plan, row_of
from pipeflow.errors import BadRequest, ClientError, ConfigError, Forbidden, Gone, Invalid, NotFound
from pipeflow.registry import Registry
from pipeflow.settings import Settings
from pipeflow.store.base import REFUSED, Account, Store, Webhook
from pipeflow.vault import Vault

__all__ = ["WebhookChanges", "WebhookKeeper", "fewest", "is_ours"]

MADE_AGAIN = "webhooks:made again"
"""The watermark that says when a webhook was last made again that had been missing or broken, in whichever process."""
ALARM_PAUSE = 300.0
AT_ONCE = 8
LEASE_SECONDS = 120.0

log = logging.getLogger("pipeflow.webhooks")


@dataclass
class WebhookChanges:
    """What a sync did; `lost` are the companies of which a webhook had been missing or broken."""

    added: list[Webhook] = field(default_factory=list)
    kept: list[Webhook] = field(default_factory=list)
    removed: list[Webhook] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)


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
        self.before_repair: Callable[[int], Awaitable[object]] | None = None
        """Called with the company before webhooks are made again that were lost, while nothing is delivered yet."""
        self._looked_at: dict[int, float] = {}
        self._looking: dict[int, asyncio.Lock] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        # On SQLite there is one process, which must not wait for the lease that it held before it was killed.
        self._holder = "owner" if settings.sqlite_path is not None else secrets.token_hex(8)

    async def plans(self) -> list[Plan]:
        """Say what `sync` would do, for each company; changes nothing. Raises ClientError."""
        wanted = fewest(self._registry.needs())
        return [await self._plan(account, wanted) for account in await self._acting()]

    async def sync(self, company: int | None = None) -> WebhookChanges:
        """List, compare, make what is missing, remove what is ours and not needed; others' webhooks stay.

        Of every company, several at once, or of one: trouble with one leaves the others alone, and one that another
        process looks after right now is left to it. Raises ConfigError where Pipedrive cannot reach
        `PIPEFLOW_PUBLIC_URL`, ClientError where it refuses otherwise, once the others are done.
        """
        changes = WebhookChanges()
        wanted = fewest(self._registry.needs())
        trouble: list[ClientError | ConfigError] = []

        async def look(account: Account) -> None:
            async with self._at_once, self._looking.setdefault(account.company, asyncio.Lock()):
                try:
                    await self._sync_one(account, wanted, changes)
                except (ClientError, ConfigError) as error:
                    trouble.append(error)

        await asyncio.gather(*(look(one) for one in await self._acting() if company in (None, one.company)))
        for further in trouble[1:]:
            log.error("The webhooks of another company could not be looked at either: %s", further)
        if trouble:
            raise trouble[0]
        return changes

    async def _sync_one(self, account: Account, wanted: set[Need], changes: WebhookChanges) -> None:
        lease = f"webhooks:{account.company}"
        if not await self._store.take_lease(lease, self._holder, self._clock(), LEASE_SECONDS):
            return
        try:
            made = await self._plan(account, wanted)
            if made.lost and self.before_repair is not None:
                await self.before_repair(account.company)
            await self._carry_out(made, changes)
            await self._withdraw(account, changes)
        finally:
            await self._store.release_lease(lease, self._holder)

    async def _withdraw(self, acting: Account, changes: WebhookChanges) -> None:
        """Remove what accounts of the company made that do not act any more: each change comes once."""
        ours = {row.id for row in await self._store.webhooks(acting.company)}
        for account in await self._accounts.connected():
            if account.company != acting.company or account.id == acting.id:
                continue
            for found in await self._accounts.client_for(account).webhooks.get_webhooks():
                if is_ours(found, self._url(account)) and found.id not in ours:
                    row = row_of(account, found, self._clock())
                    await self._remove(account, row)
                    changes.removed.append(row)

    async def remove(self) -> list[Webhook]:
        """Remove all our webhooks of each company; give them. Raises ClientError."""
        removed: list[Webhook] = []
        for account in await self._acting():
            made = await self._plan(account, set())
            for removal in made.remove:
                await self._remove(account, removal.webhook)
                removed.append(removal.webhook)
            await self._store.save_webhooks(account.company, ())
        return removed

    async def alarmed(self) -> bool:
        """Say whether deliveries were refused for their credentials since the webhooks were last looked at."""
        now = self._clock()
        for account in await self._acting():
            refused_at = (await self._store.watermarks(account.company)).get(REFUSED, 0.0)
            looked_at = self._looked_at.get(account.company, now)
            if refused_at > looked_at and now - looked_at >= ALARM_PAUSE:
                return True
        return False

    async def _acting(self) -> list[Account]:
        return [account for account in await self._accounts.connected() if account.acting]

    async def _plan(self, account: Account, wanted: set[Need]) -> Plan:
        self._looked_at[account.company] = self._clock()
        want = Want(
            account=account,
            url=self._url(account),
            mark=self._mark(account),
            user_id=self._settings.webhook_user_id,
            known=frozenset(row.id for row in await self._store.webhooks(account.company)),
        )
        found = await self._accounts.client_for(account).webhooks.get_webhooks()
        return plan(list(found), wanted, want, self._clock())

    def _url(self, account: Account) -> str:
        return f"{(self._settings.public_url or '').rstrip('/')}/webhooks/{account.company}"

    def _mark(self, account: Account) -> str:
        """Give what tells credentials apart; a digest of 256 random bits gives nothing of them away."""
        _, password = self._vault.webhook_credentials(account.company)
        return hashlib.sha256(password.encode()).hexdigest()[:8]

    async def _carry_out(self, made: Plan, changes: WebhookChanges) -> None:
        """Make first and remove then; only where there is no room, the other way round."""
        account = made.account
        if made.add and not account.is_admin and self._settings.webhook_user_id is None:
            log.warning(
                "%s is no admin in Pipedrive, and nothing is delivered of records that this user may not see. Name an "
                "admin in PIPEFLOW_WEBHOOK_USER_ID to hear of everything.",
                account.name or f"User {account.user_id}",
            )
        if made.crowded:
            await self._remove_all(made, changes)
        rows = list(made.keep)
        try:
            for need in made.add:
                row = await self._add(account, need)
                if row is not None:
                    rows.append(row)
                    changes.added.append(row)
            if not made.crowded:
                await self._remove_all(made, changes)
        finally:
            gone = {row.id for row in changes.removed}
            left = [one.webhook for one in made.remove if one.webhook.id not in gone]
            await self._store.save_webhooks(account.company, [*rows, *left])
        changes.kept.extend(made.keep)
        if made.lost:
            changes.lost.add(account.company)
            await self._store.save_watermark(account.company, MADE_AGAIN, self._clock(), self._clock())

    async def _remove_all(self, made: Plan, changes: WebhookChanges) -> None:
        for removal in made.remove:
            log.info("Webhook %d (%s) goes: it %s.", removal.webhook.id, removal.webhook.name, removal.why)
            await self._remove(made.account, removal.webhook)
            changes.removed.append(removal.webhook)

    async def _remove(self, account: Account, webhook: Webhook) -> None:
        try:
            await self._accounts.client_for(account).webhooks.delete_webhook(webhook.id)
        except (NotFound, Gone):
            return
        except Forbidden:
            log.warning("Webhook %d is another user's at Pipedrive, who must remove it: %s", webhook.id, webhook.name)

    async def _add(self, account: Account, need: Need) -> Webhook | None:
        action, noun = need
        url = self._url(account)
        user, password = self._vault.webhook_credentials(account.company)
        try:
            made = await self._accounts.client_for(account).webhooks.add_webhook(
                subscription_url=url,
                event_action=action,
                event_object=noun,
                name=name_of(need, self._mark(account)),
                version=VERSION,
                http_auth_user=user,
                http_auth_password=password,
                **({} if self._settings.webhook_user_id is None else {"user_id": self._settings.webhook_user_id}),
            )
        except BadRequest as error:
            self._leave_out(error, url, need)
            return None
        except Invalid as error:
            raise ConfigError(
                f"Pipedrive refused a webhook for {action}.{noun}: {error} A user may have {MOST}, others' included; "
                "remove some in Pipedrive (Tools and apps > Webhooks)."
            ) from error
        return row_of(account, made, self._clock())

    def _leave_out(self, error: BadRequest, url: str, need: Need) -> None:
        """Leave out what Pipedrive does not know; any other refusal is about the address or a setting of ours."""
        wrong = error.body.get("errors") if isinstance(error.body, dict) else None
        names = wrong if isinstance(wrong, dict) else {}
        if "event_object" in names and "subscription_url" not in names:
            log.warning("Pipedrive delivers nothing about %r, so handlers of it will hear nothing: %s", need[1], error)
            return
        if "user_id" in names:
            raise ConfigError(
                f"PIPEFLOW_WEBHOOK_USER_ID cannot be used: {error} Write the id of an admin of the company."
            ) from error
        raise ConfigError(
            f"Pipedrive refused a webhook to {url}: {error} It must reach PIPEFLOW_PUBLIC_URL from outside, over "
            "https and without a redirect."
        ) from error
