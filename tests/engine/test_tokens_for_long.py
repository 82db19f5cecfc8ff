"""Tokens over simulated months: every living grant stays alive, every dead one is found within the hour.

The OAuth server's rules are the sandbox's, asked without a network in between.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeflow.client.oauth import Token
from pipeflow.engine.tokens import AHEAD_SECONDS, EVERY_SECONDS, Tokens
from pipeflow.errors import NotConnected
from pipeflow.sandbox.clock import Clock
from pipeflow.sandbox.grants import App, GrantError, Grants
from pipeflow.store import open_store
from pipeflow.store.base import Account, Store
from pipeflow.store.connect import Grant, connect
from pipeflow.vault import Vault

from .oauth_world import KEY, settings_for

HOUR = 3600.0
DAY = 24 * HOUR
APP = App("id", "secret", "app", "http://127.0.0.1/oauth/callback")
ACCOUNTS = 50


class Asker:
    """Asks the grants as the client asks the OAuth server."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._token: dict[str, Any] = {}

    def update_token(self, token: dict[str, Any]) -> None:
        self._token = token

    async def token_refresh(self) -> Token:
        try:
            grant = self._grants.refresh(APP, self._token["refresh_token"])
        except GrantError as error:
            raise NotConnected(str(error)) from None
        return answered(self._grants, grant)


def answered(grants: Grants, grant: Any) -> Token:
    """Give what the OAuth server answers."""
    told = {"access_token": grants.new_access(grant), "refresh_token": grant.refresh_token, "expires_in": 3599}
    return Token({**told, "scope": "base", "api_domain": f"http://127.0.0.1:1/c/{grant.domain}"})


@dataclass
class Years:
    """A store, many accounts, and a clock that jumps."""

    store: Store
    tokens: Tokens
    grants: Grants
    clock: Clock
    revoked_at: dict[int, float] = field(default_factory=dict)
    marked_at: dict[int, float] = field(default_factory=dict)

    async def connect(self, number: int) -> None:
        """Connect the first user of a company."""
        domain = f"company-{number}"
        grant = self.grants.exchange(APP, self.grants.new_code(APP, domain, number), number)
        token = answered(self.grants, grant)
        sealed = Grant(token["access_token"], token["refresh_token"]).sealed(Vault([KEY]))
        now = self.clock.seconds()
        account = Account(id=0, company=number, user_id=number, mode="oauth", credentials=sealed)
        await connect(self.store, replace(account, api_domain=token["api_domain"], expires_at=now + 3599), now)

    def revoke(self, number: int) -> None:
        """Let a company end its grant, without telling us."""
        self.grants.revoke_user(APP.client_id, f"company-{number}", number)
        self.revoked_at[number] = self.clock.seconds()

    async def pass_time(self, seconds: float, step: float = EVERY_SECONDS) -> None:
        """Let time pass, the scheduled refresh coming around."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(step)
            await self.tokens.refresh_ending()
            for account in await self.store.accounts():
                if account.status == "needs_reconnect":
                    self.marked_at.setdefault(account.company, self.clock.seconds())

    async def living(self) -> set[int]:
        """Say which companies' accounts have a token that works now."""
        return {one.company for one in await self.store.accounts() if one.status == "connected"}


@pytest.fixture
async def years(tmp_path: Path) -> AsyncIterator[Years]:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await store.open(owner=True)
    clock = Clock(scale=0.0)
    grants = Grants(clock, 1)
    grants.add_app(APP)
    grants.switches.rotation = grants.switches.old_access_dies = True
    settings = settings_for("http://127.0.0.1:1", f"sqlite:///{tmp_path / 'store.db'}")

    def asker() -> Any:
        return Asker(grants)

    tokens = Tokens(store, Vault([KEY]), settings, clock=clock.seconds, oauth=asker)
    made = Years(store, tokens, grants, clock)
    for number in range(1, ACCOUNTS + 1):
        await made.connect(number)
    yield made
    await store.close()


async def live(years: Years, days: int) -> None:
    """Let days pass in which one company in ten leaves; no call is made meanwhile, so that all others lie idle."""
    chance = random.Random(1)
    leaving = sorted(chance.uniform(0, days * DAY) for _ in range(ACCOUNTS // 10))
    begin = years.clock.seconds()
    for number, moment in enumerate(leaving, start=1):
        await years.pass_time(begin + moment - years.clock.seconds(), step=AHEAD_SECONDS)
        years.revoke(number)
    await years.pass_time(begin + days * DAY - years.clock.seconds(), step=AHEAD_SECONDS)
    await years.pass_time(HOUR)
    left = set(range(len(leaving) + 1, ACCOUNTS + 1))
    assert await years.living() == left
    assert years.marked_at.keys() == years.revoked_at.keys()
    late = [years.marked_at[number] - revoked for number, revoked in years.revoked_at.items()]
    assert max(late) <= HOUR
    for number in left:
        (account,) = [one for one in await years.store.accounts() if one.company == number]
        token = await years.tokens.usable(account.id)
        assert years.grants.access(token) is not None


async def test_two_days_of_fifty_companies(years: Years) -> None:
    await live(years, days=2)


@pytest.mark.long
async def test_ninety_days_of_fifty_companies(request: pytest.FixtureRequest, years: Years) -> None:
    if "long" not in request.config.getoption("-m"):
        pytest.skip("takes minutes: by command only (-m long)")
    await live(years, days=90)


async def test_thirty_five_days_without_us_end_no_grant(years: Years) -> None:
    years.clock.advance(35 * DAY)
    await years.tokens.refresh_ending()
    years.clock.advance(35 * DAY)
    await years.tokens.refresh_ending()
    assert len(await years.living()) == ACCOUNTS


async def test_sixty_one_days_without_us_are_found_out_at_once(years: Years) -> None:
    years.clock.advance(61 * DAY)
    await years.tokens.refresh_ending()
    assert await years.living() == set()
