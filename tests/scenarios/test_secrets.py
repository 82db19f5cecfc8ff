"""No secret leaves its place: not into logs, listings, errors, pages, the store's files, or what a crash leaves."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from pipeflow.sandbox import Sandbox, running
from pipeflow.sandbox.sandbox import CLIENT_ID, CLIENT_SECRET
from pipeflow.store.bodies import unpack
from pipeflow.vault import Vault, key_path
from tests.scenarios.product import clean_environment, eventually, free_port

RECIPE = """
from pipeflow import Client, Event, on
from pipeflow.records import Deal


@on("deal.added")
async def fail(event: Event[Deal], client: Client) -> None:
    mine = [client, vars(client), client.transport, vars(client.transport)]
    await client.deals.get_deal(event.record.id)
    raise ValueError(f"this is what I know: {mine} {event!r} {event.account!r}")


@on("deal.updated")
async def call(event: Event[Deal], client: Client) -> None:
    await client.deals.get_deal(event.record.id)
"""


@dataclass
class Watch:
    """A simulated Pipedrive in this process, pipeflow in another, and every secret that was ever there."""

    folder: Path
    sandbox: Sandbox
    url: str
    port: int
    secrets: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(
            PIPEDRIVE_API_URL=self.url,
            PIPEDRIVE_OAUTH_URL=self.url,
            PIPEDRIVE_API_TOKEN=self.sandbox.api_token,
            PIPEDRIVE_CLIENT_ID=CLIENT_ID,
            PIPEDRIVE_CLIENT_SECRET=CLIENT_SECRET,
            PIPEFLOW_PUBLIC_URL=f"http://127.0.0.1:{self.port}",
            PIPEFLOW_PORT=str(self.port),
            PIPEFLOW_RETRY_DELAYS="0.2",
        )

    def look(self) -> None:
        """Learn the secrets that are there now."""
        self.secrets |= {self.sandbox.api_token: "the API token", CLIENT_SECRET: "the client's secret"}
        for number, grant in enumerate(self.sandbox.oauth.grants):
            self.secrets[grant.refresh_token] = f"refresh token {number}"
            self.secrets |= dict.fromkeys(grant.access, f"an access token of grant {number}")
        self.secrets |= dict.fromkeys(self.sandbox.oauth.codes, "a code")
        keys = key_path(self.folder / "pipeflow.db").read_text().split(",")
        self.secrets |= dict.fromkeys(keys, "the secret key")
        for company in self.sandbox.companies.values():
            self.secrets[Vault(keys).webhook_credentials(company.id)[1]] = "a webhook's password"

    async def start(self) -> None:
        with (self.folder / "run.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "dev", "-m", "pipeflow", "run", "recipes"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
            )
        await self.until(lambda: len(self.hooks()) > 0, "our webhooks")

    def hooks(self) -> list[Any]:
        return [hook for company in self.sandbox.companies.values() for hook in company.webhooks.values()]

    async def until(self, look: Any, what: str) -> None:
        await asyncio.to_thread(eventually, look, what)

    async def command(self, *arguments: str) -> str:
        """Run a pipeflow command and keep what it printed for the search."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "pipeflow", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            check=False,
        )
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"$ {' '.join(arguments)}\n{done.stdout}{done.stderr}\n")
        return done.stdout

    async def connect(self, browser: httpx.AsyncClient, domain: str) -> None:
        """Connect a company, and keep the pages for the search."""
        out = await browser.get(f"http://127.0.0.1:{self.port}/oauth/install")
        form = {name: values[0] for name, values in parse_qs(urlsplit(out.headers["location"]).query).items()}
        asked = out.headers["location"].partition("?")[0]
        back = await browser.post(asked, data={**form, "decision": "allow", "account": f"{domain}/0"})
        self.look()
        came = await browser.get(back.headers["location"])
        page = await browser.get(came.headers["location"])
        with (self.folder / "pages.log").open("a") as log:
            log.write(f"{came.headers['location']}\n{came.text}\n{page.text}\n")
        self.look()

    def found(self) -> list[str]:
        """Search every file that pipeflow wrote, but the one in which the key is kept."""
        hits = []
        for file in sorted(self.folder.rglob("*")):
            if not file.is_file() or file == key_path(self.folder / "pipeflow.db"):
                continue
            hits += self._hits(file.name, file.read_bytes())
        return hits + self._hits("the bodies of events", self.bodies())

    def _hits(self, name: str, content: bytes) -> list[str]:
        return [f"{what} in {name}" for secret, what in self.secrets.items() if secret.encode() in content]

    def bodies(self) -> bytes:
        """Give the bodies of all events, which the file has compressed."""
        with closing(sqlite3.connect(self.folder / "pipeflow.db")) as db:
            packs = db.execute("SELECT id, entries, packed FROM bodies").fetchall()
        return b"".join(raw for pack in packs for _, raw in unpack(*pack, range(sys.maxsize)))


async def test_no_secret_is_in_anything_that_is_printed_or_kept(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "curious.py").write_text(RECIPE)
    sandbox = Sandbox(seed=1, companies=3, redirect_uri=f"http://127.0.0.1:{port}/oauth/callback")
    _, second, third = sandbox.companies.values()
    async with running(sandbox) as url, httpx.AsyncClient(trust_env=False) as browser:
        watch = Watch(tmp_path, sandbox, url, port)
        try:
            await watch.start()
            watch.look()
            sandbox.oauth.switches.rotation = True
            await watch.connect(browser, second.domain)
            await watch.connect(browser, third.domain)
            await watch.until(lambda: len({hook["company_id"] for hook in watch.hooks()}) == 3, "webhooks of all three")
            for company in sandbox.companies:
                sandbox.add("deal", company=company, title="Espresso bar")
            fresh, gone = sandbox.oauth.grants
            fresh.access.clear()
            sandbox.change("deal", 1, company=second.domain, title="Roastery")
            await watch.until(lambda: fresh.refreshes > 0, "a refreshed token")
            watch.look()
            echo = {"error": "invalid_grant", "message": f"Invalid grant: {gone.refresh_token} is invalid"}
            sandbox.faults.add(kind="answer", status=400, path="/oauth/token", body=echo, count=1)
            gone.access.clear()
            sandbox.change("deal", 1, company=third.domain, title="Roastery")
            printed = tmp_path / "run.log"
            await watch.until(lambda: "must be connected again" in printed.read_text(), "a dead grant")
            sandbox.faults.add(kind="503", path="/oauth/token")
            await browser.get(f"http://127.0.0.1:{port}/oauth/callback?code={'c' * 40}&state=forged")
            await browser.request("DELETE", f"http://127.0.0.1:{port}/oauth/callback", auth=(CLIENT_ID, "forged"))
            await watch.until(lambda: "is dead" in printed.read_text(), "a dead run")
            for arguments in ("accounts", "accounts 1", "accounts 2", "webhooks", "runs", "runs 1", "events", "doctor"):
                await watch.command(*arguments.split())
                await watch.command(*arguments.split(), *([] if arguments == "doctor" else ["--json"]))
            await watch.command("accounts", "disconnect", "2", "--yes")
            assert watch.process is not None
            watch.process.kill()
            watch.process.wait()
        finally:
            if watch.process is not None and watch.process.poll() is None:
                watch.process.kill()
    assert "this is what I know" in (tmp_path / "commands.log").read_text()
    assert len(watch.secrets) > 12
    assert watch.found() == []
    assert b"Espresso bar" in watch.bodies()
