"""The accounts we may act as: who they are, and clients that act as them. Imports client, store rows and vault."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeflow.client.auth import Configuration
from pipeflow.client.client import Client
from pipeflow.errors import ClientError, ConfigError, NotConnected
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Run, Store
from pipeflow.vault import Vault

REMEMBERED_SECONDS = 5.0


class Accounts:
    """Knows the connected accounts and gives clients that act as them."""

    def __init__(
        self, store: Store, vault: Vault, settings: Settings, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self._known: list[Account] = []
        self._known_at = 0.0

    async def ensure_token_account(self) -> Account:
        """Ask Pipedrive whose `PIPEDRIVE_API_TOKEN` is and keep that account (`GET /v1/users/me`).

        Raises ConfigError where no token is set, ClientError where Pipedrive does not answer or accept it.
        """
        token = self._settings.api_token
        if token is None:
            raise ConfigError("PIPEDRIVE_API_TOKEN is not set: in Pipedrive, see Personal preferences > API.")
        secret = token.get_secret_value()
        user = await Client(Configuration(api_key=secret, base_url=self._settings.api_url)).users.get_current_user()
        if user.id is None or user.company_id is None:
            raise ClientError("GET /v1/users/me named no user or company; is PIPEDRIVE_API_URL Pipedrive's?")
        account = Account(
            id=0,
            company=user.company_id,
            user_id=user.id,
            mode="token",
            name=user.name or "",
            company_name=user.company_name or "",
            company_domain=user.company_domain or "",
            api_domain=self._settings.api_url,
            timezone=user.timezone_name or "UTC",
            is_admin=any(getattr(part, "admin", False) for part in user.access or ()),
            acting=True,
            credentials=self._vault.encrypt(secret.encode()),
            connected_at=self._clock(),
        )
        saved = await self._store.save_account(account)
        self._known_at = 0.0
        return saved or account

    async def connected(self) -> list[Account]:
        """List the accounts that are connected, read from the store at most every few seconds."""
        now = self._clock()
        if not self._known or now - self._known_at > REMEMBERED_SECONDS:
            self._known = [a for a in await self._store.accounts() if a.status == "connected"]
            self._known_at = now
        return self._known

    async def acting(self, company: int) -> Account | None:
        """Give the account that acts for a company; None where none is connected."""
        mine = [account for account in await self.connected() if account.company == company]
        return next((account for account in mine if account.acting), mine[0] if mine else None)

    def client_for(self, account: Account, run: Run | None = None) -> Client:
        """Give a client that acts as `account`; raises NotConnected where its credentials are gone."""
        if account.credentials is None:
            raise NotConnected(
                f"Account {account.id} of company {account.company} has no credentials; connect it again."
            )
        secret = self._vault.decrypt(account.credentials).decode()
        return Client(Configuration(api_key=secret, base_url=account.api_domain or self._settings.api_url))

    async def answers(self, company: int) -> bool:
        """Ask Pipedrive who we are: whether the company's account is in order (`GET /v1/users/me`)."""
        account = await self.acting(company)
        if account is None:
            return False
        try:
            await self.client_for(account).users.get_current_user()
        except ClientError:
            return False
        return True
