"""Who we are at Pipedrive and where it is. Standard library alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

GENERIC_ROOT = "https://api.pipedrive.com"
TIMEOUT = 30.0


def default_root() -> str:
    """Give the API's root: `PIPEDRIVE_API_URL`, else Pipedrive's generic host."""
    return os.environ.get("PIPEDRIVE_API_URL") or GENERIC_ROOT


class TokenSource(Protocol):
    """Somebody who keeps an OAuth access token usable: `Client(source)` acts with it.

    For every request, a repeated one too, the transport
    1. awaits `get_access_token()` and sends the token as `Authorization: Bearer …`,
    2. then reads `base_url` and puts the operation's path behind it,
    3. and after a 401 awaits `renew(token)` with the token that was refused, reads `base_url` again and sends the
       request once more; a second 401 is raised as `Unauthorized`.
    Any number of calls ask at once: making one refresh of it is the source's work. It is asked while the call has its
    turn under the account's limits, so that it must not itself call the API as this account. Errors go to the caller
    as they are: `NotConnected` where the grant is gone, another `ClientError` where the OAuth server cannot be asked.
    """

    @property
    def account(self) -> str:
        """Name the account, without secrets: `ClientError.account`, and the key under which limits are counted."""

    @property
    def base_url(self) -> str:
        """The API's root, without `/v1` and without a slash at its end; may follow the token (its `api_domain`)."""

    async def get_access_token(self) -> str:
        """Give a token that is good for the next minutes; refresh it first where it is not."""

    async def renew(self, stale: str) -> str:
        """Give another token than `stale`, which Pipedrive refused; refresh only if the current one is still it."""


@dataclass(frozen=True)
class Configuration:
    """How to reach Pipedrive and as whom.

        Configuration(api_key="…")

    `base_url` is the root without `/v1` or `/api/v2`; default `PIPEDRIVE_API_URL`, else `https://api.pipedrive.com`.
    `timeout` is in seconds. With both credentials only the API token is sent. Raises ValueError for a token that
    cannot be one.
    """

    api_key: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    base_url: str | None = None
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        """Refuse what no header can carry: whoever reports that later would show the token."""
        for name, token in (("api_key", self.api_key), ("access_token", self.access_token)):
            if token is not None and not (token.isascii() and token.isprintable()):
                raise ValueError(f"{name} has characters that no token of Pipedrive has: copy it again.")

    @property
    def root(self) -> str:
        """The API's root, without a slash at its end."""
        return (self.base_url or default_root()).rstrip("/")

    @cached_property
    def account(self) -> str:
        """Name the account without secrets: the root, and a fingerprint of the token."""
        from hashlib import sha256

        token = self.api_key if self.api_key is not None else self.access_token or ""
        return f"{self.root} ({sha256(token.encode()).hexdigest()[:8]})"

    def credentials(self) -> dict[str, str]:
        """Give the header that says who we are."""
        if self.api_key is not None:
            return {"x-api-token": self.api_key}
        if self.access_token is not None:
            return bearer(self.access_token)
        return {}


def bearer(token: str) -> dict[str, str]:
    """Give the header of an OAuth access token."""
    return {"authorization": f"Bearer {token}"}
