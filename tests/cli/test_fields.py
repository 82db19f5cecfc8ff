"""`pipeflow fields`: the typed module it writes, what mypy makes of it, and what it says once fields have drifted."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeflow.catalog.values import Money, Option
from pipeflow.testing import RunningSandbox

from .conftest import Command

Fields = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def fields(command: Command, sandbox: RunningSandbox) -> Fields:
    """Call `pipeflow fields` for the sandbox's company."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command("fields", *arguments, PIPEDRIVE_API_TOKEN=sandbox.api_token, PIPEDRIVE_API_URL=sandbox.url)

    return call


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("pulled", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_module_reads_and_writes_fields_without_a_look_up(
    fields: Fields, folder: Path, sandbox: RunningSandbox
) -> None:
    done = fields("pull")
    assert (done.returncode, done.stderr) == (0, "")
    pulled = imported(folder / "fields.py")
    values = pulled.DealFields.values(contract_value=900, priority="High", budget=(5, "EUR"), reference=None)
    with sandbox.client.capture() as sent:
        deal = await sandbox.client.deals.update_deal(1, custom_fields=values)
    assert sent[0].operation.id == "v2.DealsApi.updateDeal"
    assert deal.custom[pulled.DealFields.contract_value] == 900
    assert deal.custom[pulled.DealFields.priority] == Option(15)
    assert deal.custom[pulled.DealFields.budget] == Money(5, "EUR")
    with pytest.raises(ValueError, match="'Low', 'Medium', 'High'"):
        pulled.DealFields.values(priority="Highest")


async def test_names_that_are_no_python_names_or_taken_twice_get_one_all_the_same(
    fields: Fields, folder: Path, sandbox: RunningSandbox
) -> None:
    for name in ("class", "2nd choice", "100 %", "!?", 'Say "hi"\\n', "values", "Größe (cm)"):
        await sandbox.client.deal_fields.add_deal_field(field_name=name, field_type="double")
    assert fields("pull").returncode == 0
    pulled = vars(imported(folder / "fields.py").DealFields)
    names = {field.name: attribute for attribute, field in pulled.items() if hasattr(field, "name")}
    assert (names["class"], names["2nd choice"], names["100 %"]) == ("class_", "field_2nd_choice", "field_100")
    assert (names['Say "hi"\\n'], names["values"], names["Größe (cm)"]) == ("say_hi_n", "values_", "größe_cm")
    assert re.fullmatch("field_[0-9a-f]{6}", names["!?"])
    assert len([attribute for attribute in pulled if re.fullmatch("region_[0-9a-f]{6}", attribute)]) == 2
    assert fields("check").returncode == 0


async def test_check_says_what_drifted_and_fails(fields: Fields, sandbox: RunningSandbox) -> None:
    assert fields("pull", "company/fields.py").returncode == 0
    assert fields("check", "company/fields.py").returncode == 0
    keys = {each.name: each.key for each in await sandbox.client.fields.of("deal")}
    await sandbox.client.deal_fields.update_deal_field(keys["Budget"], field_name="Price")
    await sandbox.client.deal_fields.delete_deal_field(keys["Hotline"])
    await sandbox.client.deal_fields.add_deal_field_options(keys["Priority"], items=[{"label": "Top"}])
    await sandbox.client.person_fields.add_person_field(field_name="Shoe size", field_type="double")
    done = fields("check", "company/fields.py")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "deal: 'Budget' is called 'Price' now.",
        "deal: 'Priority' has a new option 'Top'.",
        "deal: 'Hotline' (phone) is gone.",
        "person: 'Shoe size' (double) is new.",
        "The custom fields of Acme Ltd are not those of company/fields.py any more: "
        "`pipeflow fields pull company/fields.py`.",
    ]
    assert fields("pull", "company/fields.py").returncode == 0
    assert fields("check", "company/fields.py").returncode == 0


def test_files_of_others_are_left_alone(fields: Fields, folder: Path) -> None:
    (folder / "fields.py").write_text("MINE = 1\n")
    for what in ("pull", "check"):
        done = fields(what)
        assert (done.returncode, "was not written by" in done.stderr) == (2, True)
    assert (folder / "fields.py").read_text() == "MINE = 1\n"
    assert "pipeflow fields pull other.py" in fields("check", "other.py").stderr


def test_without_credentials_it_says_what_to_set(command: Command) -> None:
    done = command("fields", "pull")
    assert (done.returncode, "PIPEDRIVE_API_TOKEN" in done.stderr) == (2, True)


RIGHT = """
from datetime import date

from fields import DealFields

from pipeflow import Client, Event, changed, on
from pipeflow.catalog.values import Money, Option
from pipeflow.records import Deal


@on("deal.updated", when=changed(DealFields.contract_value) | changed(DealFields.priority, to="High"))
async def use(event: Event[Deal], client: Client) -> None:
    value: float | None = event.record.custom[DealFields.contract_value]
    deal = await client.deals.get_deal(event.record.id)
    priority: Option | None = deal.custom[DealFields.priority]
    budget: Money | None = deal.custom[DealFields.budget]
    await client.deals.update_deal(
        event.record.id,
        custom_fields=DealFields.values(
            contract_value=(value or 0) + 1,
            priority="High" if priority is None else priority,
            budget=budget,
            renewal_date=date(2026, 1, 1),
            interests=["Hardware", 17],
            reference=None,
        ),
    )
    await client.deals.update_deal(1, custom_fields={DealFields.contract_value: 900})
"""
WRONG = {
    "DealFields.contrct_value": "attr-defined",
    "DealFields.values(contrct_value=1)": "call-arg",
    "DealFields.values(contract_value='1')": "arg-type",
    "DealFields.values(priority='Highest')": "arg-type",
    "DealFields.values(interests=['Hardwear'])": "list-item",
    "text: str | None = deal.custom[DealFields.contract_value]": "assignment",
    "deal.custom[DealFields.contract_value] + 1": "operator",
    "print(deal.custom[DealFields.priority].lable)": "union-attr",
}
HEAD = "from fields import DealFields\n\nfrom pipeflow.records import Deal\n\n\ndef use(deal: Deal) -> None:\n"


@pytest.mark.slow
def test_mypy_knows_the_fields_and_catches_each_mistake(fields: Fields, folder: Path) -> None:
    assert fields("pull").returncode == 0
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text(HEAD + "".join(f"    {line}\n" for line in WRONG))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "right.py", "wrong.py"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False).stdout
    assert "right.py" not in said, said
    assert "fields.py" not in said, said
    for number, (line, code) in enumerate(WRONG.items(), start=HEAD.count("\n") + 1):
        assert re.search(rf"wrong\.py:{number}: error: .*\[({code})\]", said), (line, said)
