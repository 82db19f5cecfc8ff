"""Accounts of API tokens and of OAuth, side by side: who acts, as whom clients act, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeflow.engine.accounts import Accounts
from pipeflow.errors import ConfigError, NotConnected, Unauthorized
from pipeflow.settings import Settings
from pipeflow.store.connect import Grant, disconnect
from pipeflow.vault import Vault

from .oauth_world import KEY, World, settings_for, world_at

NEW_KEY = "a newer key of the accounts in these tests"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_at(tmp_path / "store.db", companies=2) as made:
        yield made


def with_token(world: World, token: str) -> Accounts:
    """Give what knows the accounts where an API token is set, too."""
    base = settings_for(world.url, world.database_url)
    given = {name: getattr(base, name) for name in ("api_url", "oauth_url", "client_id", "client_secret", "public_url")}
    settings = Settings.load(**given, api_token=token, secret_key=KEY)
    return Accounts(world.store, world.vault, settings, clock=world.sandbox.clock.seconds)


async def test_the_account_of_a_token_is_asked_for_and_kept(world: World) -> None:
    accounts = with_token(world, world.sandbox.api_token)
    account = await accounts.ensure_token_account()
    assert (account.company, account.mode, account.acting) == (world.sandbox.company.id, "token", True)
    assert account.timezone == world.sandbox.company.admin["timezone_name"]
    me = await accounts.client_for(account).users.get_current_user()
    assert me.id == account.user_id


async def test_a_restart_keeps_the_account_of_a_token_as_it_was(world: World) -> None:
    accounts = with_token(world, world.sandbox.api_token)
    first = await accounts.ensure_token_account()
    world.advance(minutes=60)
    again = await accounts.ensure_token_account()
    assert (again.id, again.connected_at, again.acting) == (first.id, first.connected_at, True)
    assert len(await world.store.accounts()) == 1


async def test_a_wrong_token_makes_no_account(world: World) -> None:
    with pytest.raises(Unauthorized):
        await with_token(world, "wrong").ensure_token_account()
    assert await world.store.accounts() == []


async def test_the_account_of_a_token_ends_with_the_setting(world: World) -> None:
    by_oauth = await world.connect(company=0)
    accounts = with_token(world, world.sandbox.api_token)
    first = await accounts.ensure_token_account()
    other = list(world.sandbox.companies.values())[1]
    second = await with_token(world, other.admin["token"]).ensure_token_account()
    rows = {row.id: row.status for row in await world.store.accounts()}
    assert rows == {by_oauth.id: "connected", first.id: "disconnected", second.id: "connected"}
    await world.accounts.end_token_accounts()
    assert [row.id for row in await world.store.accounts() if row.status == "connected"] == [by_oauth.id]


async def test_both_kinds_serve_side_by_side_and_one_acts_for_a_company(world: World) -> None:
    accounts = with_token(world, world.sandbox.api_token)
    by_token = await accounts.ensure_token_account()
    by_oauth = await world.connect(company=0, admin=True)
    elsewhere = await world.connect(company=1)
    await accounts.ensure_token_account()
    acting = {row.id for row in await world.store.accounts() if row.acting}
    assert acting == {by_token.id, elsewhere.id}
    for account in (by_token, by_oauth, elsewhere):
        me = await accounts.client_for(account).users.get_current_user()
        assert (me.company_id, me.id) == (account.company, account.user_id)


async def test_an_account_that_acts_is_found_by_its_company(world: World) -> None:
    first, second = await world.connect(company=0), await world.connect(company=1)
    found = await world.accounts.acting(second.company)
    assert found is not None
    assert found.id == second.id
    await disconnect(world.store, first.id, "uninstalled", world.sandbox.clock.seconds())
    world.accounts.forget()
    assert await world.accounts.acting(first.company) is None
    assert not await world.accounts.answers(first.company)


async def test_a_company_that_another_process_connected_is_found_at_once(world: World) -> None:
    first = await world.connect(company=0)
    assert await world.accounts.acting(first.company) is not None
    second = await world.connect(company=1)
    world.advance(minutes=1 / 60)
    found = await world.accounts.acting(second.company)
    assert found is not None
    assert found.id == second.id


async def test_disconnecting_gives_the_grant_back_to_pipedrive(world: World) -> None:
    account, other = await world.connect(company=0), await world.connect(company=1)
    ended = await world.accounts.disconnect(account.id)
    assert ended is not None
    assert (ended.status, ended.credentials) == ("disconnected", None)
    assert [grant.company_id for grant in world.sandbox.oauth.grants] == [other.company]
    assert await world.accounts.disconnect(account.id) is None
    with pytest.raises(NotConnected):
        await world.accounts.client_for(account).users.get_current_user()


async def test_disconnecting_works_while_pipedrive_does_not(world: World) -> None:
    account = await world.connect()
    world.sandbox.faults.add(kind="answer", status=400, path="/oauth/revoke", body={"error": "no"})
    ended = await world.accounts.disconnect(account.id)
    assert ended is not None
    assert ended.status == "disconnected"


async def test_credentials_hidden_by_an_older_key_are_read_and_hidden_by_the_newest(world: World) -> None:
    account = await world.connect()
    vault = Vault([NEW_KEY, KEY])
    accounts = Accounts(world.store, vault, world.settings, clock=world.sandbox.clock.seconds)
    await accounts.client_for(account).users.get_current_user()
    assert await accounts.rotate() == 1
    assert await accounts.rotate() == 0
    sealed = (await world.row(account)).credentials
    assert sealed is not None
    assert Grant.opened(Vault([NEW_KEY]), sealed).refresh_token == world.grant(account).refresh_token
    with pytest.raises(ConfigError):
        Grant.opened(Vault([KEY]), sealed)


async def test_a_key_that_is_gone_makes_the_company_wait_and_loses_nothing(world: World) -> None:
    account = await world.connect()
    accounts = Accounts(world.store, Vault([NEW_KEY]), world.settings, clock=world.sandbox.clock.seconds)
    with pytest.raises(NotConnected, match="PIPEFLOW_SECRET_KEY"):
        await accounts.client_for(account).users.get_current_user()
    await accounts.tokens.refresh_ending()
    assert (await world.row(account)).status == "connected"
