"""The catalog: complete, consistent in itself, and right where facts about Pipedrive are known."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from pipeflow import catalog
from pipeflow.catalog import Operation, Parameter

ALL = catalog.operations()
BY_ID = {each.id: each for each in ALL}
GENERATIONS: tuple[Literal["v1", "v2"], ...] = ("v1", "v2")


def parameter(operation_id: str, wire: str) -> Parameter:
    return next(each for each in catalog.operation(operation_id).parameters if each.wire == wire)


def refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from refs(each)
    elif isinstance(schema, dict):
        for key, each in schema.items():
            if key == "ref" and isinstance(each, str):
                yield each
            else:
                yield from refs(each)


def test_both_generations_are_complete() -> None:
    count = Counter((each.id[:2], each.alias_of is not None) for each in ALL)
    assert count == {("v1", False): 281, ("v1", True): 4, ("v2", False): 158, ("v2", True): 24}


def test_ids_and_attributes_are_unique_and_belong_together() -> None:
    assert len(BY_ID) == len({each.attribute for each in ALL}) == len(ALL)
    for each in ALL:
        generation, resource, method = each.attribute.split(".")
        assert each.id.startswith(f"{generation}.")
        assert each.id.split(".")[1].lower() == resource.replace("_", "") + "api"
        assert each.id.split(".")[2].lower() == method.replace("_", "")


def test_paths_carry_their_generation_and_name_their_parameters() -> None:
    for each in ALL:
        assert each.path.startswith("/v1/" if each.id.startswith("v1.") else "/api/v2/")
        wires = [parameter.wire for parameter in each.parameters if parameter.place == "path"]
        assert sorted(re.findall(r"{([^}]+)}", each.path)) == sorted(wires), each.id
        assert all(parameter.required for parameter in each.parameters if parameter.place == "path")


def test_argument_names_are_distinct_python_names() -> None:
    for each in ALL:
        names = [parameter.name for parameter in each.parameters]
        assert len(set(names)) == len(names), each.id
        assert all(name.isidentifier() and not keyword.iskeyword(name) for name in names), each.id


def test_bodies_say_how_they_travel() -> None:
    for each in ALL:
        places = {parameter.place for parameter in each.parameters}
        if each.body is None:
            assert not places & {"json", "form", "file"}, each.id
        assert ("file" in places) == (each.body == "multipart"), each.id
        if each.body == "json":
            assert not places & {"form", "file"}, each.id
        if each.array_body:
            assert [parameter.name for parameter in each.parameters if parameter.place == "json"] == ["items"]


def test_every_reference_names_a_type() -> None:
    for generation in GENERATIONS:
        models = catalog.models(generation)
        mine = [each for each in ALL if each.id.startswith(generation)]
        used = [each.schema for operation in mine for each in operation.parameters]
        used += [catalog.response(operation.id) for operation in mine]
        used += list(models.values())
        assert set(refs(used)) == set(models), "each type is used, each used type is there"


def test_answers_hold_what_their_result_says() -> None:
    for each in ALL:
        models = catalog.models("v1" if each.id.startswith("v1") else "v2")
        schema = catalog.response(each.id)
        fields = models[schema["ref"]]["fields"] if "ref" in schema else {}
        if each.result in ("one", "list", "items"):
            assert "data" in fields, each.id
        if each.result == "list":
            assert fields["data"]["type"] == "array", each.id
        if each.result == "items":
            assert models[fields["data"]["ref"]]["fields"]["items"]["type"] == "array", each.id
        if each.result == "none":
            assert "data" not in fields, each.id


def test_paging_follows_the_request_and_else_what_is_answered() -> None:
    unasked = set()
    for each in ALL:
        wires = {parameter.wire for parameter in each.parameters}
        if "cursor" in wires:
            assert each.paging == "cursor", each.id
        elif "start" in wires:
            assert each.paging == "offset", each.id
        elif each.paging != "none":
            unasked.add(each.attribute)
    assert "v1.deals.get_deal_followers" in unasked
    assert "v1.projects.get_project_tasks" in unasked
    assert len(unasked) == 8


def test_only_get_operations_are_paged() -> None:
    assert all(each.method == "GET" for each in ALL if each.paging != "none" or each.result == "items")


def test_retired_operations_name_a_living_replacement_or_none() -> None:
    retired = [each for each in ALL if each.retired is not None]
    assert len(retired) == 71
    for each in retired:
        if each.retired:
            assert BY_ID[each.retired].retired is None
    assert {each.id.split(".")[1] for each in retired if each.retired == ""} == {"SubscriptionsApi"}
    assert BY_ID["v1.DealsApi.getDealActivities"].retired == "v2.ActivitiesApi.getActivities"
    assert BY_ID["v1.DealsApi.deleteDeals"].retired == "v2.DealsApi.deleteDeal"


def test_aliases_send_what_they_double() -> None:
    for each in ALL:
        if each.alias_of is None:
            continue
        other = BY_ID[each.alias_of]
        assert other.alias_of is None
        assert (each.method, each.path, each.body, each.result) == (other.method, other.path, other.body, other.result)
        assert each.parameters == other.parameters
        assert each.summary == other.summary


def test_version_1_requires_only_what_every_version_of_it_required() -> None:
    required = {each.name for each in catalog.operation("v1.WebhooksApi.addWebhook").parameters if each.required}
    assert required == {"subscription_url", "event_action", "event_object"}
    assert not parameter("v1.ProjectsApi.addProject", "board_id").required


def test_parameters_of_old_and_new_are_united() -> None:
    wires = {each.wire for each in catalog.operation("v1.LeadsApi.getLeads").parameters}
    assert {"updated_since", "archived_status"} <= wires


def test_custom_fields_travel_nested_in_version_2_and_flat_in_version_1() -> None:
    found = {each.attribute: each.custom_fields for each in ALL if each.custom_fields and not each.alias_of}
    assert {attribute for attribute, way in found.items() if way == "flat"} == {
        f"v1.{resource}s.{verb}_{resource}"
        for resource in ("deal", "lead", "organization", "person", "product")
        for verb in ("add", "update")
    }
    assert {attribute for attribute, way in found.items() if way == "nested"} == {
        f"v2.{resource}s.{verb}_{resource}"
        for resource in ("deal", "organization", "person", "product", "project")
        for verb in ("add", "update")
    }


@pytest.mark.parametrize(
    ("attribute", "cost"),
    [
        ("v1.leads.get_leads", 20),
        ("v1.leads.get_archived_leads", 40),
        ("v1.leads.get_lead", 2),
        ("v1.leads.update_lead", 10),
        ("v1.leads.delete_lead", 6),
        ("v1.leads.search_leads", 40),
        ("v1.deals.merge_deals", 40),
        ("v1.deals.get_deal_updates", 40),
        ("v1.deals.get_deal_changelog", 20),
        ("v1.deals.get_deals_summary", 40),
        ("v1.deals.get_archived_deals_summary", 80),
        ("v1.deals.get_deal_participants", 10),
        ("v1.deals.get_deal_users", 10),
        ("v1.pipelines.get_pipeline_conversion_statistics", 40),
        ("v1.users.find_users_by_name", 40),
        ("v1.users.get_users", 20),
        ("v1.users.get_current_user", 2),
        ("v1.currencies.get_currencies", 20),
        ("v1.lead_labels.get_lead_labels", 10),
        ("v1.lead_sources.get_lead_sources", 2),
        ("v1.webhooks.get_webhooks", 10),
        ("v1.webhooks.add_webhook", 10),
        ("v1.webhooks.delete_webhook", 6),
        ("v1.files.download_file", 20),
        ("v1.files.add_file", 10),
        ("v1.recents.get_recents", 20),
        ("v2.deals.get_deal", 1),
        ("v2.deals.get_deals", 10),
        ("v2.deals.get_archived_deals", 20),
        ("v2.deals.search_deals", 20),
        ("v2.deals.add_deal", 5),
        ("v2.deals.delete_deal", 3),
        ("v2.deals.convert_deal_to_lead", 40),
        ("v2.deals.get_deal_conversion_status", 1),
        ("v2.pipelines.get_pipelines", 5),
        ("v2.stages.get_stages", 5),
        ("v2.deal_products.add_many_deal_products", 25),
        ("v2.deal_products.delete_many_deal_products", 15),
        ("v2.products.upload_product_image", 20),
        ("v2.products.update_product_image", 20),
        ("v2.projects.archive_project", 3),
        ("v2.project_boards.get_projects_boards", 10),
        ("v2.item_search.search_item", 20),
    ],
)
def test_costs_are_pipedrives(attribute: str, cost: int) -> None:
    (found,) = (each for each in ALL if each.attribute == attribute)
    assert found.cost == cost


@pytest.mark.parametrize(
    ("operation_id", "wire", "form"),
    [
        ("v2.DealsApi.getDeals", "updated_since", "date-time"),
        ("v2.DealsApi.updateDeal", "won_time", "date-time"),
        ("v2.DealsApi.updateDeal", "expected_close_date", "date"),
        ("v2.ActivitiesApi.addActivity", "due_date", "date"),
        ("v2.ActivitiesApi.addActivity", "due_time", "time"),
        ("v1.LeadsApi.getLeads", "updated_since", "date-time"),
        ("v1.LeadsApi.addLead", "expected_close_date", "date"),
        ("v1.NotesApi.addNote", "add_time", "datetime"),
        ("v1.RecentsApi.getRecents", "since_timestamp", "datetime"),
        ("v1.NotesApi.getNotes", "start", None),
    ],
)
def test_dates_are_written_as_their_place_wants(operation_id: str, wire: str, form: str | None) -> None:
    assert parameter(operation_id, wire).format == form


@pytest.mark.parametrize(
    ("operation_id", "wire", "style"),
    [
        ("v2.DealsApi.getDeals", "ids", "csv"),
        ("v2.DealsApi.getDeals", "status", "csv"),
        ("v2.DealsApi.getDeals", "include_fields", "csv"),
        ("v2.DealProductsApi.getDealsProducts", "deal_ids", "csv"),
        ("v2.DealInstallmentsApi.getInstallments", "deal_ids", "multi"),
        ("v1.GoalsApi.getGoals", "type.params.pipeline_id", "multi"),
    ],
)
def test_lists_in_a_query_have_a_style(operation_id: str, wire: str, style: str) -> None:
    assert parameter(operation_id, wire).style == style


def test_an_unknown_id_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"v2\.DealsApi\.getDeals"):
        catalog.operation("v2.DealsApi.getDealz")
    with pytest.raises(KeyError, match="no operation nonsense"):
        catalog.operation("nonsense")


def test_operations_are_the_same_object_however_they_are_asked_for() -> None:
    assert catalog.operation("v2.DealsApi.getDeals") is BY_ID["v2.DealsApi.getDeals"]


def test_summaries_are_imperative_sentences() -> None:
    for each in ALL:
        assert re.fullmatch(r"[A-Z][a-z]+ [^\n]*[^.]\.", each.summary), (each.id, each.summary)


def test_every_operation_names_scopes_and_costs_something() -> None:
    assert all(each.scopes and each.cost > 0 for each in ALL)


def test_operations_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        BY_ID["v2.DealsApi.getDeals"].cost = 0  # type: ignore[misc]
    assert isinstance(BY_ID["v2.DealsApi.getDeals"], Operation)
