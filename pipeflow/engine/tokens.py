"""OAuth tokens that never go stale: one refresh for all who ask, in any process. Imports client, store rows and vault.

A refresh belongs to whoever holds the account's lease; no transaction is open while Pipedrive is asked. The account is
read again under the lease, and once more when Pipedrive says that the grant is gone: somebody else may have refreshed.
What comes back is saved only over what was read (compare and swap). A refresh token may change with every use, and so
may the address of the company's API: what comes back is what counts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeflow.client.oauth import OAuth2Configuration, Token
from pipeflow.errors import ClientError, ConfigError, NotConnected, StoreUnavailable, TimedOut
from pipeflow.settings import Settings
from pipeflow.store.base import Account, Store
from pipeflow.store.connect import ALIVE, Grant, lives, need_reconnect, trusted_root
from pipeflow.vault import Vault

EARLY_SECONDS = 300.0
"""A call that finds its token this near its end refreshes it first."""
AHEAD_SECONDS = 1500.0
"""The scheduled refresh takes the tokens that end this soon."""
EVERY_SECONDS = 300.0
"""How often the scheduled refresh comes around: five tries for each token, and a dead grant is found in an hour."""
ANSWER_SECONDS = 20.0
FINISH_SECONDS = 5.0
LEASE_SECONDS = 30.0
LOOK_SECONDS = 0.2
LOOKS = 200
AT_ONCE = 8
SAVE_AGAIN_SECONDS = 1.0
REFUSAL_SECONDS = 60.0
AGAIN_SECONDS = 30.0
"""After an early refresh that failed, the token that still lives serves for so long before the next try."""
GONE = "Pipedrive no longer accepts its grant"

log = logging.getLogger("pipeflow.accounts")


@dataclass(frozen=True, slots=True)
class Held:
    """A token as it may be used now; `expires_at` in seconds since 1970. Nothing secret is in its repr."""

    access_token: str = field(repr=False)
    expires_at: float
    root: str


class Tokens:
    """Keeps the tokens of all OAuth accounts usable.

    `oauth` makes what asks Pipedrive's OAuth server, by default for the app that the settings name. `clock` gives
    seconds since 1970, the same for all processes that share the store.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        settings: Settings,
        *,
        clock: Callable[[], float],
        oauth: Callable[[], OAuth2Configuration] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self._oauth = oauth or (lambda: oauth_app(settings))
        self._sleep = sleep
        self._holder = secrets.token_hex(8)
        self._held: dict[int, Held] = {}
        self._asking: dict[int, asyncio.Task[Held]] = {}
        self._refused_at: dict[int, float] = {}
        self._again_at: dict[int, float] = {}

    def source(self, account: Account) -> AccountTokens:
        """Give the token source of an OAuth account, for a `Client`."""
        return AccountTokens(self, account)

    def root(self, account: Account) -> str:
        """Give the root of the company's API, as the latest token told it."""
        held = self._held.get(account.id)
        return (held.root if held else account.api_domain) or self._settings.api_url

    async def usable(self, account_id: int, *, refused: str | None = None, early: float = EARLY_SECONDS) -> str:
        """Give an access token that lives for `early` more seconds and is not the one that Pipedrive `refused`.

        Where no living token is left, raises NotConnected if the grant is gone, ConfigError if the app's credentials or
        our key are not the right ones, another ClientError if the OAuth server cannot be asked.
        """
        held = self._held.get(account_id)
        if held is not None and held.access_token == refused and not self._may_renew(account_id):
            return self._keep(await self._row(account_id)).access_token
        if held is not None and self._clock() < self._again_at.get(account_id, 0.0):
            early = 0.0
        if held is None or not self._good(held, refused, early):
            try:
                held = await self._ask(account_id, refused, early)
            except (ClientError, ConfigError) as error:
                if isinstance(error, NotConnected) or held is None or not self._good(held, refused, 0.0):
                    raise
                self._again_at[account_id] = self._clock() + AGAIN_SECONDS
                log.warning("The token of account %d still lives but could not be refreshed: %s", account_id, error)
        return held.access_token

    async def refresh(self, account_id: int) -> None:
        """Refresh a token now, however long it lives; raises NotConnected where the grant is gone, ClientError else."""
        await self._ask(account_id, None, math.inf)

    async def revoke(self, account: Account) -> None:
        """Give the grant back (`POST /oauth/revoke`): the app counts as uninstalled for this user at Pipedrive."""
        if account.mode != "oauth" or account.credentials is None:
            return
        oauth = self._oauth()
        oauth.update_token({"refresh_token": Grant.opened(self._vault, account.credentials).refresh_token})
        await oauth.revoke()

    async def refresh_ending(self) -> None:
        """Refresh every token that ends soon, so that calls find it fresh and no grant ever lies idle for long.

        Trouble with one account is told and leaves the others alone.
        """
        ends = self._clock() + AHEAD_SECONDS
        mine = [account for account in await self._store.accounts() if account.mode == "oauth"]
        due = [one.id for one in mine if one.status in ALIVE and (one.expires_at is None or one.expires_at < ends)]
        limit = asyncio.Semaphore(AT_ONCE)

        async def refresh(account_id: int) -> None:
            async with limit:
                try:
                    await self.usable(account_id, early=AHEAD_SECONDS)
                except NotConnected:
                    return
                except (ClientError, ConfigError) as error:
                    log.warning("The token of account %d could not be refreshed, and will be: %s", account_id, error)
                except Exception:
                    log.exception("The token of account %d could not be refreshed, and will be", account_id)

        await asyncio.gather(*map(refresh, due))

    async def finish(self) -> None:
        """Wait a little for the refreshes under way: what Pipedrive answers must be saved before the process ends."""
        if self._asking:
            await asyncio.wait(self._asking.values(), timeout=FINISH_SECONDS)

    def _may_renew(self, account_id: int) -> bool:
        """Say whether a refusal may cost a refresh: Pipedrive also answers 401 where the token is not at fault."""
        if account_id in self._asking:
            return True
        now = self._clock()
        if 0 <= now - self._refused_at.get(account_id, float("-inf")) < REFUSAL_SECONDS:
            return False
        self._refused_at[account_id] = now
        return True

    def _good(self, held: Held, refused: str | None, early: float) -> bool:
        return held.access_token != refused and held.expires_at - self._clock() > early

    async def _ask(self, account_id: int, refused: str | None, early: float) -> Held:
        """Let all who ask in this process wait for one answer."""
        while True:
            asking = self._asking.get(account_id)
            mine = asking is None
            if asking is None:
                asking = asyncio.create_task(self._settle(account_id, refused, early), name="refresh of a token")
                self._asking[account_id] = asking
                asking.add_done_callback(lambda task: self._asked(account_id, task))
            held = await asyncio.shield(asking)
            if mine or self._good(held, refused, 0.0):
                return held

    def _asked(self, account_id: int, task: asyncio.Task[Held]) -> None:
        del self._asking[account_id]
        if not task.cancelled():
            task.exception()  # also where nobody waits any more

    async def _settle(self, account_id: int, refused: str | None, early: float) -> Held:
        """Find in the store what another process got, or refresh as the only one who does."""
        lease = f"refresh:{account_id}"
        for _ in range(LOOKS):
            held = self._keep(await self._row(account_id))
            if self._good(held, refused, early):
                return held
            if await self._store.take_lease(lease, self._holder, self._clock(), LEASE_SECONDS):
                try:
                    return await self._refresh(account_id, refused, early)
                finally:
                    await self._store.release_lease(lease, self._holder)
            await self._sleep(LOOK_SECONDS)
        raise TimedOut(f"Another process has been refreshing the token of account {account_id} for too long.")

    async def _row(self, account_id: int) -> Account:
        found = next((one for one in await self._store.accounts() if one.id == account_id), None)
        if found is None or found.status not in ALIVE or found.credentials is None:
            self._held.pop(account_id, None)
            raise _not_connected(found, account_id)
        return found

    def _keep(self, account: Account) -> Held:
        assert account.credentials is not None  # noqa: S101  # `_row` gives no other
        grant = Grant.opened(self._vault, account.credentials)
        held = Held(grant.access_token, account.expires_at or 0.0, account.api_domain or self._settings.api_url)
        self._held[account.id] = held
        return held

    async def _refresh(self, account_id: int, refused: str | None, early: float) -> Held:
        """Read again, ask Pipedrive, save; the lease is ours."""
        account = await self._row(account_id)
        held = self._keep(account)
        if self._good(held, refused, early):
            return held
        assert account.credentials is not None  # noqa: S101
        grant = Grant.opened(self._vault, account.credentials)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                token = await self._exchange(grant)
        except TimeoutError:
            raise TimedOut(f"POST /oauth/token: no answer within {ANSWER_SECONDS:g} s.", path="/oauth/token") from None
        except NotConnected as error:
            log.info("Account %d: %s", account_id, error)
            return await self._lost(account, grant)
        return await self._save(account, grant, token)

    async def _exchange(self, grant: Grant) -> Token:
        oauth = self._oauth()
        oauth.update_token({"refresh_token": grant.refresh_token})
        return await oauth.token_refresh()

    async def _save(self, account: Account, old: Grant, token: Token) -> Held:
        """Save over what was read; where the row changed meanwhile in other ways, over that."""
        now = self._clock()
        grant = Grant(token["access_token"], token.get("refresh_token") or old.refresh_token, token.get("scope") or "")
        sealed = grant.sealed(self._vault)
        while True:
            fresh = replace(
                account,
                credentials=sealed,
                api_domain=self._root_of(account, token),
                expires_at=now + lives(token),
                last_used_at=now,
                reason=None,
            )
            try:
                if (saved := await self._store.save_account(fresh)) is not None:
                    return self._keep(saved)
                account = await self._row(account.id)
            except StoreUnavailable as error:
                # The refresh token that was read may be dead by now: the new one must not be lost.
                log.error("The new token of account %d could not be stored, and will be: %s", account.id, error)
                await self._sleep(SAVE_AGAIN_SECONDS)
                continue
            assert account.credentials is not None  # noqa: S101
            if Grant.opened(self._vault, account.credentials) != old:
                return self._keep(account)

    def _root_of(self, account: Account, token: Token) -> str:
        told = token.get("api_domain") or account.api_domain
        root = trusted_root(str(told), self._settings.api_url)
        if root is None:
            log.error(
                "The token of account %d names an API address that is not Pipedrive's; the one known before is kept.",
                account.id,
                extra={"company": account.company},
            )
        return root or account.api_domain

    async def _lost(self, account: Account, grant: Grant) -> Held:
        """Believe that the grant is gone only if nobody else has refreshed or connected; tell it once, and loudly."""
        while True:
            account = await self._row(account.id)
            assert account.credentials is not None  # noqa: S101
            if Grant.opened(self._vault, account.credentials) != grant:
                return self._keep(account)
            marked = await need_reconnect(self._store, account, GONE, self._clock())
            if marked is None:
                continue
            company = account.company_name or f"company {account.company}"
            log.error(
                "%s must be connected again: Pipedrive no longer accepts the grant of %s. Its runs wait and lose no "
                "attempt; open %s/oauth/install, and they go on by themselves.",
                company,
                account.name or f"user {account.user_id}",
                self._settings.public_url or "",
                extra={"company": account.company, "account": account.id},
            )
            self._held.pop(account.id, None)
            raise _not_connected(marked, account.id)


class AccountTokens:
    """The token source of one account: what a `Client` asks before each request."""

    def __init__(self, tokens: Tokens, account: Account) -> None:
        self._tokens = tokens
        self._account = account

    def __repr__(self) -> str:
        return f"<Tokens of account {self._account.id}, company {self._account.company}>"

    @property
    def account(self) -> str:
        """Name the account, without secrets."""
        return name_of(self._account)

    @property
    def base_url(self) -> str:
        """The root of the company's API, as the latest token told it."""
        return self._tokens.root(self._account)

    async def get_access_token(self) -> str:
        """Give a token that is good for the next minutes; raises NotConnected where there is no way to one."""
        return await self._usable()

    async def renew(self, stale: str) -> str:
        """Give another token than `stale`, which Pipedrive refused."""
        return await self._usable(refused=stale, early=0.0)

    async def _usable(self, **wanted: Any) -> str:
        try:
            return await self._tokens.usable(self._account.id, **wanted)
        except ConfigError as error:
            # No fault of the run that asks: its company waits until the setting is right.
            raise NotConnected(str(error), account=self.account) from error


def oauth_app(settings: Settings) -> OAuth2Configuration:
    """Make what asks Pipedrive's OAuth server for the app that the settings name; ConfigError where they name none."""
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    if not settings.client_id or not secret:
        raise ConfigError(
            "There are accounts connected by OAuth, but PIPEDRIVE_CLIENT_ID and PIPEDRIVE_CLIENT_SECRET are not set: "
            "set those of the app with which they were connected (Developer Hub shows them)."
        )
    callback = f"{settings.public_url or 'http://localhost'}/oauth/callback"
    return OAuth2Configuration(settings.client_id, secret, callback, host=settings.oauth_url)


def name_of(account: Account) -> str:
    """Name an account in errors, logs and counts of limits."""
    return f"user {account.user_id} of company {account.company}"


def _not_connected(account: Account | None, account_id: int) -> NotConnected:
    if account is None:
        return NotConnected(f"There is no account {account_id} any more.")
    details: dict[str, Any] = {"account": name_of(account)}
    why = account.reason or account.status.replace("_", " ")
    return NotConnected(
        f"The account of {account.name or account.user_id} at {account.company_name or account.company} cannot be used "
        f"({why}): connect it again at /oauth/install.",
        **details,
    )
