"""Custom fields by name: against the sandbox over real HTTP, and against a network of our own where it must be odd."""

from __future__ import annotations

import ast
import asyncio
import json
import pickle
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeflow.catalog.values import Address, DateRange, Money, Option, Options, Ref, TimeOfDay, TimeRange
from pipeflow.client import Client, Configuration
from pipeflow.client.fields import Fields
from pipeflow.client.transport import Transport
from pipeflow.errors import ConfigError, ConnectionFailed, Forbidden
from pipeflow.records import read_record
from pipeflow.sandbox import Sandbox, running

VALUES: dict[str, tuple[Any, Any]] = {
    "Reference": ("A-1", "A-1"),
    "Source campaign": (42, "42"),
    "Requirements": ("by noon", "by noon"),
    "Hotline": ("+372 555", "+372 555"),
    "Contract value": (Decimal("12.5"), 12.5),
    "Budget": (Money(Decimal("500"), "USD"), Money(Decimal("500"), "USD")),
    "Priority": ("High", Option(15)),
    "Interests": (["Software", 18], Options([Option(18), Option(17)])),
    "Account manager": (Ref("user", 1), Ref("user", 1)),
    "Partner company": (2, Ref("organization", 2)),
    "Decision maker": ("3", Ref("person", 3)),
    "Renewal date": (date(2026, 3, 5), date(2026, 3, 5)),
    "Contract period": ((date(2026, 1, 1), "2026-02-01"), DateRange(date(2026, 1, 1), date(2026, 2, 1))),
    "Delivery address": ("Pikk 12, Tallinn", Address("Pikk 12, Tallinn")),
}
"""What is written to each field of the sandbox's deals, and what is read back, whatever the version."""


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(seed=1)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with running(sandbox) as url, Client(api_token=sandbox.api_token, base_url=url) as client:
        yield client


@contextmanager
def old() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def fetched(sandbox: Sandbox) -> int:
    return len(sandbox.journal.listed(path="Fields", method="GET"))


# -- reading and writing -----------------------------------------------------------------------------------------------


async def test_what_is_written_by_name_is_read_by_name_in_both_versions(client: Client) -> None:
    written = {name: given for name, (given, _) in VALUES.items()}
    deal = await client.deals.update_deal(1, custom_fields=written)
    with old():
        flat = await client.v1.deals.get_deal(1)
    for name, (_, expected) in VALUES.items():
        assert deal.custom[name] == expected, name
        assert flat.custom[name] == expected, name
    assert (deal.custom["Priority"].label, flat.custom["Interests"].labels) == ("High", ("Software", "Services"))


async def test_version_1_writes_the_same_values_flat(client: Client) -> None:
    lead = (await client.leads.get_leads())[0]
    changed = await client.leads.update_lead(
        str(lead.id), custom_fields={name: given for name, (given, _) in VALUES.items()}
    )
    for name, (_, expected) in VALUES.items():
        assert changed.custom[name] == expected, name


async def test_a_delivery_says_the_same_as_the_client(client: Client, sandbox: Sandbox) -> None:
    from pipeflow.sandbox.custom import show_hook

    await client.deals.update_deal(1, custom_fields={name: given for name, (given, _) in VALUES.items()})
    company = sandbox.company
    told = show_hook(company.get("deal", 1)["custom_fields"], company.custom_fields("deal").values())
    record = read_record("deal", {"id": 1, "custom_fields": told}, client.fields.definitions)
    deal = await client.deals.get_deal(1)
    for name, (_, expected) in VALUES.items():
        assert record.custom[name] == deal.custom[name] == expected, name


async def test_times_keep_the_zone_that_each_shape_tells(client: Client) -> None:
    call, free = TimeOfDay(time(9, 30), "Europe/London"), TimeRange(time(9), time(17, 15), 310)
    deal = await client.deals.update_deal(1, custom_fields={"Preferred call time": call, "Availability": free})
    assert deal.custom["Preferred call time"] == call
    assert deal.custom["Availability"] == TimeRange(time(9), time(17, 15), "Europe/Tallinn")
    with old():
        flat = await client.v1.deals.update_deal(1, custom_fields={"Availability": (time(8), time(9, 30))})
        with pytest.raises(ValueError, match="by Pipedrive's number"):
            await client.v1.deals.update_deal(1, custom_fields={"Preferred call time": call})
    assert flat.custom["Availability"] == TimeRange(time(8), time(9, 30), 310)


async def test_none_and_an_empty_list_clear_a_field_and_zero_does_not(client: Client) -> None:
    await client.deals.update_deal(1, custom_fields={"Interests": [17], "Reference": "x", "Priority": "Low"})
    changes = {"Interests": [], "Reference": None, "Priority": "", "Contract value": 0}
    deal = await client.deals.update_deal(1, custom_fields=changes)
    assert [deal.custom[name] for name in changes] == [None, None, None, 0]
    assert deal.custom.get("Contract value", 5) == 0


async def test_values_read_from_one_record_can_be_written_to_another(client: Client) -> None:
    first = await client.deals.update_deal(1, custom_fields={name: given for name, (given, _) in VALUES.items()})
    second = await client.deals.update_deal(2, custom_fields=first.custom)
    assert dict(second.custom) == dict(first.custom)


async def test_persons_organizations_and_products_have_fields_of_their_own(client: Client) -> None:
    await client.person_fields.add_person_field(field_name="Shoe size", field_type="double")
    person = await client.persons.update_person(1, custom_fields={"Shoe size": 43})
    assert person.custom["Shoe size"] == 43
    with pytest.raises(KeyError, match="deal has no custom field called 'Shoe size'"):
        (await client.deals.get_deal(1)).custom["Shoe size"]


# -- names -------------------------------------------------------------------------------------------------------------


async def test_an_ambiguous_name_is_refused_with_both_keys(client: Client) -> None:
    keys = [each.key for each in await client.fields.of("deal") if each.name == "Region"]
    assert len(keys) == 2
    deal = await client.deals.get_deal(1)
    with pytest.raises(ConfigError) as read:
        deal.custom["Region"]
    with pytest.raises(ConfigError) as written:
        await client.deals.update_deal(1, custom_fields={"Region": "x"})
    assert all(key in str(read.value) and key in str(written.value) for key in keys)
    assert deal.custom[keys[0]] == "Ref 77/B"


async def test_a_misspelt_name_or_option_is_refused_with_what_there_is(client: Client) -> None:
    with pytest.raises(ConfigError, match="did you mean 'Contract value'"):
        await client.deals.update_deal(1, custom_fields={"Contrct value": 1})
    with pytest.raises(ValueError, match="'Low', 'Medium', 'High'"):
        await client.deals.update_deal(1, custom_fields={"Priority": "Highest"})
    with pytest.raises(ValueError, match="'Renewal date'"):
        await client.deals.update_deal(1, custom_fields={"Renewal date": "tomorrow"})
    with pytest.raises(ValueError, match="no time zone"):
        await client.deals.update_deal(1, custom_fields={"Renewal date": datetime(2026, 1, 1)})


async def test_a_field_given_by_name_and_by_key_is_refused(client: Client) -> None:
    (budget,) = [each.key for each in await client.fields.of("deal") if each.name == "Budget"]
    with pytest.raises(ConfigError, match="given twice"):
        await client.deals.update_deal(1, custom_fields={"Budget": 1, budget: 2})


# -- when definitions are fetched --------------------------------------------------------------------------------------


async def test_definitions_are_fetched_once_for_all_clients_of_an_account(client: Client, sandbox: Sandbox) -> None:
    assert client.transport.configuration.base_url
    other = Client(api_token=sandbox.api_token, base_url=client.transport.configuration.base_url)
    deals = await asyncio.gather(*(each.deals.get_deal(1) for each in (client, other, client, other)))
    assert all("Contract value" in deal.custom for deal in deals)
    [deal.id async for deal in client.deals.get_deals()]
    await other.deals.update_deal(1, custom_fields={"Reference": "y"})
    assert fetched(sandbox) == 1


async def test_keys_are_written_without_a_look_up(client: Client, sandbox: Sandbox) -> None:
    (key,) = [each["key"] for each in sandbox.company.custom_fields("deal").values() if each["name"] == "Budget"]
    with client.capture() as sent:
        await client.leads.add_lead(title="New", person_id=1, custom_fields={key: Money(Decimal("9.50"), "EUR")})
    assert sent[0].operation.id == "v1.LeadsApi.addLead"
    assert sandbox.journal.listed(path="/v1/leads")[0]["body"][f"{key}_currency"] == "EUR"


async def test_records_without_values_cost_no_look_up(client: Client, sandbox: Sandbox) -> None:
    await client.pipelines.get_pipelines()
    await client.organizations.add_organization(name="Bare")
    assert fetched(sandbox) == 0


async def test_a_record_without_values_has_none_by_every_name_also_before_names_are_known(client: Client) -> None:
    organization = await client.organizations.add_organization(name="Bare")
    lead = await client.leads.add_lead(title="Bare", person_id=1)
    assert (organization.custom["Budget"], lead.custom["Contract value"]) == (None, None)


async def test_every_page_of_definitions_is_read(sandbox: Sandbox) -> None:
    many = Sandbox(seed=1, extra_fields=600)
    async with running(many) as url, Client(api_token=many.api_token, base_url=url) as client:
        assert len(await client.fields.of("deal")) >= 600
        assert fetched(many) == 2


# -- a network of our own ----------------------------------------------------------------------------------------------


@dataclass
class Network:
    """Answers by path with data that a test changes, and remembers what was sent."""

    data: dict[str, Any]
    sent: list[httpx.Request] = field(default_factory=list)
    down: bool = False
    refused: int | None = None

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.down and request.url.path.endswith("Fields"):
            raise httpx.ConnectError("refused")
        if self.refused and request.url.path.endswith("Fields"):
            return httpx.Response(self.refused, json={"success": False, "error": "no"})
        return httpx.Response(200, json={"success": True, "data": self.data.get(request.url.path)})

    def client(self, now: Callable[[], float] = lambda: 0.0) -> Client:
        async def sleep(_: float) -> None: ...

        configuration = Configuration(api_key="t0ken", base_url="https://pd.test")
        client = Client(transport=Transport(configuration, backend=httpx.MockTransport(self.handle), sleep=sleep))
        client.fields = Fields(client, now=now)
        return client

    @property
    def asked(self) -> int:
        return sum(request.url.path.endswith("Fields") for request in self.sent)


def definition(key: str, name: str, type: str = "varchar", **more: Any) -> Mapping[str, Any]:
    return {"field_code": key, "field_name": name, "field_type": type, "is_custom_field": True, **more}


A, B = "a" * 40, "b" * 40
FIELDS, DEAL = "/api/v2/dealFields", "/api/v2/deals/1"


async def test_a_new_key_makes_the_client_look_again_but_not_more_than_once_a_minute() -> None:
    network, now = Network({FIELDS: [definition(A, "One")], DEAL: {"custom_fields": {A: "x"}}}), [0.0]
    client = network.client(lambda: now[0])
    assert (await client.deals.get_deal(1)).custom["One"] == "x"
    network.data |= {FIELDS: [definition(A, "One"), definition(B, "Two")], DEAL: {"custom_fields": {A: "x", B: "y"}}}
    assert "Two" not in (await client.deals.get_deal(1)).custom
    assert network.asked == 1
    now[0] = 61.0
    assert (await client.deals.get_deal(1)).custom["Two"] == "y"
    assert network.asked == 2


@pytest.mark.parametrize("value", [2, [1, 2]])
async def test_a_new_option_makes_the_client_look_again_and_an_old_one_does_not(value: Any) -> None:
    options, kind = [{"id": 1, "label": "Web"}], "enum" if isinstance(value, int) else "set"
    known = 1 if isinstance(value, int) else [1]
    network = Network({FIELDS: [definition(A, "Source", kind, options=options)], DEAL: {"custom_fields": {A: known}}})
    now = [0.0]
    client = network.client(lambda: now[0])
    for _ in range(3):
        await client.deals.get_deal(1)
        now[0] += 61
    assert network.asked == 1
    network.data[DEAL] = {"custom_fields": {A: value}}
    options.append({"id": 2, "label": "Fair"})
    deal = await client.deals.get_deal(1)
    assert "Fair" in str(deal.custom["Source"])
    assert network.asked == 2


async def test_what_stays_unknown_is_looked_up_less_and_less_often() -> None:
    network, now = Network({FIELDS: [definition(A, "One")], DEAL: {"custom_fields": {A: "x", B: "y"}}}), [0.0]
    client = network.client(lambda: now[0])
    for minute in range(24 * 60):
        now[0] = minute * 60.0
        await client.deals.get_deal(1)
    assert network.asked <= 32


async def test_a_plan_without_fields_is_asked_less_and_less_often_and_breaks_no_read() -> None:
    network, now = Network({DEAL: {"custom_fields": {A: 5}}}, refused=403), [0.0]
    client = network.client(lambda: now[0])
    for minute in range(24 * 60):
        now[0] = minute * 60.0
        deal = await client.deals.get_deal(1)
    assert network.asked <= 32
    with pytest.raises(Forbidden):
        deal.custom["Contract value"]
    with pytest.raises(Forbidden):
        await client.deals.update_deal(1, custom_fields={"Contract value": 1})


async def test_an_unknown_name_is_looked_up_again_at_the_next_answer() -> None:
    network, now = Network({FIELDS: [definition(A, "One")], DEAL: {"custom_fields": {A: "x"}}}), [0.0]
    client = network.client(lambda: now[0])
    assert "Renamed" not in (await client.deals.get_deal(1)).custom
    network.data[FIELDS] = [definition(A, "Renamed")]
    now[0] = 61.0
    assert (await client.deals.get_deal(1)).custom["Renamed"] == "x"


async def test_a_new_option_is_looked_up_before_its_label_is_refused() -> None:
    options = [{"id": 1, "label": "Web"}]
    network, now = Network({FIELDS: [definition(A, "Source", "enum", options=options)], DEAL: {}}), [0.0]
    client = network.client(lambda: now[0])
    await client.deals.update_deal(1, custom_fields={"Source": "Web"})
    options.append({"id": 2, "label": "Fair"})
    now[0] = 61.0
    await client.deals.update_deal(1, custom_fields={A: "Fair"})
    assert json.loads(network.sent[-1].content) == {"custom_fields": {A: 2}}


async def test_trouble_with_definitions_breaks_no_read_and_is_told_to_who_uses_a_name() -> None:
    network = Network({DEAL: {"title": "Acme", "custom_fields": {A: 5}}}, down=True)
    deal = await network.client().deals.get_deal(1)
    assert (deal.title, deal.custom[A]) == ("Acme", 5)
    with pytest.raises(ConnectionFailed):
        deal.custom["Contract value"]
    with pytest.raises(ConnectionFailed):
        deal.custom.get("Contract value")


async def test_names_of_records_that_no_client_gave_are_refused_with_a_hint() -> None:
    from pipeflow.client.v2.models import Deal

    deal = Deal.model_validate({"custom_fields": {A: {"value": 5, "currency": "EUR"}}})
    assert deal.custom[A] == Money(Decimal(5), "EUR")
    with pytest.raises(ConfigError, match="use the field's key"):
        deal.custom["Budget"]


async def test_records_are_dumped_compared_copied_and_pickled_without_what_the_client_knows() -> None:
    network = Network({FIELDS: [definition(A, "One")], DEAL: {"id": 1, "custom_fields": {A: "x"}}})
    client = network.client()
    deal, again = await client.deals.get_deal(1), await client.deals.get_deal(1)
    assert deal.model_dump(exclude_unset=True) == {"id": 1, "custom_fields": {A: "x"}}
    assert deal == again
    for twin in (deal.model_copy(), deal.model_copy(deep=True), pickle.loads(pickle.dumps(deal))):
        assert (twin, twin.custom["One"]) == (deal, "x")


async def test_odd_values_are_given_as_they_came() -> None:
    kinds = {A: definition(A, "When", "date"), B: definition(B, "Source", "enum", options=[])}
    odd = {A: "some day", B: {"strange": 1}}
    network = Network({FIELDS: list(kinds.values()), DEAL: {"custom_fields": odd}})
    deal = await network.client().deals.get_deal(1)
    assert (deal.custom["When"], deal.custom["Source"]) == ("some day", {"strange": 1})


async def test_aware_moments_are_written_in_the_form_of_each_version() -> None:
    network, noon = Network({DEAL: {}}), datetime(2026, 3, 5, 12, tzinfo=UTC)
    await network.client().deals.update_deal(1, custom_fields={A: noon})
    await network.client().leads.update_lead("x", custom_fields={A: noon})
    assert json.loads(network.sent[0].content) == {"custom_fields": {A: "2026-03-05T12:00:00Z"}}
    assert json.loads(network.sent[1].content) == {A: "2026-03-05 12:00:00"}


async def test_the_examples_of_the_page_do_what_they_say(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "custom-fields.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    head = "from datetime import *\nfrom decimal import Decimal\nfrom pipeflow.catalog.values import *\n"
    ran = 0
    for block in blocks:
        if "from fields import" in block or "@on(" in block:
            compile(block, "custom-fields.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            continue
        code = compile(head + block, "custom-fields.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await eval(code, {"client": client})
        assert capsys.readouterr().out.splitlines() == re.findall(r"# -> (.*)$", block, re.MULTILINE)
        ran += 1
    assert ran == 3
