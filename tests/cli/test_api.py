"""`pipeflow api` against a sandbox: what it sends, what it shows, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeflow.cli.app import app
from pipeflow.errors import ConfigError, NotFound
from pipeflow.sandbox import CLIENT_ID, CLIENT_SECRET
from tests.engine.oauth_world import KEY, world_at
from tests.scenarios.product import FakePipedrive

from .conftest import Command, clean_environment

Api = Callable[..., Result]


@pytest.fixture(scope="module")
def pipedrive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakePipedrive]:
    fake = FakePipedrive(tmp_path_factory.mktemp("sandbox"))
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def reachable(folder: Path, pipedrive: FakePipedrive, monkeypatch: pytest.MonkeyPatch) -> FakePipedrive:
    """Set the token and the address of the sandbox, and forget what it received."""
    monkeypatch.setenv("PIPEDRIVE_API_URL", pipedrive.url)
    monkeypatch.setenv("PIPEDRIVE_API_TOKEN", pipedrive.token)
    pipedrive.call("DELETE", "/_sandbox/requests")
    return pipedrive


@pytest.fixture
def api(reachable: FakePipedrive) -> Api:
    def call(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, ["api", *arguments], input=stdin)

    return call


@pytest.fixture
def rows(api: Api) -> Callable[..., list[Any]]:
    """Call with `--json` and read the lines."""

    def call(*arguments: str, stdin: str | None = None) -> list[Any]:
        result = api(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, (result.output, result.exception)
        return [json.loads(line) for line in result.stdout.splitlines()]

    return call


Rows = Callable[..., list[Any]]


def received(pipedrive: FakePipedrive, method: str, path: str) -> list[dict[str, Any]]:
    """List what the sandbox received, without what the client asked about custom fields."""
    request = f"{pipedrive.url}/_sandbox/requests?method={method}&path={path}"
    import urllib.request

    with urllib.request.urlopen(request, timeout=10) as answer:
        return [one for one in json.load(answer) if one["path"].endswith(path)]


# -- what is called, and how it is shown -------------------------------------------------------------------------------


def test_a_page_is_one_object_a_line_and_says_that_there_is_more(api: Api) -> None:
    result = api("deals.get_deals", "status=open", "limit=2", "--json")
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["open", "open"]
    assert "--all" in result.stderr
    assert "cursor=" in result.stderr


def test_all_pages_are_fetched_on_demand_and_take_stops(rows: Rows) -> None:
    everything = rows("deals.get_deals", "--all")
    assert len(everything) > 20
    assert rows("deals.get_deals", "--all", "limit=7") == everything
    assert rows("deals.get_deals", "limit=2", "--take", "5") == everything[:5]


def test_people_get_a_table_of_a_list_and_a_line_a_field_of_one_record(api: Api) -> None:
    head, *lines = api("deals.get_deals", "limit=3").stdout.splitlines()
    assert head.split()[:3] == ["id", "title", "status"]
    assert len(lines) == 3
    shown = api("deals.get_deal", "1").stdout
    assert "Priority" in shown
    assert "High" in shown
    assert "custom_fields" not in shown


def test_search_results_are_shown_as_the_records_they_hold(api: Api) -> None:
    assert "title" in api("deals.search_deals", "term=Port").stdout.splitlines()[0]


def test_either_generation_can_be_called_and_a_retired_operation_names_what_replaces_it(api: Api, rows: Rows) -> None:
    assert rows("v2.deals.get_deal", "1")[0]["title"]
    result = api("v1.deals.get_deal", "1", "--json")
    assert json.loads(result.stdout)["org_name"]
    assert "use v2.deals.get_deal" in result.stderr


def test_values_become_what_their_place_wants(reachable: FakePipedrive, rows: Rows) -> None:
    (deal,) = rows(
        *("deals.add_deal", "title=From the shell", "value=12.5", "label_ids=1,2", "is_archived=false"),
        *("expected_close_date=2026-12-24", 'custom_fields={"Contract value": 900}', "lost_reason:=null"),
    )
    assert deal["title"] == "From the shell"
    (sent,) = received(reachable, "POST", "/api/v2/deals")
    assert sent["body"]["value"] == 12.5
    assert sent["body"]["label_ids"] == [1, 2]
    assert sent["body"]["is_archived"] is False
    assert sent["body"]["lost_reason"] is None
    assert list(sent["body"]["custom_fields"].values()) in ([900], [900.0])


def test_a_body_comes_from_a_file_or_from_standard_input(folder: Path, rows: Rows) -> None:
    (folder / "deal.json").write_text('{"title": "From a file", "value": 7}')
    assert rows("deals.add_deal", "@deal.json")[0]["value"] == 7
    (deal,) = rows("deals.add_deal", "-", "value=8", stdin='{"title": "From a pipe"}')
    assert (deal["title"], deal["value"]) == ("From a pipe", 8)


def test_a_text_comes_from_a_file(folder: Path, rows: Rows) -> None:
    (folder / "note.html").write_text("<p>Grüße</p>")
    assert rows("notes.add_note", "content=@note.html", "deal_id=1")[0]["content"] == "<p>Grüße</p>"


def test_a_bare_list_is_a_body_too(rows: Rows) -> None:
    (field,) = rows("deal_fields.add_deal_field", "field_name=Mood", "field_type=enum", 'options=[{"label": "calm"}]')
    added = rows("deal_fields.add_deal_field_options", field["field_code"], "-", stdin='[{"label": "glad"}]')
    assert [option["label"] for option in added] == ["glad"]


def test_files_go_up_by_path_and_come_down_to_one(folder: Path, api: Api, rows: Rows) -> None:
    (folder / "Grüße.txt").write_bytes(b"hello")
    (file,) = rows("files.add_file", "file=Grüße.txt", "deal_id=1")
    assert file["file_name"] == "Grüße.txt"
    assert api("files.download_file", str(file["id"]), "to=copy.txt").stdout.strip() == "copy.txt"
    assert (folder / "copy.txt").read_bytes() == b"hello"
    assert api("files.download_file", str(file["id"])).stdout_bytes == b"hello"


def test_a_deletion_says_that_it_is_done(api: Api, rows: Rows) -> None:
    (note,) = rows("notes.add_note", "content=Bye", "deal_id=1")
    assert api("notes.delete_note", str(note["id"])).stdout == "Done.\n"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deals.get_dealz"], "Did you mean deals.get_deal"),
        (["dealz.get_deals"], "Did you mean deals.get_deals"),
        (["subscriptions.get_subscription"], "v1.subscriptions.get_subscription"),
        (["nonsense"], "--list"),
        (["deals.add_deal", "value=5"], r"lacks title \(text\)"),
        (["deals.get_deal"], r"lacks id \(a whole number\)"),
        (["deals.get_deal", "abc"], "a whole number must stand there"),
        (["deals.get_deal", "1", "2"], "'2' is one word too many"),
        (["deals.get_deals", "statu=open"], "Did you mean status"),
        (["deals.get_deal", "1", "--all"], "gives no list"),
        (["deals.update_deal", "1", "is_archived=maybe"], "true or false"),
        (["deals.update_deal", "1", "custom_fields={"], "is no JSON"),
        (["deals.update_deal", "1", "@nowhere.json"], "nowhere.json cannot be read"),
        (["leads.get_lead", "."], "cannot stand in a path"),
        ([], "Say which operation"),
    ],
)
def test_what_cannot_be_is_refused_with_what_may_stand_there(api: Api, words: list[str], said: str) -> None:
    result = api(*words)
    assert isinstance(result.exception, ConfigError)
    with pytest.raises(ConfigError, match=said):
        raise result.exception


def test_what_pipedrive_refuses_ends_with_its_reason(api: Api) -> None:
    assert isinstance(api("deals.get_deal", "999999").exception, NotFound)


def test_refusals_are_sentences_with_an_exit_code(command: Command, reachable: FakePipedrive) -> None:
    environment = {"PIPEDRIVE_API_URL": reachable.url, "PIPEDRIVE_API_TOKEN": reachable.token}
    done = command("api", "deals.get_dealz", **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pipeflow: Pipedrive has no operation")
    done = command("api", "deals.get_deal", "999999", **environment)
    assert done.returncode == 1
    assert reachable.token not in done.stderr


def test_without_a_way_in_it_says_what_to_set(command: Command) -> None:
    done = command("api", "deals.get_deals")
    assert done.returncode == 2
    assert "PIPEDRIVE_API_TOKEN" in done.stderr


def test_an_account_of_the_store_is_used_where_no_token_is_set(
    folder: Path, pipedrive: FakePipedrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(pipedrive)
    monkeypatch.setenv("PIPEDRIVE_API_URL", pipedrive.url)
    result = CliRunner().invoke(app, ["api", "users.get_current_user", "--json"])
    assert json.loads(result.stdout)["company_id"]
    wrong = CliRunner().invoke(app, ["api", "users.get_current_user", "--company", "7"])
    assert isinstance(wrong.exception, ConfigError)


async def test_the_oauth_account_of_the_company_that_is_named_is_used(folder: Path) -> None:
    async with world_at(folder / "pipeflow.db", companies=2) as world:
        accounts = [await world.connect(company) for company in (0, 1)]
        settings = {
            **{"PIPEDRIVE_API_URL": world.url, "PIPEDRIVE_OAUTH_URL": world.url, "PIPEFLOW_SECRET_KEY": KEY},
            **{"PIPEDRIVE_CLIENT_ID": CLIENT_ID, "PIPEDRIVE_CLIENT_SECRET": CLIENT_SECRET},
        }
        who = ("api", "users.get_current_user", "--json")
        for account in accounts:
            done = await at_once(*who, "--company", str(account.company), **settings)
            assert json.loads(done.stdout)["company_id"] == account.company
        unsaid = await at_once(*who, **settings)
        assert unsaid.returncode == 2
        assert all(str(account.company) in unsaid.stderr for account in accounts)


async def at_once(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call pipeflow as a process of its own, while this one's loop goes on."""
    command = [sys.executable, "-m", "pipeflow", *arguments]
    call = partial(subprocess.run, command, env=clean_environment(**environment), capture_output=True, text=True)
    return await asyncio.to_thread(call, check=False)


def connect(pipedrive: FakePipedrive) -> None:
    """Let this folder's store know the sandbox's account, as `run` would."""
    code = (
        "import asyncio\n"
        "from pipeflow.cli.compose import load_settings\n"
        "from pipeflow.engine.accounts import Accounts\n"
        "from pipeflow.store import open_store\n"
        "from pipeflow.vault import open_vault\n"
        f"settings = load_settings(api_token={pipedrive.token!r}, api_url={pipedrive.url!r})\n"
        "async def work():\n"
        "    store = open_store(settings.database_url)\n"
        "    await store.open(owner=True)\n"
        "    await Accounts(store, open_vault(settings), settings).ensure_token_account()\n"
        "    await store.close()\n"
        "asyncio.run(work())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# -- what there is -----------------------------------------------------------------------------------------------------


def test_every_operation_is_listed_once_under_its_shortest_name(api: Api) -> None:
    listed = [json.loads(line) for line in api("--list", "--json").stdout.splitlines()]
    names = [one["operation"] for one in listed]
    assert len(names) == len(set(names)) == 281 + 158
    assert {
        "deals.get_deals",
        "notes.add_note",
        "v1.deals.get_deals",
        "v1.subscriptions.add_recurring_subscription",
    } <= {*names}
    assert "v2.deals.get_deals" not in names


def test_one_operation_is_described_with_its_arguments(api: Api) -> None:
    shown = api("--list", "deals.add_deal").stdout
    assert "POST /api/v2/deals, 5 tokens" in shown
    assert "title" in shown
    assert "required" in shown


def test_a_part_of_a_name_lists_what_has_it(api: Api) -> None:
    assert "deals.get_deal_followers" in api("--list", "follower").stdout


def test_shells_complete_operations_and_their_arguments() -> None:
    def completed(words: str, place: int) -> set[str]:
        asked = {"_PIPEFLOW_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        script = Path(sys.executable).with_name("pipeflow")
        done = subprocess.run([script], env=clean_environment(**asked), capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert {"deals.get_deal", "deals.get_deals"} <= completed("pipeflow api deals.get_deal", 2)
    assert completed("pipeflow api deals.get_deals own", 3) == {"owner_id="}
