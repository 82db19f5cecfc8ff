"""OAuth tokens against a real OAuth server: fresh for every call, refreshed once, and dead grants told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipeflow.engine.tokens import Tokens
from pipeflow.errors import NotConnected, ServerError, StoreUnavailable, Unauthorized
from pipeflow.store import open_store
from pipeflow.store.base import Account, Store
from pipeflow.store.connect import Grant, disconnect

from .oauth_world import World, world_at

NEW = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3599}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_at(tmp_path / "store.db", companies=3) as made:
        yield made


async def test_a_call_acts_as_the_account_on_its_companys_own_host(world: World) -> None:
    account = await world.connect(company=1)
    me = await world.accounts.client_for(account).users.get_current_user()
    assert (me.company_id, me.id) == (account.company, account.user_id)
    assert account.api_domain.endswith(account.api_domain.rpartition("/")[2])
    assert world.grant(account).refreshes == 0


async def test_a_call_near_the_tokens_end_refreshes_it_first(world: World) -> None:
    account = await world.connect()
    world.advance(minutes=56)
    await world.accounts.client_for(account).users.get_current_user()
    assert world.grant(account).refreshes == 1
    assert (await world.row(account)).expires_at == pytest.approx(world.sandbox.clock.seconds() + 3599, abs=5)


async def test_fifty_calls_at_the_end_of_a_token_make_one_refresh(world: World) -> None:
    account = await world.connect()
    world.advance(minutes=61)
    client = world.accounts.client_for(account)
    await asyncio.gather(*(client.users.get_current_user() for _ in range(50)))
    assert world.grant(account).refreshes == 1


async def test_processes_that_share_the_store_make_one_refresh(world: World) -> None:
    account = await world.connect()
    world.sandbox.oauth.switches.rotation = True
    world.sandbox.oauth.switches.delay = 0.3
    others = [open_store(world.settings.database_url) for _ in range(3)]
    for other in others:
        await other.open()
    world.advance(minutes=61)
    clients = [world.process(store).client_for(account) for store in (world.store, *others)]
    await asyncio.gather(*(client.users.get_current_user() for client in clients for _ in range(10)))
    for other in others:
        await other.close()
    assert world.grant(account).refreshes == 1


async def test_a_new_refresh_token_is_kept(world: World) -> None:
    account = await world.connect()
    world.sandbox.oauth.switches.rotation = True
    world.sandbox.oauth.switches.old_access_dies = True
    for _ in range(3):
        world.advance(minutes=58)
        await world.accounts.client_for(account).users.get_current_user()
    assert world.grant(account).refreshes == 3


async def test_a_token_that_another_process_replaced_is_replaced_here_after_one_refusal(world: World) -> None:
    account = await world.connect()
    world.sandbox.oauth.switches.old_access_dies = True
    here = world.accounts.client_for(account)
    await here.users.get_current_user()
    world.advance(minutes=40)
    await world.process(world.store).tokens.refresh_ending()
    await here.users.get_current_user()
    assert world.grant(account).refreshes == 1


async def test_a_refused_token_is_renewed_at_once_and_not_again_and_again(world: World) -> None:
    account = await world.connect()
    client = world.accounts.client_for(account)
    world.sandbox.oauth.expire_access()
    await client.users.get_current_user()
    assert world.grant(account).refreshes == 1
    world.sandbox.faults.add(kind="answer", status=401, path="/users/me", body={"success": False})
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await client.users.get_current_user()
    assert world.grant(account).refreshes == 1


async def test_a_dead_grant_is_marked_and_told_once_and_never_asked_about_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    account = await world.connect()
    other = await world.connect(company=1)
    world.revoke(account)
    world.advance(minutes=61)
    world.sandbox.journal.clear()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(NotConnected, match="connect it again"):
                await world.accounts.client_for(account).users.get_current_user()
            await world.tokens.refresh_ending()
    row = await world.row(account)
    assert (row.status, row.expires_at) == ("needs_reconnect", None)
    assert (await world.row(other)).status == "connected"
    assert (await world.told()).count("account.needs_reconnect") == 1
    assert [line.levelname for line in caplog.records] == ["ERROR"]
    assert "must be connected again" in caplog.text
    assert len(world.sandbox.journal.listed(path="/oauth/token")) == 2


async def test_connecting_again_makes_everything_work_without_a_restart(world: World) -> None:
    account = await world.connect()
    client = world.accounts.client_for(account)
    world.revoke(account)
    world.advance(minutes=61)
    with pytest.raises(NotConnected):
        await client.users.get_current_user()
    again = await world.connect()
    assert again.id == account.id
    await client.users.get_current_user()
    assert (await world.told())[-2:] == ["account.needs_reconnect", "account.connected"]


async def test_a_grant_found_dead_spares_the_account_that_was_connected_meanwhile(world: World) -> None:
    account = await world.connect()
    world.revoke(account)
    world.advance(minutes=61)
    world.sandbox.oauth.switches.delay = 0.5
    call = asyncio.create_task(world.accounts.client_for(account).users.get_current_user())
    await asyncio.sleep(0.2)
    world.sandbox.oauth.switches.delay = 0.0
    await world.connect()
    await call
    assert (await world.row(account)).status == "connected"
    assert "account.needs_reconnect" not in await world.told()


async def test_a_refresh_does_not_bring_back_an_account_that_was_disconnected_meanwhile(world: World) -> None:
    account = await world.connect()
    world.advance(minutes=61)
    world.sandbox.oauth.switches.delay = 0.3
    call = asyncio.create_task(world.accounts.client_for(account).users.get_current_user())
    await asyncio.sleep(0.1)
    await disconnect(world.store, account.id, "uninstalled", world.sandbox.clock.seconds())
    with pytest.raises(NotConnected):
        await call
    row = await world.row(account)
    assert (row.status, row.credentials) == ("disconnected", None)


async def test_a_living_token_serves_while_the_oauth_server_is_down(world: World) -> None:
    account = await world.connect()
    world.sandbox.faults.add(kind="503", path="/oauth/token")
    world.advance(minutes=57)
    client = world.accounts.client_for(account)
    await client.users.get_current_user()
    world.advance(minutes=5)
    with pytest.raises(ServerError):
        await world.tokens.usable(account.id)
    assert (await world.row(account)).status == "connected"
    world.sandbox.faults.clear()
    await client.users.get_current_user()


class Shaky:
    """A store that cannot save accounts for a while."""

    def __init__(self, store: Store, failures: int) -> None:
        self._store = store
        self.failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save_account(self, account: Account) -> Account | None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the disk is full")
        return await self._store.save_account(account)


async def test_a_new_refresh_token_is_not_lost_to_a_full_disk(world: World) -> None:
    account = await world.connect()
    world.sandbox.oauth.switches.rotation = True
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    shaky: Any = Shaky(world.store, failures=3)
    tokens = Tokens(shaky, world.vault, world.settings, clock=world.sandbox.clock.seconds, sleep=sleep)
    world.advance(minutes=61)
    await tokens.usable(account.id)
    assert len(waits) == 3
    sealed = (await world.row(account)).credentials
    assert sealed is not None
    assert Grant.opened(world.vault, sealed).refresh_token == world.grant(account).refresh_token


async def test_whoever_was_connected_anew_is_not_kept_waiting_by_earlier_refusals(world: World) -> None:
    account = await world.connect()
    client = world.accounts.client_for(account)
    world.sandbox.oauth.expire_access()
    await client.users.get_current_user()
    await world.connect()
    await client.users.get_current_user()


async def test_wrong_credentials_of_the_app_make_runs_wait_and_mark_no_account(world: World) -> None:
    account = await world.connect()
    world.sandbox.oauth.apps[world.settings.client_id or ""].client_secret = "another one"
    world.advance(minutes=61)
    with pytest.raises(NotConnected, match="client id, secret"):
        await world.accounts.client_for(account).users.get_current_user()
    await world.tokens.refresh_ending()
    assert not await world.accounts.answers(account.company)
    assert (await world.row(account)).status == "connected"


async def test_the_schedule_refreshes_what_ends_soon_and_one_trouble_spares_the_others(world: World) -> None:
    first, second, third = [await world.connect(company=number) for number in range(3)]
    await world.tokens.refresh_ending()
    assert [world.grant(one).refreshes for one in (first, second, third)] == [0, 0, 0]
    world.revoke(second)
    world.advance(minutes=40)
    await world.tokens.refresh_ending()
    await world.tokens.refresh_ending()
    assert [world.grant(one).refreshes for one in (first, third)] == [1, 1]
    assert (await world.row(second)).status == "needs_reconnect"


async def test_an_address_that_is_not_pipedrives_is_not_taken(world: World) -> None:
    account = await world.connect()
    body = {**NEW, "api_domain": "http://127.0.0.1:1/c/elsewhere"}
    world.sandbox.faults.add(kind="answer", status=200, path="/oauth/token", body=body)
    world.advance(minutes=61)
    assert await world.tokens.usable(account.id) == "new-access"
    assert (await world.row(account)).api_domain == account.api_domain
    assert world.tokens.root(account) == account.api_domain


@pytest.mark.parametrize("more", [{"expires_in": "soon"}, {"expires_in": None}, {"api_domain": None, "scope": None}])
async def test_an_answer_that_lacks_something_loses_no_grant(world: World, more: dict[str, object]) -> None:
    account = await world.connect()
    world.sandbox.faults.add(kind="answer", status=200, path="/oauth/token", body={**NEW, **more})
    world.advance(minutes=61)
    assert await world.tokens.usable(account.id) == "new-access"
    row = await world.row(account)
    assert row.api_domain == account.api_domain
    assert row.expires_at == pytest.approx(world.sandbox.clock.seconds() + 3600, abs=5)


async def test_the_companys_new_address_is_taken(world: World) -> None:
    account = await world.connect()
    body = {**NEW, "api_domain": f"{world.url}/c/renamed"}
    world.sandbox.faults.add(kind="answer", status=200, path="/oauth/token", body=body)
    world.advance(minutes=61)
    await world.tokens.usable(account.id)
    assert world.tokens.source(account).base_url == f"{world.url}/c/renamed"


async def test_tokens_are_in_no_repr_and_not_readable_in_the_store(world: World, tmp_path: Path) -> None:
    account = await world.connect()
    grant = world.grant(account)
    await world.accounts.client_for(account).users.get_current_user()
    source = world.tokens.source(account)
    shown = repr([account, source, source.account, vars(world.tokens)])
    for file in tmp_path.iterdir():
        shown += file.read_bytes().decode("latin-1")
    for secret in (grant.refresh_token, *grant.access):
        assert secret not in shown
