"""Every setting, from environment variables or `.env`. May import errors alone.

`Settings.load()` reads and checks; a refusal names the variable and says what to write. `describe` lists them all for
`pipeflow doctor`, secrets hidden.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeflow.errors import ConfigError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SHORTEST_KEY = 32
DEFAULT_RETRY_DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0)


def _from(*variables: str, default: Any = None) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*variables))


class Settings(BaseSettings):
    """What pipeflow was told, checked. Immutable; made by `Settings.load()`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        case_sensitive=False,
    )

    api_token: SecretStr | None = _from("PIPEDRIVE_API_TOKEN")
    """One account, by its API token."""
    client_id: str | None = _from("PIPEDRIVE_CLIENT_ID")
    """An OAuth app: accounts connect at /oauth/install."""
    client_secret: SecretStr | None = _from("PIPEDRIVE_CLIENT_SECRET")
    """The OAuth app's secret."""
    api_url: str = _from("PIPEDRIVE_API_URL", default="https://api.pipedrive.com")
    """Where Pipedrive's API is (the sandbox, a test double)."""
    oauth_url: str = _from("PIPEDRIVE_OAUTH_URL", default="https://oauth.pipedrive.com")
    """Where Pipedrive's OAuth server is."""
    public_url: str | None = _from("PIPEFLOW_PUBLIC_URL")
    """The address at which Pipedrive reaches us; needed to register webhooks."""
    database_url: str = _from("PIPEFLOW_DATABASE_URL", "DATABASE_URL", default="sqlite:///pipeflow.db")
    """Where events and runs are stored: sqlite:///path or postgresql://…"""
    secret_key: SecretStr | None = _from("PIPEFLOW_SECRET_KEY")
    """Encrypts tokens, signs sessions, derives webhook credentials; several, comma-separated, for rotation."""
    dashboard_password: SecretStr | None = _from("PIPEFLOW_DASHBOARD_PASSWORD")
    """Signs in to the dashboard; without it a one-time link is printed."""
    host: str = _from("PIPEFLOW_HOST", default="127.0.0.1")
    """The address to listen on; 0.0.0.0 where PORT is set."""
    port: int = _from("PIPEFLOW_PORT", "PORT", default=8000)
    """The port to listen on."""
    retry_delays: Annotated[tuple[float, ...], NoDecode] = _from("PIPEFLOW_RETRY_DELAYS", default=DEFAULT_RETRY_DELAYS)
    """Seconds between the attempts of a run; after the last one it is dead."""
    concurrency: int = _from("PIPEFLOW_CONCURRENCY", default=20)
    """Attempts at once."""
    grace_seconds: float = _from("PIPEFLOW_GRACE_SECONDS", default=20.0)
    """Time to finish at SIGTERM."""
    retention_days: float = _from("PIPEFLOW_RETENTION_DAYS", default=30.0)
    """Days for which finished history is kept."""
    log_format: Literal["console", "json"] | None = _from("PIPEFLOW_LOG_FORMAT")
    """`console` or `json`; by terminal where not set."""

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment and `.env`; `overrides`, by field name, win.

        Raises ConfigError, naming the variable and what to write, for the first value that cannot be.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = str(first["loc"][0]) if first["loc"] else ""
            variable = variables(where)[0] if where in cls.model_fields else where
            said = str(first["msg"]).removeprefix("Value error, ")
            raise ConfigError(f"{variable}: {said}" if variable else said) from None

    @property
    def sqlite_path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL. `sqlite:///relative.db`, `sqlite:////absolute.db`."""
        if not self.database_url.startswith("sqlite"):
            return None
        return Path(unquote(urlsplit(self.database_url).path[1:]))

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _read_delays(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            delays = tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            raise ValueError("write seconds separated by commas, such as 5,30,120") from None
        if any(delay < 0 for delay in delays):
            raise ValueError("a delay is never negative; write seconds separated by commas, such as 5,30,120")
        return delays

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            return value.rstrip("/")
        raise ValueError("Pipedrive delivers over https only; write https://… (http only for 127.0.0.1)")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        if value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
            if os.environ.get("DYNO"):
                raise ValueError("this platform's disk does not last; set DATABASE_URL to a PostgreSQL database")
            return value
        if value.startswith(("postgresql://", "postgres://")):
            return value
        raise ValueError("write sqlite:///path (sqlite:////absolute/path) or postgresql://…")

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key.strip()) < _SHORTEST_KEY for key in value.get_secret_value().split(",")):
            raise ValueError(f"each key is {_SHORTEST_KEY} characters or more")
        return value

    @field_validator("port")
    @classmethod
    def _check_port(cls, value: int) -> int:
        if 0 <= value <= 65535:
            return value
        raise ValueError("a port is a number from 0 to 65535")

    @field_validator("concurrency")
    @classmethod
    def _check_concurrency(cls, value: int) -> int:
        if value >= 1:
            return value
        raise ValueError("at least one attempt at once")

    @model_validator(mode="after")
    def _listen_everywhere(self) -> Self:
        """Where a platform says PORT, it reaches us from outside."""
        if os.environ.get("PORT") and "host" not in self.model_fields_set:
            object.__setattr__(self, "host", "0.0.0.0")  # noqa: S104  # the platform's router is in front
        return self


def variables(field: str) -> tuple[str, ...]:
    """Give the environment variables that set a field, the one that wins first."""
    alias = Settings.model_fields[field].validation_alias
    return tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else (field.upper(),)


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """List every setting as (variable, value as shown, meaning); secrets are hidden."""
    return [(variables(name)[0], _shown(getattr(settings, name)), _MEANINGS[name]) for name in Settings.model_fields]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, tuple):
        return ",".join(f"{item:g}" for item in value)
    return re.sub(r"(://[^:/@]+):[^@]+@", r"\1:***@", str(value))


_MEANINGS = {
    "api_token": "one account, by its API token",
    "client_id": "an OAuth app: its client id",
    "client_secret": "an OAuth app: its client secret",
    "api_url": "where Pipedrive's API is",
    "oauth_url": "where Pipedrive's OAuth server is",
    "public_url": "the address at which Pipedrive reaches us",
    "database_url": "where events and runs are stored",
    "secret_key": "encrypts credentials, derives the webhooks' passwords",
    "dashboard_password": "signs in to the dashboard",
    "host": "the address to listen on",
    "port": "the port to listen on",
    "retry_delays": "seconds before each further attempt",
    "concurrency": "attempts at once",
    "grace_seconds": "time to finish at the end",
    "retention_days": "days for which history is kept",
    "log_format": "console or json; by terminal where not set",
}
