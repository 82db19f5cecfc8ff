"""A client of the environment: the variables that `pipeflow run` reads, too."""

from __future__ import annotations

import pytest

from pipeflow.client import Client
from pipeflow.errors import ConfigError
from pipeflow.sandbox import API_TOKEN, Sandbox, running


async def test_client_takes_token_and_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Sandbox(seed=1)) as url:
        monkeypatch.setenv("PIPEDRIVE_API_TOKEN", API_TOKEN)
        monkeypatch.setenv("PIPEDRIVE_API_URL", url)
        async with Client.from_env() as client:
            assert (await client.users.get_current_user()).company_id


def test_client_without_a_token_in_the_environment_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPEDRIVE_API_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="PIPEDRIVE_API_TOKEN"):
        Client.from_env()
