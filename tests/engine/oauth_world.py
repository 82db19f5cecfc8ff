"""A simulated Pipedrive that sells by OAuth, a store, and accounts in it; one clock for all, which tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pipeflow.client.oauth import OAuth2Configuration
from pipeflow.client.transport import close_connections
from pipeflow.engine.accounts import Accounts
from pipeflow.engine.tokens import oauth_app
from pipeflow.sandbox import Sandbox, running
from pipeflow.sandbox.grants import Grant as SandboxGrant
from pipeflow.sandbox.sandbox import CLIENT_ID, CLIENT_SECRET
from pipeflow.settings import Settings
from pipeflow.store import open_store
from pipeflow.store.base import Account, EventFilter, Store
from pipeflow.store.connect import Grant, account_of, connect
from pipeflow.vault import Vault

KEY = "the key of the accounts in these tests"


class World:
    """The simulated Pipedrive at `url` and what pipeflow knows of it."""

    def __init__(self, sandbox: Sandbox, url: str, store: Store, database_url: str) -> None:
        self.sandbox = sandbox
        self.url = url
        self.store = store
        self.database_url = database_url
        self.vault = Vault([KEY])
        self.settings = settings_for(url, database_url)
        self.accounts = self.process(store)
        self.tokens = self.accounts.tokens

    def process(self, store: Store) -> Accounts:
        """Make what knows the accounts in one more process."""
        return Accounts(store, self.vault, self.settings, clock=self.sandbox.clock.seconds)

    def advance(self, minutes: float) -> None:
        """Let time pass, for Pipedrive and for us."""
        self.sandbox.clock.advance(minutes * 60)

    def oauth(self) -> OAuth2Configuration:
        """Make what asks the OAuth server."""
        return oauth_app(self.settings)

    async def connect(
        self, company: int = 0, user: int = 0, *, admin: bool = False, timezone: str = "UTC", days_ago: float = 0.0
    ) -> Account:
        """Connect a user of a company (both by number), as the callback does."""
        home = list(self.sandbox.companies.values())[company]
        person = [one for one in home.tables["user"].values() if one["active_flag"]][user]
        oauth = self.sandbox.oauth
        code = oauth.new_code(oauth.apps[CLIENT_ID], home.domain, person["id"])
        token = await self.oauth().authorize(code)
        now = self.sandbox.clock.seconds()
        account = account_of(
            {
                "id": person["id"],
                "company_id": home.id,
                "name": person["name"],
                "company_name": home.name,
                "timezone_name": timezone,
                "access": [{"admin": admin}],
            },
            mode="oauth",
            api_domain=token["api_domain"],
            credentials=Grant(token["access_token"], token["refresh_token"]).sealed(self.vault),
            expires_at=now + token["expires_in"],
        )
        return await connect(self.store, account, now - days_ago * 86400)

    def grant(self, account: Account) -> SandboxGrant:
        """Give the grant of an account as Pipedrive has it."""
        wanted = (account.company, account.user_id)
        (found,) = [one for one in self.sandbox.oauth.grants if (one.company_id, one.user_id) == wanted]
        return found

    def revoke(self, account: Account) -> None:
        """End a grant without telling anybody."""
        self.sandbox.oauth.grants.remove(self.grant(account))

    async def row(self, account: Account) -> Account:
        """Read an account as it is stored now."""
        (found,) = [one for one in await self.store.accounts() if one.id == account.id]
        return found

    async def told(self) -> list[str]:
        """List the names of the events stored so far, oldest first."""
        return [event.name for event in reversed(await self.store.events(EventFilter(limit=0)))]


def settings_for(url: str, database_url: str) -> Settings:
    """Give settings that lead to a simulated Pipedrive."""
    return Settings.load(
        api_url=url,
        oauth_url=url,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        public_url="http://127.0.0.1:8000",
        database_url=database_url,
        secret_key=KEY,
    )


@asynccontextmanager
async def world_at(place: Path | str, *, companies: int = 1) -> AsyncIterator[World]:
    """Run a simulated Pipedrive and open a store: a SQLite file, or whatever a database URL names."""
    sandbox = Sandbox(seed=1, companies=companies, deals=1)
    database_url = f"sqlite:///{place}" if isinstance(place, Path) else place
    store = open_store(database_url)
    await store.open(owner=True)
    try:
        async with running(sandbox) as url:
            yield World(sandbox, url, store, database_url)
            await close_connections()
    finally:
        await store.close()
