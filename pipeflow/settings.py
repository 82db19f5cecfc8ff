"""Every setting, from environment variables or `.env`. May import errors alone.

`Settings.load()` reads and checks; a refusal names the variable and says what to write. `describe` lists them all for
`pipeflow doctor`, secrets hidden.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import SplitResult, unquote, urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeflow.errors import ConfigError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SQLITE = "sqlite:///"
_SHORTEST_KEY = 32


def _setting(*variables: str, default: Any = None, meaning: str, shown: bool = True) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*variables), description=meaning, repr=shown)


def _default_host(known: dict[str, Any]) -> str:
    return "127.0.0.1" if known.get("platform_port") is None else "0.0.0.0"  # noqa: S104  platforms route to it


class Settings(BaseSettings):
    """What pipeflow was told, checked. Immutable; made by `Settings.load()`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )

    api_token: SecretStr | None = _setting("PIPEDRIVE_API_TOKEN", meaning="one account, by its API token")
    client_id: str | None = _setting(
        "PIPEDRIVE_CLIENT_ID", meaning="an OAuth app: accounts connect at /oauth/install (with the secret)"
    )
    client_secret: SecretStr | None = _setting("PIPEDRIVE_CLIENT_SECRET", meaning="the OAuth app's secret")
    api_url: str = _setting(
        "PIPEDRIVE_API_URL", default="https://api.pipedrive.com", meaning="where Pipedrive's API is, without /v1"
    )
    oauth_url: str = _setting(
        "PIPEDRIVE_OAUTH_URL", default="https://oauth.pipedrive.com", meaning="where Pipedrive's OAuth server is"
    )
    public_url: str | None = _setting(
        "PIPEFLOW_PUBLIC_URL", meaning="the https address at which Pipedrive reaches us; needed to register webhooks"
    )
    webhook_user_id: int | None = _setting(
        "PIPEFLOW_WEBHOOK_USER_ID",
        meaning="the Pipedrive user whose visibility decides which events arrive, best an admin; else the account's",
    )
    database_url: str = _setting(
        "PIPEFLOW_DATABASE_URL",
        "DATABASE_URL",
        default="sqlite:///pipeflow.db",
        meaning="where events and runs are kept: sqlite:///path or postgresql://…, else DATABASE_URL",
        shown=False,
    )
    secret_key: SecretStr | None = _setting(
        "PIPEFLOW_SECRET_KEY",
        meaning="encrypts tokens, signs sessions, derives webhook credentials; several, comma-separated, for rotation",
    )
    dashboard_password: SecretStr | None = _setting(
        "PIPEFLOW_DASHBOARD_PASSWORD", meaning="kept for a dashboard; there is none yet, so it has no effect"
    )
    platform_port: int | None = _setting("PORT", meaning="the port a platform gives us; then we listen on 0.0.0.0")
    host: str = Field(
        default_factory=_default_host,
        validation_alias=AliasChoices("PIPEFLOW_HOST"),
        description="the address to listen on; 0.0.0.0 where PORT is set",
    )
    port: int = _setting("PIPEFLOW_PORT", "PORT", default=8000, meaning="the port to listen on, else PORT")
    retry_delays: Annotated[tuple[float, ...], NoDecode] = _setting(
        "PIPEFLOW_RETRY_DELAYS",
        default=(5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0),
        meaning="seconds between a run's attempts; after the last it is dead",
    )
    concurrency: int = _setting("PIPEFLOW_CONCURRENCY", default=20, meaning="attempts at once")
    grace_seconds: float = _setting("PIPEFLOW_GRACE_SECONDS", default=20.0, meaning="seconds to finish at SIGTERM")
    retention_days: float = _setting("PIPEFLOW_RETENTION_DAYS", default=30.0, meaning="days of history kept")
    reconcile_tokens: int = _setting(
        "PIPEFLOW_RECONCILE_TOKENS",
        default=10_000,
        meaning="API tokens a day, per company, for asking Pipedrive what was missed; 0 for never",
    )
    log_format: Literal["console", "json"] | None = _setting(
        "PIPEFLOW_LOG_FORMAT", meaning="console or json; without it, by terminal"
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read environment and `.env`; `overrides` (by field name, None ignored) go before both.

            settings = Settings.load(database_url="sqlite:///test.db")

        Raises ConfigError, naming each wrong variable and what to write.
        """
        # By their field's name, pydantic would let the environment win over them.
        given = {
            _variable(name) if name in cls.model_fields else name: value
            for name, value in overrides.items()
            if value is not None
        }
        try:
            settings = cls(**given)
        except ValidationError as error:
            raise ConfigError("\n".join(dict.fromkeys(_refusals(error)))) from None
        except UnicodeDecodeError as error:
            raise ConfigError(f".env is not UTF-8 text ({error.reason} at byte {error.start})") from None
        settings._check_together()
        return settings

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite database; None with PostgreSQL."""
        if not self.database_url.startswith(_SQLITE):
            return None
        return Path(unquote(self.database_url.removeprefix(_SQLITE)))

    def _check_together(self) -> None:
        if self.client_id is not None and self.client_secret is None:
            raise ConfigError("PIPEDRIVE_CLIENT_ID is set but PIPEDRIVE_CLIENT_SECRET is not: an OAuth app needs both")
        if self.client_secret is not None and self.client_id is None:
            raise ConfigError("PIPEDRIVE_CLIENT_SECRET is set but PIPEDRIVE_CLIENT_ID is not: an OAuth app needs both")
        if self.sqlite_path is not None and os.environ.get("DYNO"):
            raise ConfigError(
                "This is a Heroku dyno (DYNO is set), whose disk does not last: SQLite would lose every event at the "
                "next restart. Add a PostgreSQL database, which sets DATABASE_URL, or set PIPEFLOW_DATABASE_URL to "
                "postgresql://…"
            )

    @field_validator("api_token", "client_secret", "secret_key", "dashboard_password", mode="after")
    @classmethod
    def _strip_secret(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().strip() if value is not None else ""
        return SecretStr(text) if text else None

    @field_validator("api_token", "client_secret", mode="after")
    @classmethod
    def _check_credential(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else ""
        if not (text.isascii() and text.isprintable()):
            _refuse("it has characters that Pipedrive never uses there; copy it again")
        return value

    @field_validator("secret_key", mode="after")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        keys = value.get_secret_value().split(",") if value is not None else []
        if any(len(key.strip()) < _SHORTEST_KEY for key in keys if key.strip()) or (keys and not any(keys)):
            _refuse(f"every key must have {_SHORTEST_KEY} characters or more (several are separated by commas)")
        return value

    @field_validator("api_url", "oauth_url", mode="after")
    @classmethod
    def _check_pipedrive_url(cls, value: str) -> str:
        parts = _split_url(value, "https://api.pipedrive.com")
        if parts.path.rstrip("/").endswith(("/v1", "/v2", "/api")):
            _refuse("write the root alone, without /v1 or /api/v2")
        return value.rstrip("/")

    @field_validator("public_url", mode="after")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if not value:
            return None
        parts = _split_url(value, "https://hooks.example.com")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            _refuse("Pipedrive delivers over https only: write https://… (http works on the loopback address alone)")
        return value.rstrip("/")

    @field_validator("database_url", mode="after")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        if value.startswith(("postgres://", "postgresql://")):
            return value
        path = value.removeprefix(_SQLITE)
        if path == value or not path.strip("/") or path.endswith("/"):
            _refuse("write sqlite:///relative.db, sqlite:////absolute/path.db or postgresql://user:password@host/name")
        if path.startswith(":memory:"):
            _refuse("events must outlive the process: write the path of a file, such as sqlite:///pipeflow.db")
        return value

    @field_validator("port", "platform_port", mode="after")
    @classmethod
    def _check_port(cls, value: int | None) -> int | None:
        if value is not None and not 0 <= value <= 65535:
            _refuse("write a port from 1 to 65535, or 0 for any free one")
        return value

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _split_delays(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("retry_delays", mode="after")
    @classmethod
    def _check_delays(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(delay) and delay >= 0 for delay in value):
            _refuse(_HINTS["retry_delays"])
        return value

    @field_validator("concurrency", mode="after")
    @classmethod
    def _check_concurrency(cls, value: int) -> int:
        return value if value >= 1 else _refuse(_HINTS["concurrency"])

    @field_validator("grace_seconds", mode="after")
    @classmethod
    def _check_grace(cls, value: float) -> float:
        return value if value >= 0 and math.isfinite(value) else _refuse(_HINTS["grace_seconds"])

    @field_validator("reconcile_tokens", mode="after")
    @classmethod
    def _check_tokens(cls, value: int) -> int:
        return value if value >= 0 else _refuse(_HINTS["reconcile_tokens"])

    @field_validator("retention_days", mode="after")
    @classmethod
    def _check_retention(cls, value: float) -> float:
        return value if value > 0 and math.isfinite(value) else _refuse(_HINTS["retention_days"])


_HINTS = {
    "port": "write a port from 1 to 65535, or 0 for any free one",
    "platform_port": "write a port from 1 to 65535",
    "retry_delays": "write seconds separated by commas, such as 5,30,120",
    "concurrency": "write a whole number of at least 1",
    "grace_seconds": "write seconds, 0 or more",
    "retention_days": "write a number of days above 0",
    "webhook_user_id": "write the id of a Pipedrive user, such as 5521001",
    "reconcile_tokens": "write a whole number, 0 or more",
    "log_format": "write console or json",
}


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """List every setting as (variable, value as it may be shown, meaning), in the order of the documentation."""
    rows = []
    for name, info in type(settings).model_fields.items():
        if name != "platform_port":
            rows.append((_variable(name), _shown(name, getattr(settings, name)), info.description or ""))
    return rows


def misspelt() -> list[str]:
    """Say which PIPEFLOW_ variables of the environment and `.env` are no settings, and what they may be meant to be."""
    known = {variable for field in Settings.model_fields for variable in _variables(field)}
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env")) if name.upper().startswith("PIPEFLOW_")}
    return [f"{name} is no setting, so it has no effect.{_meant(name, known)}" for name in sorted(given - known)]


def _meant(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else " `pipeflow doctor` lists those there are."


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return "set, hidden"
    if name == "database_url":
        return _without_password(value)
    if isinstance(value, tuple):
        return ",".join(f"{delay:g}" for delay in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_password(url: str) -> str:
    if url.startswith(_SQLITE):
        return url
    address = url.partition("://")[2].rpartition("@")[2]
    return f"postgresql://{address.partition('?')[0]}"


def _variable(field: str) -> str:
    return _variables(field)[0]


def _variables(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [field]


def _refusals(error: ValidationError) -> Iterator[str]:
    wrong = {_field(detail): detail for detail in error.errors() if detail["type"] != "default_factory_not_called"}
    if "platform_port" in wrong:
        wrong.pop("port", None)
    for field, detail in wrong.items():
        hint = detail["msg"].removeprefix("Value error, ") if detail["type"] == "value_error" else _HINTS.get(field)
        yield f"{_culprit(field)} cannot be used: {hint or detail['msg']}"


def _field(detail: ErrorDetails) -> str:
    place = str(detail["loc"][0]).upper()
    return next(name for name in Settings.model_fields if place in (name.upper(), *_variables(name)))


def _culprit(field: str) -> str:
    return next((name for name in _variables(field) if os.environ.get(name)), _variable(field))


def _refuse(hint: str) -> NoReturn:
    raise ValueError(hint)


def _split_url(value: str, example: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        complete = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        complete = None
    if not complete:
        _refuse(f"write a whole address, such as {example}")
    if parts.query or parts.fragment or parts.username:
        _refuse("write the address alone, without credentials, query or fragment")
    return parts
