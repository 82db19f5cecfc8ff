"""`pipeflow accounts`: what it lists, refuses and does, against a simulated Pipedrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from pipeflow.errors import ConfigError, PipeflowError
from pipeflow.sandbox.sandbox import CLIENT_ID, CLIENT_SECRET
from pipeflow.store import open_store
from pipeflow.store.base import Account
from pipeflow.store.connect import Grant, connect
from pipeflow.vault import Vault, key_path

from .conftest import COMPANY, NOW

Listed = Callable[..., list[dict[str, Any]]]
Pipeflow = Callable[..., Result]
OLD, NEW = "the-old-key-that-is-long-enough-for-one", "the-new-key-that-is-long-enough-for-one"


async def _fill(vault: Vault) -> None:
    store = open_store("sqlite:///pipeflow.db")
    await store.open()
    sealed = Grant("the-access-token", "the-refresh-token", "base,deals:full").sealed(vault)
    account = Account(id=0, company=COMPANY, user_id=7, mode="oauth", name="Ada", company_name="Acme")
    known = {"credentials": sealed, "expires_at": NOW + 3600, "api_domain": "https://acme.pipedrive.com"}
    await connect(store, replace(account, **known), NOW)
    await store.close()


@pytest.fixture
def account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect an account in the store of this folder, hidden by the old key."""
    monkeypatch.setenv("PIPEFLOW_SECRET_KEY", OLD)
    asyncio.run(_fill(Vault([OLD])))


@pytest.fixture
def oauth_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name an OAuth app in the settings, of a Pipedrive that nobody can reach."""
    monkeypatch.setenv("PIPEDRIVE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("PIPEDRIVE_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("PIPEFLOW_PUBLIC_URL", "https://hooks.example.com")
    monkeypatch.setenv("PIPEDRIVE_OAUTH_URL", "http://127.0.0.1:1")


async def _accounts() -> list[Account]:
    store = open_store("sqlite:///pipeflow.db")
    await store.open()
    found = await store.accounts()
    await store.close()
    return found


def stored() -> Account:
    """Read the one account of this folder's store."""
    (found,) = asyncio.run(_accounts())
    return found


def test_accounts_are_listed_without_secrets(account: None, listed: Listed, pipeflow: Pipeflow) -> None:
    (row,) = listed("accounts")
    assert (row["company_name"], row["name"], row["status"], row["acting"]) == ("Acme", "Ada", "connected", True)
    assert listed("accounts", "list") == [row]
    shown = pipeflow("accounts", "1").output
    assert "base, deals:full" in shown
    for output in (json.dumps(row), shown, pipeflow("accounts").output):
        assert "the-access-token" not in output
        assert "the-refresh-token" not in output


def test_an_unknown_account_is_an_error_that_says_where_to_look(account: None, pipeflow: Pipeflow) -> None:
    result = pipeflow("accounts", "99")
    assert isinstance(result.exception, PipeflowError)
    assert "`pipeflow accounts` lists them" in str(result.exception)


def test_connect_prints_the_link(oauth_app: None, pipeflow: Pipeflow, listed: Listed) -> None:
    assert pipeflow("accounts", "connect").output.splitlines()[0] == "https://hooks.example.com/oauth/install"
    assert listed("accounts", "connect") == [{"url": "https://hooks.example.com/oauth/install"}]


def test_connect_without_an_app_says_what_to_set(pipeflow: Pipeflow) -> None:
    result = pipeflow("accounts", "connect")
    assert isinstance(result.exception, ConfigError)
    assert "PIPEDRIVE_CLIENT_ID" in str(result.exception)


def test_disconnect_asks_and_forgets_even_where_pipedrive_cannot_be_told(
    account: None, oauth_app: None, pipeflow: Pipeflow
) -> None:
    assert pipeflow("accounts", "disconnect", "1", answer="n\n").exit_code == 1
    assert stored().status == "connected"
    result = pipeflow("accounts", "disconnect", "1", "--yes")
    assert result.exit_code == 0, result.output
    assert (stored().status, stored().credentials) == ("disconnected", None)


def test_rotate_key_encrypts_everything_with_the_newest_key(
    account: None, pipeflow: Pipeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(pipeflow("accounts", "rotate-key").exception, ConfigError)
    monkeypatch.setenv("PIPEFLOW_SECRET_KEY", f"{NEW},{OLD}")
    assert "1 accounts were encrypted anew" in pipeflow("accounts", "rotate-key").output
    assert "0 accounts" in pipeflow("accounts", "rotate-key").output
    sealed = stored().credentials
    assert sealed is not None
    assert Grant.opened(Vault([NEW]), sealed).refresh_token == "the-refresh-token"


def test_rotate_key_puts_a_new_key_in_front_of_the_one_that_is_kept_in_a_file(folder: Path, pipeflow: Pipeflow) -> None:
    kept = key_path(folder / "pipeflow.db")
    kept.write_text(OLD)
    asyncio.run(_fill(Vault([OLD])))
    assert "Restart `pipeflow run`" in pipeflow("accounts", "rotate-key").output
    newest, oldest = kept.read_text().split(",")
    assert oldest == OLD
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "1 accounts were encrypted anew" in pipeflow("accounts", "rotate-key").output
    sealed = stored().credentials
    assert sealed is not None
    assert Grant.opened(Vault([newest]), sealed).access_token == "the-access-token"


def test_an_api_tokens_account_has_nothing_to_refresh(folder: Path, pipeflow: Pipeflow) -> None:
    async def fill() -> None:
        store = open_store("sqlite:///pipeflow.db")
        await store.open()
        await connect(store, Account(id=0, company=COMPANY, user_id=1, mode="token", credentials=b"x"), NOW)
        await store.close()

    asyncio.run(fill())
    result = pipeflow("accounts", "refresh", "1")
    assert isinstance(result.exception, PipeflowError)
    assert "API token" in str(result.exception)


def test_doctor_names_an_account_that_must_be_connected_again_and_no_uninstalled_one(
    account: None, oauth_app: None, pipeflow: Pipeflow
) -> None:
    async def change(status: str) -> None:
        store = open_store("sqlite:///pipeflow.db")
        await store.open()
        (found,) = await store.accounts()
        await store.save_account(replace(found, status=status, reason="gone"))  # type: ignore[arg-type]
        await store.close()

    asyncio.run(change("needs_reconnect"))
    assert "must be connected again (gone): `pipeflow accounts connect`" in pipeflow("doctor").output
    asyncio.run(change("disconnected"))
    assert "must be connected again" not in pipeflow("doctor").output


def test_an_oauth_app_needs_a_public_address_even_where_it_polls(
    folder: Path, oauth_app: None, pipeflow: Pipeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPEFLOW_PUBLIC_URL")
    for options in ((), ("--poll", "60")):
        result = pipeflow("run", *options)
        assert isinstance(result.exception, ConfigError)
        assert "PIPEFLOW_PUBLIC_URL" in str(result.exception)
