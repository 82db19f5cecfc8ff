"""Settings: where they come from, what is refused and how, and that no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeflow.errors import ConfigError
from pipeflow.settings import Settings, describe

SECRETS = {
    "PIPEDRIVE_API_TOKEN": "t0ken-t0ken",
    "PIPEDRIVE_CLIENT_ID": "id",
    "PIPEDRIVE_CLIENT_SECRET": "cl1ent-secret",
    "PIPEFLOW_SECRET_KEY": "k" * 32,
    "PIPEFLOW_DASHBOARD_PASSWORD": "passw0rd-passw0rd",
    "PIPEFLOW_DATABASE_URL": "postgresql://user:p4ssword@db.test:5432/name?sslmode=require",
}

Environment = pytest.MonkeyPatch


def given(environment: Environment, **variables: str) -> Settings:
    for name, value in variables.items():
        environment.setenv(name, value)
    return Settings.load()


def test_without_any_setting_there_are_defaults(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.sqlite_path == Path("pipeflow.db")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.api_url == "https://api.pipedrive.com"
    assert settings.retry_delays == (5, 30, 120, 600, 3600, 21600)
    assert (settings.concurrency, settings.grace_seconds, settings.retention_days) == (20, 20, 30)
    assert settings.api_token is None


def test_overrides_go_before_the_environment_which_goes_before_the_file(
    tmp_path: Path, monkeypatch: Environment
) -> None:
    (tmp_path / ".env").write_text("PIPEFLOW_CONCURRENCY=1\nPIPEFLOW_GRACE_SECONDS=1\nPIPEFLOW_PORT=1\n# comment\n")
    monkeypatch.setenv("PIPEFLOW_GRACE_SECONDS", "2")
    monkeypatch.setenv("PIPEFLOW_PORT", "2")
    settings = Settings.load(port=3, host=None)
    assert (settings.concurrency, settings.grace_seconds, settings.port) == (1, 2, 3)


def test_empty_and_blank_variables_count_as_unset(monkeypatch: Environment) -> None:
    settings = given(monkeypatch, PIPEDRIVE_API_TOKEN=" ", PIPEFLOW_PUBLIC_URL="", PORT="", PIPEFLOW_SECRET_KEY="  ")
    assert settings.api_token is None
    assert settings.public_url is None
    assert settings.secret_key is None
    assert settings.host == "127.0.0.1"


def test_a_platforms_port_opens_all_addresses_and_ours_goes_before_it(monkeypatch: Environment) -> None:
    settings = given(monkeypatch, PORT="5000")
    assert (settings.host, settings.port) == ("0.0.0.0", 5000)
    settings = given(monkeypatch, PIPEFLOW_PORT="6000", PIPEFLOW_HOST="127.0.0.2")
    assert (settings.host, settings.port) == ("127.0.0.2", 6000)


def test_a_platforms_database_is_taken_and_ours_goes_before_it(monkeypatch: Environment) -> None:
    settings = given(monkeypatch, DATABASE_URL="postgres://u:p@h/platform")
    assert (settings.database_url, settings.sqlite_path) == ("postgres://u:p@h/platform", None)
    settings = given(monkeypatch, PIPEFLOW_DATABASE_URL="sqlite:////var/data/my%20file.db")
    assert settings.sqlite_path == Path("/var/data/my file.db")


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("PIPEFLOW_DATABASE_URL", "mysql://x", "write sqlite:///relative.db"),
        ("PIPEFLOW_DATABASE_URL", "sqlite://x.db", "write sqlite:///relative.db"),
        ("PIPEFLOW_DATABASE_URL", "sqlite:///", "write sqlite:///relative.db"),
        ("PIPEFLOW_DATABASE_URL", "sqlite:///:memory:", "events must outlive the process"),
        ("DATABASE_URL", "mysql://x", "write sqlite:///relative.db"),
        ("PIPEFLOW_PUBLIC_URL", "hooks.example.com", "write a whole address"),
        ("PIPEFLOW_PUBLIC_URL", "http://hooks.example.com", "Pipedrive delivers over https only"),
        ("PIPEFLOW_PUBLIC_URL", "https://user@hooks.example.com", "without credentials"),
        ("PIPEDRIVE_API_URL", "https://api.pipedrive.com/v1", "without /v1 or /api/v2"),
        ("PIPEDRIVE_API_URL", "https://api.pipedrive.com:port", "write a whole address"),
        ("PIPEDRIVE_API_TOKEN", "tökén", "has characters that Pipedrive never uses"),
        ("PIPEDRIVE_CLIENT_SECRET", "one\ntwo", "has characters that Pipedrive never uses"),
        ("PIPEFLOW_PORT", "99999", "write a port from 1 to 65535"),
        ("PORT", "http", "write a port from 1 to 65535"),
        ("PIPEFLOW_RETRY_DELAYS", "5,soon", "write seconds separated by commas"),
        ("PIPEFLOW_RETRY_DELAYS", "5,-1", "write seconds separated by commas"),
        ("PIPEFLOW_RETRY_DELAYS", "inf", "write seconds separated by commas"),
        ("PIPEFLOW_CONCURRENCY", "0", "write a whole number of at least 1"),
        ("PIPEFLOW_CONCURRENCY", "many", "write a whole number of at least 1"),
        ("PIPEFLOW_GRACE_SECONDS", "-1", "write seconds, 0 or more"),
        ("PIPEFLOW_RETENTION_DAYS", "0", "write a number of days above 0"),
        ("PIPEFLOW_RETENTION_DAYS", "nan", "write a number of days above 0"),
        ("PIPEFLOW_LOG_FORMAT", "xml", "write console or json"),
        ("PIPEFLOW_SECRET_KEY", "short", "32 characters or more"),
        ("PIPEFLOW_SECRET_KEY", f"{'k' * 32},short", "32 characters or more"),
    ],
)
def test_what_cannot_be_is_refused_with_its_variable_and_what_to_write(
    monkeypatch: Environment, variable: str, value: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        given(monkeypatch, **{variable: value})
    assert str(refused.value).startswith(f"{variable} cannot be used: ")
    assert hint in str(refused.value)


def test_every_wrong_setting_is_told_at_once(monkeypatch: Environment) -> None:
    with pytest.raises(ConfigError) as refused:
        given(monkeypatch, PIPEFLOW_PORT="x", PIPEFLOW_CONCURRENCY="x", PIPEFLOW_LOG_FORMAT="x")
    named = {line.partition(" ")[0] for line in str(refused.value).splitlines()}
    assert named == {"PIPEFLOW_PORT", "PIPEFLOW_CONCURRENCY", "PIPEFLOW_LOG_FORMAT"}


def test_settings_that_only_make_sense_together_are_refused_alone(monkeypatch: Environment) -> None:
    with pytest.raises(ConfigError, match="PIPEDRIVE_CLIENT_ID is set but PIPEDRIVE_CLIENT_SECRET is not"):
        given(monkeypatch, PIPEDRIVE_CLIENT_ID="x")
    monkeypatch.delenv("PIPEDRIVE_CLIENT_ID")
    with pytest.raises(ConfigError, match="PIPEDRIVE_CLIENT_SECRET is set but PIPEDRIVE_CLIENT_ID is not"):
        given(monkeypatch, PIPEDRIVE_CLIENT_SECRET="x")


def test_sqlite_is_refused_on_a_disk_that_does_not_last(monkeypatch: Environment) -> None:
    with pytest.raises(ConfigError, match="Heroku dyno"):
        given(monkeypatch, DYNO="web.1")
    assert given(monkeypatch, DATABASE_URL="postgres://h/x").sqlite_path is None


def test_http_is_enough_on_the_loopback_address(monkeypatch: Environment) -> None:
    for address in ("http://localhost:8000", "http://127.0.0.1", "http://[::1]:80"):
        assert given(monkeypatch, PIPEFLOW_PUBLIC_URL=address).public_url == address


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PIPEFLOW_PORT=\xff\xfe1\n")
    with pytest.raises(ConfigError, match=r"\.env is not UTF-8"):
        Settings.load()


def test_no_secret_is_shown_by_repr_description_or_refusal(monkeypatch: Environment) -> None:
    settings = given(monkeypatch, **SECRETS)
    shown = repr(settings) + str(settings) + str(describe(settings))
    rows = {variable: value for variable, value, _ in describe(settings)}
    assert rows["PIPEDRIVE_API_TOKEN"] == "set, hidden"
    assert rows["PIPEFLOW_DATABASE_URL"] == "postgresql://db.test:5432/name"
    with pytest.raises(ConfigError) as refused:
        given(monkeypatch, PIPEFLOW_SECRET_KEY="sh0rt-key", PIPEFLOW_DATABASE_URL="mysql://user:p4ssword@h/x")
    for secret in ("t0ken", "cl1ent-secret", "k" * 32, "passw0rd", "p4ssword", "sh0rt-key"):
        assert secret not in shown + str(refused.value)


def test_settings_do_not_change_once_they_are_read() -> None:
    with pytest.raises(ValidationError):
        Settings.load().port = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    for variable, value, meaning in describe(Settings.load()):
        assert variable.isupper()
        assert value
        assert len(meaning) > 10
