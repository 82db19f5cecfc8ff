"""Secrets: webhook credentials, encrypted tokens, signed tokens, and the turning of keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipeflow.errors import ConfigError
from pipeflow.settings import Settings
from pipeflow.vault import Vault, open_vault

OLD, NEW = "o" * 32, "n" * 40


def test_webhook_credentials_are_the_companys_own_and_always_the_same() -> None:
    user, password = Vault([OLD]).webhook_credentials(1)
    assert (user, password) == Vault([OLD]).webhook_credentials(1)
    assert password != Vault([OLD]).webhook_credentials(2)[1]
    assert password != Vault([NEW]).webhook_credentials(1)[1]
    assert len(password) >= 40


@pytest.mark.parametrize(
    ("company", "user", "password"),
    [(2, "pipeflow", None), (1, "Pipeflow", None), (1, "pipeflow", ""), (1, "", ""), (1, "pipeflow", "\ud800é")],
)
def test_other_credentials_are_not_accepted(company: int, user: str, password: str | None) -> None:
    vault = Vault([OLD])
    right = vault.webhook_credentials(1)[1]
    assert vault.accepts(1, "pipeflow", right)
    assert not vault.accepts(company, user, right if password is None else password)


def test_a_new_key_in_front_makes_what_is_new_and_what_is_old_stays_good() -> None:
    before, both, after = Vault([OLD]), Vault([NEW, OLD]), Vault([NEW])
    assert both.webhook_credentials(1) == after.webhook_credentials(1)
    assert both.accepts(1, *before.webhook_credentials(1))
    assert both.decrypt(before.encrypt(b"token")) == b"token"
    assert after.decrypt(both.encrypt(b"token")) == b"token"
    assert both.unsign("session", before.sign("session", "ann", 100), 50) == "ann"
    assert not after.accepts(1, *before.webhook_credentials(1))


def test_what_is_encrypted_hides_the_text_and_is_another_each_time() -> None:
    vault = Vault([OLD])
    first, second = vault.encrypt(b"token"), vault.encrypt(b"token")
    assert first != second
    assert b"token" not in first + second


def test_what_no_key_opens_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="add the key they were encrypted with"):
        Vault([NEW]).decrypt(Vault([OLD]).encrypt(b"token"))


def test_rotating_encrypts_anew_only_what_an_old_key_made() -> None:
    both = Vault([NEW, OLD])
    fresh = both.rotated(Vault([OLD]).encrypt(b"token"))
    assert fresh is not None
    assert Vault([NEW]).decrypt(fresh) == b"token"
    assert both.rotated(fresh) is None


def test_a_signed_token_proves_its_data_until_it_expires_and_for_its_purpose_alone() -> None:
    vault = Vault([OLD])
    token = vault.sign("session", "Änn & co.", 100)
    assert vault.unsign("session", token, 99) == "Änn & co."
    assert vault.unsign("session", token, 100) is None
    assert vault.unsign("csrf", token, 99) is None
    assert Vault([NEW]).unsign("session", token, 99) is None


def test_a_token_that_was_touched_is_none_and_never_an_error() -> None:
    vault = Vault([OLD])
    token = vault.sign("session", "ann", 100)
    later = token.replace("100.", "999.", 1)
    for touched in (later, token[:-1], f"x{token}", "", ".", "..", "a.b.c", token.replace(".", ""), "\ud800.é.ü"):
        assert vault.unsign("session", touched, 50) is None


@pytest.mark.parametrize(
    ("keys", "hint"), [([], "no secret key"), (["", " "], "no secret key"), (["short"], "5 charac")]
)
def test_no_key_and_a_short_one_are_refused_without_showing_it(keys: list[str], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint) as refused:
        Vault(keys)
    assert "short" not in str(refused.value)


def test_repr_shows_no_key() -> None:
    assert repr(Vault([OLD, NEW])) == "<Vault of 2 keys>"


def test_a_key_is_made_beside_the_sqlite_file_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings.load(database_url=f"sqlite:///{tmp_path}/data/x.db")
    credentials = open_vault(settings).webhook_credentials(1)
    assert open_vault(settings).webhook_credentials(1) == credentials
    (kept,) = (tmp_path / "data").iterdir()
    assert (kept.name, stat.S_IMODE(kept.stat().st_mode)) == ("x.db.key", 0o600)


def test_a_configured_key_goes_before_the_kept_one_and_postgresql_needs_it(tmp_path: Path) -> None:
    sqlite = f"sqlite:///{tmp_path}/x.db"
    configured = open_vault(Settings.load(database_url=sqlite, secret_key=f"{NEW},{OLD}"))
    assert configured.webhook_credentials(1) == Vault([NEW]).webhook_credentials(1)
    assert configured.accepts(1, *Vault([OLD]).webhook_credentials(1))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="every process must be given the same one"):
        open_vault(Settings.load(database_url="postgresql://localhost/x"))


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db.key").mkdir()
    with pytest.raises(ConfigError, match=r"x\.db\.key.*set PIPEFLOW_SECRET_KEY"):
        open_vault(Settings.load(database_url=f"sqlite:///{tmp_path}/x.db"))
