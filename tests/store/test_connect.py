"""How accounts come and go: who acts for a company, and what is told of it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from pipeflow.events import names_of, normalise
from pipeflow.store.base import Account, EventFilter, Store
from pipeflow.store.connect import Grant, connect, disconnect, need_reconnect, trusted_root
from pipeflow.vault import Vault

from .builders import COMPANY, NOW

VAULT = Vault(["a key for the accounts in these tests"])


def account(user_id: int = 1, **fields: Any) -> Account:
    """Give an account that was just authorised."""
    sealed = Grant(f"access {user_id}", f"refresh {user_id}").sealed(VAULT)
    values = {"company": COMPANY, "user_id": user_id, "mode": "oauth", "credentials": sealed}
    return Account(id=0, **{**values, **fields})


async def told(store: Store) -> list[tuple[str, str]]:
    """List the names of the events and whose they are, oldest first."""
    events = await store.events(EventFilter(limit=0))
    return [(event.name, event.record_id) for event in reversed(events)]


async def acting(store: Store) -> int:
    """Say which user acts for the company."""
    (one,) = [one for one in await store.accounts() if one.acting]
    return one.user_id


async def test_the_first_connected_account_acts(store: Store) -> None:
    first = await connect(store, account(1), NOW)
    second = await connect(store, account(2), NOW + 1)
    assert (first.acting, second.acting) == (True, False)
    assert await told(store) == [("account.connected", "1"), ("account.connected", "2")]


async def test_the_account_of_an_api_token_is_no_news(store: Store) -> None:
    first = await connect(store, account(1, mode="token"), NOW)
    assert first.acting
    assert await told(store) == []


async def test_an_admin_acts_before_others(store: Store) -> None:
    await connect(store, account(1), NOW)
    await connect(store, account(2, is_admin=True), NOW + 1)
    await connect(store, account(3, is_admin=True), NOW + 2)
    assert await acting(store) == 2


async def test_the_next_account_acts_when_the_acting_one_is_disconnected(store: Store) -> None:
    first = await connect(store, account(1), NOW)
    await connect(store, account(2), NOW + 1)
    await connect(store, account(3, company=7), NOW + 2)
    ended = await disconnect(store, first.id, "uninstalled", NOW + 3)
    assert ended is not None
    assert (ended.status, ended.credentials, ended.reason) == ("disconnected", None, "uninstalled")
    mine = {one.user_id: one.acting for one in await store.accounts() if one.company == COMPANY}
    assert mine == {1: False, 2: True}
    assert (await told(store))[-1] == ("account.disconnected", "1")


async def test_an_account_is_disconnected_once(store: Store) -> None:
    first = await connect(store, account(1), NOW)
    await disconnect(store, first.id, "uninstalled", NOW)
    assert await disconnect(store, first.id, "uninstalled", NOW) is None
    assert len(await told(store)) == 2


async def test_a_dead_grant_hands_over_and_does_not_take_back_what_went_well(store: Store) -> None:
    first = await connect(store, account(1), NOW)
    await connect(store, account(2), NOW + 1)
    assert await need_reconnect(store, first, "the grant is gone", NOW + 2) is not None
    assert await acting(store) == 2
    await connect(store, account(1), NOW + 3)
    assert await acting(store) == 2
    assert [name for name, _ in await told(store)][2:] == ["account.needs_reconnect", "account.connected"]


async def test_a_grant_found_dead_does_not_end_the_account_that_was_connected_anew(store: Store) -> None:
    first = await connect(store, account(1), NOW)
    await connect(store, account(1), NOW + 1)
    assert await need_reconnect(store, first, "the grant is gone", NOW + 2) is None
    assert [one.status for one in await store.accounts()] == ["connected"]


async def test_an_account_that_comes_back_keeps_the_time_at_which_it_came_first(store: Store) -> None:
    first = await connect(store, account(1), NOW)
    await need_reconnect(store, first, "the grant is gone", NOW + 5)
    assert (await connect(store, account(1), NOW + 9)).connected_at == NOW
    await disconnect(store, first.id, "uninstalled", NOW + 10)
    assert (await connect(store, account(1), NOW + 20)).connected_at == NOW + 20


async def test_what_is_told_of_an_account_names_it_and_holds_no_secret(store: Store) -> None:
    await connect(store, account(1, name="Ada", company_name="Acme"), NOW)
    (event,) = await store.events(EventFilter(limit=0))
    payload = normalise(event.raw)
    assert names_of(payload) == ("account.connected",)
    assert (payload.state["name"], payload.state["company_name"]) == ("Ada", "Acme")
    assert b"access" not in event.raw
    assert b"refresh" not in event.raw


async def test_a_grant_is_sealed_and_not_in_its_repr(store: Store) -> None:
    saved = await connect(store, account(1), NOW)
    assert saved.credentials is not None
    assert b"access 1" not in saved.credentials
    opened = Grant.opened(VAULT, saved.credentials)
    assert opened == Grant("access 1", "refresh 1")
    assert "access" not in repr(opened) + repr(replace(saved, name="x"))


@pytest.mark.parametrize(
    ("told", "configured", "root"),
    [
        ("https://acme-1a2b3c.pipedrive.com", "https://api.pipedrive.com", "https://acme-1a2b3c.pipedrive.com"),
        ("https://acme.pipedrive.com/", "https://api.pipedrive.com", "https://acme.pipedrive.com"),
        ("http://127.0.0.1:8001/c/acme", "http://127.0.0.1:8001", "http://127.0.0.1:8001/c/acme"),
        ("http://127.0.0.1:8002/c/acme", "http://127.0.0.1:8001", None),
        ("http://9.0.0.1:8001", "http://127.0.0.1:8001", None),
        ("http://acme.pipedrive.com", "https://api.pipedrive.com", None),
        ("https://acme.pipedrive.com.evil.example", "https://api.pipedrive.com", None),
        ("https://evilpipedrive.com", "https://api.pipedrive.com", None),
        ("https://user@acme.pipedrive.com", "https://api.pipedrive.com", None),
        ("https://acme.pipedrive.com:99999", "https://api.pipedrive.com", None),
        ("https://other.com", "https://pipedrive.com", None),
        ("", "https://api.pipedrive.com", None),
    ],
)
def test_only_hosts_under_the_configured_domain_are_pipedrives(told: str, configured: str, root: str | None) -> None:
    assert trusted_root(told, configured) == root


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_comes_and_goes_one_account_acts_and_it_is_one_that_can(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    admins = {1, 4}
    for step in range(40):
        company, user = chance.choice((COMPANY, 7)), chance.randrange(1, 6)
        rows = [one for one in await store.accounts() if (one.company, one.user_id) == (company, user)]
        match chance.choice(("connect", "connect", "disconnect", "lose")):
            case "connect":
                await connect(store, account(user, company=company, is_admin=user in admins), NOW + step)
            case "disconnect" if rows:
                await disconnect(store, rows[0].id, "uninstalled", NOW + step)
            case "lose" if rows:
                await need_reconnect(store, rows[0], "gone", NOW + step)
        for each in (COMPANY, 7):
            mine = [one for one in await store.accounts() if one.company == each]
            alive = [one for one in mine if one.status == "connected"]
            acting = [one for one in mine if one.acting]
            assert len(acting) <= 1
            if alive:
                assert acting[0] in alive
                assert acting[0].is_admin or not any(one.is_admin for one in alive)
