"""An app of many companies, seen by the people who connect it: real browser, real processes, nothing restarted."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeflow.sandbox.sandbox import CLIENT_ID, CLIENT_SECRET
from tests.scenarios.product import FakePipedrive, Product, clean_environment, eventually, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

RECIPE = """
import asyncio
from pathlib import Path

from pipeflow import Account, Client, Event, on
from pipeflow.records import Deal

HERE = Path(__file__).parent


@on("account.*")
def note(event: Event) -> None:
    with (HERE / "told.txt").open("a") as told:
        told.write(f"{event.name} {event.company}\\n")


@on("deal.added")
async def call(event: Event[Deal], client: Client, account: Account) -> None:
    subject = f"Call about {event.record.title} for {account.company_name}"
    await client.activities.add_activity(subject=subject, type="call", deal_id=event.record.id)
"""


class App(Product):
    """`pipeflow run` as an OAuth app, without any account at first."""

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(
            PIPEDRIVE_API_URL=self.pipedrive.url,
            PIPEDRIVE_OAUTH_URL=self.pipedrive.url,
            PIPEDRIVE_CLIENT_ID=CLIENT_ID,
            PIPEDRIVE_CLIENT_SECRET=CLIENT_SECRET,
            PIPEFLOW_PUBLIC_URL=self.url,
            PIPEFLOW_PORT=str(self.port),
            PIPEFLOW_RETRY_DELAYS="0.2,0.2,0.2",
            **self.more,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def told(self) -> list[str]:
        """What the recipe heard of accounts."""
        path = self.recipes / "told.txt"
        return path.read_text().splitlines() if path.exists() else []

    def begin(self, *options: str) -> None:
        """Start, and wait until it is ready: there are no webhooks yet."""
        with (self.folder / "run.log").open("ab") as log:
            self.process = self.started(log, *options)
        if "worker" in options:
            eventually(lambda: "The worker is up" in self.printed, "a worker")
        else:
            eventually(self.ready, "a ready pipeflow")

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def accounts(self) -> list[tuple[int, str]]:
        """List the accounts by company and status."""
        return [(row["company"], row["status"]) for row in self.listed("accounts")]

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """Ask Pipedrive, or its control surface."""
        request = urllib.request.Request(
            self.pipedrive.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-api-token": token, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def companies(self) -> list[Company]:
        """Give the companies of this Pipedrive."""
        return [
            Company(one["id"], one["domain"], one["name"], one["users"][0]["api_token"])
            for one in self.ask("GET", "/_sandbox/companies")
        ]

    def add_deal(self, company: Company, title: str) -> int:
        """Add a deal, as a person of the company does in Pipedrive."""
        body = {"action": "add", "kind": "deal", "company": company.domain, "changes": {"title": title}}
        return int(self.ask("POST", "/_sandbox/act", body)["id"])

    def calls(self, company: Company, deal: int) -> list[str]:
        """Give the subjects of a deal's activities as the company has them."""
        found = self.ask("GET", f"/api/v2/activities?deal_id={deal}", token=company.token)["data"]
        return [one["subject"] for one in found]

    def hooks(self, company: Company) -> list[Any]:
        """Give the company's webhooks as Pipedrive has them."""
        return [hook for hook in self.ask("GET", "/_sandbox/webhooks") if hook["company"] == company.domain]

    def connected(self, company: Company) -> bool:
        """Say whether everything has followed that a company was connected."""
        return f"account.connected {company.id}" in self.told and bool(self.hooks(company))


@dataclass
class Company:
    """A company of the simulated Pipedrive."""

    id: int
    domain: str
    name: str
    token: str


@pytest.fixture
def made(tmp_path: Path) -> Iterator[App]:
    """An app beside a Pipedrive of two companies, not started yet."""
    port = free_port()
    pipedrive = FakePipedrive(tmp_path)
    pipedrive.start("--companies", "2", "--redirect-uri", f"http://127.0.0.1:{port}/oauth/callback")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "of_app.py").write_text(RECIPE)
    running = App(tmp_path, pipedrive, recipes, port)
    yield running
    running.end()
    pipedrive.stop()


@pytest.fixture
def app(made: App) -> App:
    made.begin()
    return made


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a real browser; without one the test is skipped."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("there is no browser: install chromium (`apt-get install chromium`)")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def install(page: Page, app: App, company: Company) -> None:
    """Install from our page, and wait until everything has followed."""
    page.goto(f"{app.url}/oauth/install")
    choose(page, company)
    page.click("text=Allow and install")
    page.wait_for_selector(f"text={company.name} is connected")
    eventually(lambda: app.connected(company), "a company that works")


def choose(page: Page, company: Company) -> None:
    """Choose the company's first user where a page asks whose account it is about."""
    chosen = page.locator("select[name=account] option", has_text=company.name).first
    page.select_option("select[name=account]", value=chosen.get_attribute("value"))


def test_installing_from_our_page_makes_recipes_work_at_once(app: App, page: Page) -> None:
    first, second = app.companies()
    assert f"{app.url}/oauth/install" in app.printed
    install(page, app, first)
    assert "code=" not in page.url
    deal = app.add_deal(first, "Espresso bar")
    wanted = [f"Call about Espresso bar for {first.name}"]
    eventually(lambda: app.calls(first, deal) == wanted, "the call")
    install(page, app, second)
    deal = app.add_deal(second, "Roastery")
    wanted = [f"Call about Roastery for {second.name}"]
    eventually(lambda: app.calls(second, deal) == wanted, "the call of the second company")
    assert sorted(app.accounts()) == sorted([(first.id, "connected"), (second.id, "connected")])


def test_refusing_connects_nothing_and_offers_another_try(app: App, page: Page) -> None:
    page.goto(f"{app.url}/oauth/install")
    page.click("text=Cancel")
    page.wait_for_selector("text=Nothing was connected")
    assert app.accounts() == []
    page.click("text=Connect Pipedrive")
    page.wait_for_selector("text=Allow and install")


def test_installing_from_the_marketplace_ends_on_our_page(app: App, page: Page) -> None:
    first, _ = app.companies()
    page.goto(f"{app.pipedrive.url}/marketplace")
    choose(page, first)
    page.click("text=Install")
    page.wait_for_selector("text=Allow and install")
    choose(page, first)
    page.click("text=Allow and install")
    page.wait_for_selector(f"text={first.name} is connected")
    eventually(lambda: app.connected(first), "a company that works")


def test_uninstalling_in_pipedrive_ends_it_for_that_company_alone(app: App, page: Page) -> None:
    first, second = app.companies()
    install(page, app, first)
    install(page, app, second)
    page.goto(f"{app.pipedrive.url}/marketplace")
    page.locator("form", has_text="Installed for").filter(has_text=first.name).locator("button").click()
    page.wait_for_selector("text=The app is uninstalled")
    eventually(lambda: f"account.disconnected {first.id}" in app.told, "the recipe that hears of it")
    assert sorted(app.accounts()) == sorted([(first.id, "disconnected"), (second.id, "connected")])
    assert app.hooks(first) == []
    deal = app.add_deal(second, "Roastery")
    eventually(lambda: app.calls(second, deal), "the call of the other company")


def test_a_lost_grant_makes_runs_wait_until_somebody_connects_again(app: App, page: Page) -> None:
    first, _ = app.companies()
    install(page, app, first)
    app.ask("POST", "/_sandbox/oauth/uninstall", {"company": first.domain, "told": False})
    deal = app.add_deal(first, "Espresso bar")
    eventually(lambda: f"account.needs_reconnect {first.id}" in app.told, "the recipe that hears of it")
    assert app.accounts() == [(first.id, "needs_reconnect")]
    assert app.printed.count(f"{first.name} must be connected again") == 1
    install(page, app, first)
    eventually(lambda: app.calls(first, deal), "the call that waited")
    (run,) = [run for run in app.listed("runs") if run["handler"] == "of_app.call"]
    assert (run["status"], run["attempts"]) == ("succeeded", 1)


def test_a_company_that_connects_at_the_web_is_served_by_workers_beside_it(
    made: App, page: Page, postgres_url: str
) -> None:
    made.more = {"DATABASE_URL": postgres_url, "PIPEFLOW_SECRET_KEY": "a secret key that all processes share"}
    assert made.command("migrate").returncode == 0
    made.begin("--only", "web")
    (made.folder / "worker").mkdir()
    worker = App(made.folder / "worker", made.pipedrive, made.recipes, made.port, more=made.more)
    worker.begin("--only", "worker")
    try:
        first, _ = made.companies()
        install(page, made, first)
        deal = made.add_deal(first, "Espresso bar")
        wanted = [f"Call about Espresso bar for {first.name}"]
        eventually(lambda: made.calls(first, deal) == wanted, "the call")
    finally:
        worker.end()
