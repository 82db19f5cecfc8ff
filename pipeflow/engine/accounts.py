"""The accounts we may act as: who they are, and clients that act as them. Imports client, store rows and vault."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from pipeflow.client.auth import Configuration
from pipeflow.client.client import Client
from pipeflow.client.definitions import Definitions
from pipeflow.engine.tokens import Tokens
from pipeflow.errors import ClientError, ConfigError, NotConnected, Skip
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Run, Store
from pipeflow.store.connect import account_of, connect, disconnect, settle_acting
from pipeflow.vault import Vault

REMEMBERED_SECONDS = 5.0
MISS_SECONDS = 0.5
TOLD = ("name", "company_name", "company_domain", "timezone", "is_admin")
"""What `users/me` tells of an account and may change."""

log = logging.getLogger("pipeflow.accounts")


class Accounts:
    """Knows the connected accounts and gives clients that act as them; `tokens` keeps those of OAuth accounts fresh."""

    def __init__(
        self, store: Store, vault: Vault, settings: Settings, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self.tokens = Tokens(store, vault, settings, clock=clock)
        self._known: list[Account] = []
        self._acting: dict[int, Account] = {}
        self._known_at = 0.0
        self._definitions: dict[int, Definitions] = {}
        self._configurations: dict[int, tuple[tuple[bytes | None, str], Configuration]] = {}

    async def ensure_token_account(self) -> Account:
        """Ask Pipedrive whose `PIPEDRIVE_API_TOKEN` is and keep that account (`GET /v1/users/me`).

        Raises ConfigError where no token is set, ClientError where Pipedrive does not answer or accept it.
        """
        token = self._settings.api_token
        if token is None:
            raise ConfigError("PIPEDRIVE_API_TOKEN is not set: in Pipedrive, see Personal preferences > API.")
        secret = token.get_secret_value()
        user = await Client(Configuration(api_key=secret, base_url=self._settings.api_url)).users.get_current_user()
        now = self._clock()
        account = account_of(
            user.model_dump(by_alias=True),
            mode="token",
            api_domain=self._settings.api_url,
            credentials=self._vault.encrypt(secret.encode()),
        )
        known = await self._known_as(account)
        if known is None or known.status != "connected":
            saved = await connect(self._store, account, now)
        else:
            fresh = replace(account, acting=known.acting, connected_at=known.connected_at, last_used_at=now)
            saved = await self._store.save_account(fresh) or fresh
            await settle_acting(self._store, saved.company)
        await self.end_token_accounts(but=saved)
        return saved

    async def knows_token(self) -> bool:
        """Say whether the account of `PIPEDRIVE_API_TOKEN` is connected already, by this very token."""
        token = self._settings.api_token.get_secret_value() if self._settings.api_token else None
        mine = [account for account in await self.connected() if account.mode == "token"]
        try:
            return any(self._configuration(account).api_key == token for account in mine)
        except ConfigError:  # encrypted with a key that is gone
            return False

    async def end_token_accounts(self, *, but: Account | None = None) -> None:
        """Disconnect accounts of API tokens that are not set any more: such an account ends with its setting."""
        for account in await self._store.accounts():
            if account.mode == "token" and account.status != "disconnected" and (but is None or account.id != but.id):
                await disconnect(self._store, account.id, "PIPEDRIVE_API_TOKEN is not set to its token", self._clock())
        self.forget()

    async def _known_as(self, account: Account) -> Account | None:
        wanted = (account.company, account.user_id, account.mode)
        found = [one for one in await self._store.accounts() if (one.company, one.user_id, one.mode) == wanted]
        return found[0] if found else None

    def forget(self) -> None:
        """Ask the store again for the accounts: they have changed."""
        self._known_at = 0.0

    async def look_again(self) -> None:
        """Ask Pipedrive again who each account is (`GET /v1/users/me`): names, time zone and rights change there.

        Trouble with one account leaves the others alone: its runs find it out.
        """
        changed: set[int] = set()
        for account in await self.connected():
            try:
                user = await self.client_for(account).users.get_current_user()
                told = account_of(user.model_dump(by_alias=True), mode=account.mode)
            except (ClientError, ConfigError) as error:
                log.info("Account %d could not be asked who it is: %s", account.id, error)
                continue
            fresh = {name: getattr(told, name) for name in TOLD}
            found = await self._known_as(told)
            if found is not None and found.status == "connected" and replace(found, **fresh) != found:
                await self._store.save_account(replace(found, **fresh))
                changed.add(found.company)
        for company in changed:
            await settle_acting(self._store, company)
        self.forget()

    async def connected(self) -> list[Account]:
        """List the accounts that are connected, read from the store at most every few seconds."""
        now = self._clock()
        if not self._known or now - self._known_at > REMEMBERED_SECONDS:
            self._known = [a for a in await self._store.accounts() if a.status == "connected"]
            self._known_at = now
            self._acting = {a.company: a for a in sorted(self._known, key=lambda a: a.acting)}
        return self._known

    def at_hand(self, company: int) -> Account | None:
        """Give what `acting` would, where it need not ask the store; else None."""
        is_fresh = self._clock() - self._known_at <= REMEMBERED_SECONDS
        return self._acting.get(company) if is_fresh else None

    async def acting(self, company: int) -> Account | None:
        """Give the account that acts for a company; None where none is connected."""
        await self.connected()
        if company not in self._acting and self._clock() - self._known_at > MISS_SECONDS:
            self.forget()  # it may have been connected just now, by another process
            await self.connected()
        return self._acting.get(company)

    async def missing(self, company: int) -> NotConnected | Skip:
        """Say what becomes of a run that needs an account where none is connected.

        It waits; but where everybody at the company uninstalled the app, it is over: nobody there wants it any more.
        """
        self.forget()
        mine = [
            (account.mode, account.status) for account in await self._store.accounts() if account.company == company
        ]
        if mine and all(one == ("oauth", "disconnected") for one in mine):
            return Skip("its company is not connected any more")
        return NotConnected(f"Company {company} has no connected account; connect one to go on.")

    def client_for(self, account: Account, run: Run | None = None) -> Client:
        """Give a client that acts as `account`; raises NotConnected where its credentials are gone."""
        if account.credentials is None:
            raise NotConnected(
                f"Account {account.id} of company {account.company} has no credentials; connect it again."
            )
        if account.mode == "oauth":
            return Client(self.tokens.source(account), definitions=self.definitions(account.company))
        return Client(self._configuration(account), definitions=self.definitions(account.company))

    def _configuration(self, account: Account) -> Configuration:
        """Give what a client of a token account needs; decrypted once, as each run with a `Client` asks."""
        known = self._configurations.get(account.id)
        if known is not None and known[0] == (account.credentials, account.api_domain):
            return known[1]
        secret = self._vault.decrypt(account.credentials or b"").decode()
        configuration = Configuration(api_key=secret, base_url=account.api_domain or self._settings.api_url)
        self._configurations[account.id] = (account.credentials, account.api_domain), configuration
        return configuration

    def definitions(self, company: int) -> Definitions:
        """Give what is known of a company's custom fields: one object for all its clients, filled as it is fetched."""
        return self._definitions.setdefault(company, Definitions())

    async def answers(self, company: int) -> bool:
        """Ask Pipedrive who we are: whether the company's account is in order (`GET /v1/users/me`)."""
        account = await self.acting(company)
        if account is None:
            return False
        try:
            await self.client_for(account).users.get_current_user()
        except (ClientError, ConfigError):
            return False
        return True

    async def disconnect(self, account_id: int) -> Account | None:
        """Give an account's grant back to Pipedrive and forget its credentials; None where it is not connected.

        Where Pipedrive cannot be told, it is forgotten here all the same, and a warning says so.
        """
        found = next((one for one in await self._store.accounts() if one.id == account_id), None)
        if found is None:
            return None
        try:
            await self.tokens.revoke(found)
        except (ClientError, ConfigError) as error:
            log.warning("Pipedrive could not be told, so uninstall the app there too: %s", error)
        self.forget()
        return await disconnect(self._store, account_id, "disconnected by an operator", self._clock())

    async def rotate(self) -> int:
        """Encrypt all credentials with the vault's newest key; give how many were not yet."""
        done = 0
        for account in await self._store.accounts():
            done += await self._rotate(account)
        return done

    async def _rotate(self, account: Account | None) -> bool:
        while account is not None and account.credentials is not None:
            sealed = self._vault.rotated(account.credentials)
            if sealed is None:
                return False
            if await self._store.save_account(replace(account, credentials=sealed)) is not None:
                return True
            account = await self._known_as(account)
        return False
