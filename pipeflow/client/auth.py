"""Who we are at Pipedrive and where it is. Standard library alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

GENERIC_ROOT = "https://api.pipedrive.com"


def default_root() -> str:
    """Give the API's root: `PIPEDRIVE_API_URL`, else Pipedrive's generic host."""
    return os.environ.get("PIPEDRIVE_API_URL") or GENERIC_ROOT


@dataclass(frozen=True)
class Configuration:
    """How to reach Pipedrive and as whom.

        Configuration(api_key="…")

    `base_url` is the root without `/v1` or `/api/v2`; default `PIPEDRIVE_API_URL`, else `https://api.pipedrive.com`.
    `timeout` is in seconds. With both credentials only the API token is sent.
    """

    api_key: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    base_url: str | None = None
    timeout: float = 30.0

    @property
    def root(self) -> str:
        """The API's root, without a slash at its end."""
        return (self.base_url or default_root()).rstrip("/")

    def credentials(self) -> dict[str, str]:
        """Give the header that says who we are."""
        if self.api_key is not None:
            return {"x-api-token": self.api_key}
        if self.access_token is not None:
            return {"authorization": f"Bearer {self.access_token}"}
        return {}
