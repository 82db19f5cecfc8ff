"""The client: every resource of Pipedrive's API for one account. Usable alone, without stores and servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self

from pipeflow.client.auth import Configuration, TokenSource
from pipeflow.client.current import CurrentResources
from pipeflow.client.fields import Fields
from pipeflow.errors import ConfigError

if TYPE_CHECKING:
    from pipeflow.client.answers import Response
    from pipeflow.client.definitions import Definitions
    from pipeflow.client.limits import Limits
    from pipeflow.client.transport import Transport


class Client(CurrentResources):
    """Act in Pipedrive as one account.

        async with Client(api_token="…") as client:
            deal = await client.deals.get_deal(42)

    `client.deals` and its like are the current view; `client.v1` and `client.v2` are the generations whole.
    `client.fields` knows the company's custom fields by name; `definitions` is what is known of them already.
    `base_url` is the root without `/v1`; default `PIPEDRIVE_API_URL`. Without a token, `PIPEDRIVE_API_TOKEN` is used.
    The calls of a `background` client go last and leave a part of the account's limits to the others.
    """

    def __init__(
        self,
        configuration: Configuration | TokenSource | None = None,
        *,
        api_token: str | None = None,
        base_url: str | None = None,
        background: bool = False,
        transport: Transport | None = None,
        definitions: Definitions | None = None,
    ) -> None:
        if configuration is None:
            token = api_token or os.environ.get("PIPEDRIVE_API_TOKEN")
            configuration = Configuration(api_key=token, base_url=base_url)
        elif api_token is not None:
            configuration = Configuration(api_key=api_token, base_url=base_url or configuration.base_url)
        self._configuration = configuration
        self._background = background
        if transport is not None:
            self.transport = transport
        self.fields = Fields(self, definitions)

    @cached_property
    def transport(self) -> Transport:
        """What sends this client's requests; loaded when the first is sent."""
        from pipeflow.client.transport import Transport

        return Transport(self._configuration, background=self._background)

    @classmethod
    def from_env(cls) -> Self:
        """Make a client of `PIPEDRIVE_API_TOKEN` and `PIPEDRIVE_API_URL`; raises ConfigError without a token."""
        if not os.environ.get("PIPEDRIVE_API_TOKEN"):
            raise ConfigError("PIPEDRIVE_API_TOKEN is not set: in Pipedrive, see Personal preferences > API.")
        return cls()

    @property
    def limits(self) -> Limits:
        """What is known of the account's limits: the burst window, and today's API tokens. Needs a running loop."""
        return self.transport.governor.limits

    @contextmanager
    def capture(self) -> Iterator[list[Response]]:
        """Collect the answers of every call inside: status, headers, envelope.

        with client.capture() as sent:
            await client.deals.get_deal(42)
        print(sent[0].status, sent[0].headers["x-correlation-id"])
        """
        sent: list[Response] = []
        self.transport.captures.append(sent)
        try:
            yield sent
        finally:
            self.transport.captures.remove(sent)

    async def __aenter__(self) -> Self:
        from pipeflow.client.transport import client_opened

        client_opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        from pipeflow.client.transport import client_closed

        await client_closed()
