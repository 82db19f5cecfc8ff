"""The generated client: every operation is a typed method that hands over exactly its data."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from pipeflow import catalog
from pipeflow.catalog import Operation
from pipeflow.client import current, v1, v2
from pipeflow.client.client import Client
from pipeflow.client.model import UNSET
from pipeflow.client.resource import Resource

ALL = catalog.operations()
GENERATIONS = {"v1": v1, "v2": v2}


def class_of(operation: Operation) -> type[Resource]:
    generation, resource, _ = operation.id.split(".")
    found: type[Resource] = getattr(GENERATIONS[generation], resource)
    return found


def method_of(operation: Operation) -> Any:
    return getattr(class_of(operation), operation.attribute.split(".")[2])


def is_page(operation: Operation) -> bool:
    return operation.method == "GET" and operation.result in ("list", "items")


class Doors:
    """Stands where a resource would and remembers what a method hands over."""

    def __init__(self) -> None:
        self.given: tuple[str, Any, Mapping[str, Any]] | None = None

    async def _send(self, operation: str, returns: Any, arguments: Mapping[str, Any]) -> str:
        self.given = (operation, returns, arguments)
        return "sent"

    async def _download(self, operation: str, arguments: Mapping[str, Any]) -> str:
        self.given = (operation, bytes, arguments)
        return "sent"

    def _page(self, operation: str, item: Any, arguments: Mapping[str, Any]) -> str:
        self.given = (operation, item, arguments)
        return "page"


def all_models() -> Iterator[tuple[str, type[BaseModel]]]:
    for generation in ("v1", "v2"):
        package = importlib.import_module(f"pipeflow.client.{generation}.models")
        for module in pkgutil.iter_modules(package.__path__):
            for name, value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).items():
                if isinstance(value, type) and issubclass(value, BaseModel) and name != "Model":
                    yield f"{generation}.{module.name}.{name}", value


# -- methods -----------------------------------------------------------------------------------------------------------


async def test_every_operation_hands_over_its_id_and_all_its_arguments_by_wire_name() -> None:
    for operation in ALL:
        doors = Doors()
        given = {each.name: f"<{each.wire}>" for each in operation.parameters if each.required}
        path = [given.pop(each.name) for each in operation.parameters if each.place == "path"]
        answer = method_of(operation)(doors, *path, **given)
        promised = "page" if is_page(operation) else None if operation.result == "none" else "sent"
        assert (answer if is_page(operation) else await answer) == promised
        assert doors.given is not None
        sent, returns, arguments = doors.given
        assert sent == operation.id
        expected: dict[str, object] = {
            each.wire: f"<{each.wire}>" if each.required else UNSET for each in operation.parameters
        }
        expected |= {"custom_fields": UNSET} if operation.custom_fields == "flat" else {}
        expected |= {"to": None} if operation.result == "bytes" else {}
        travels = operation.result == "bytes" or any(each.place == "file" for each in operation.parameters)
        expected |= {"progress": None} if travels else {}
        assert arguments == expected, operation.id
        assert (returns is None) == (operation.result == "none"), operation.id


def test_only_get_lists_are_plain_functions() -> None:
    for operation in ALL:
        assert inspect.iscoroutinefunction(method_of(operation)) != is_page(operation), operation.id


def test_path_parameters_are_positional_and_everything_else_is_by_keyword() -> None:
    for operation in ALL:
        signature = inspect.signature(method_of(operation))
        kinds = {name: each.kind for name, each in signature.parameters.items()}
        for parameter in operation.parameters:
            positional = kinds[parameter.name] is inspect.Parameter.POSITIONAL_OR_KEYWORD
            assert positional == (parameter.place == "path"), (operation.id, parameter.name)


def test_what_is_left_out_is_unset_and_what_is_required_must_be_given() -> None:
    for operation in ALL:
        signature = inspect.signature(method_of(operation))
        for parameter in operation.parameters:
            default = signature.parameters[parameter.name].default
            assert default is (inspect.Parameter.empty if parameter.required else UNSET), operation.id


def test_a_missing_argument_is_a_type_error_before_anything_is_sent() -> None:
    with pytest.raises(TypeError, match="title"):
        v2.DealsApi.add_deal(Doors())  # type: ignore[call-arg, arg-type, unused-coroutine]
    with pytest.raises(TypeError, match="positional"):
        v2.DealsApi.get_deal(Doors(), 1, "status")  # type: ignore[call-arg, arg-type, unused-coroutine]


def test_every_docstring_says_what_how_at_what_cost_and_what_can_go_wrong() -> None:
    for operation in ALL:
        doc = inspect.getdoc(method_of(operation)) or ""
        summary, _, rest = doc.partition("\n\n")
        assert summary == operation.summary
        flat = " ".join(rest.split())
        assert f"`{operation.method} {operation.path}`, {operation.cost} token" in flat, operation.id
        assert all(f"`{scope}`" in flat for scope in operation.scopes), operation.id
        assert "Raises: " in flat
        assert ("NotFound:" in flat) == ("{" in operation.path), operation.id
        described = re.search(r"Args:\n(.*?)\n\n", doc, re.DOTALL)
        names = re.findall(r"^ {4}(\w+):", described.group(1), re.MULTILINE) if described else []
        assert set(names) <= set(inspect.signature(method_of(operation)).parameters), operation.id


def test_docstrings_of_retired_operations_name_what_replaces_them() -> None:
    for operation in ALL:
        doc = " ".join((inspect.getdoc(method_of(operation)) or "").split())
        if operation.retired:
            other = catalog.operation(operation.retired)
            assert f"Retired: use `client.{other.attribute}` (`{other.method} {other.path}`)." in doc
        assert ("Retired" in doc) == (operation.retired is not None)


# -- the current view --------------------------------------------------------------------------------------------------


def current_class(attribute: str) -> type[Any]:
    annotation = getattr(current.CurrentResources, attribute).func.__annotations__["return"]
    place, _, name = annotation.rpartition(".")
    holder = {"": current, "version1": v1, "version2": v2}[place]
    found: type[Any] = getattr(holder, name)
    return found


def test_the_current_view_holds_version_2_and_what_only_version_1_does() -> None:
    newer = {each.attribute[3:] for each in ALL if each.id.startswith("v2.") and each.alias_of is None}
    older = {each.attribute[3:] for each in ALL if each.id[:3] == "v1." and not each.alias_of and each.retired is None}
    for attribute in newer | older:
        resource, method = attribute.split(".")
        found = getattr(current_class(resource), method)
        assert found.__module__.startswith(f"pipeflow.client.{'v2' if attribute in newer else 'v1'}."), attribute


def test_the_current_view_holds_nothing_retired() -> None:
    offered = {name for name in vars(current.CurrentResources) if not name.startswith("_")}
    assert "subscriptions" not in offered
    for operation in ALL:
        resource, method = operation.attribute.split(".")[1:]
        if operation.retired is not None and resource in offered:
            found = getattr(current_class(resource), method, None)
            assert found is None or found.__module__.startswith("pipeflow.client.v2."), operation.attribute


def test_merged_resources_inherit_no_method_twice() -> None:
    merged = [name for name in current._MERGED if isinstance(getattr(current, name), type)]
    assert "Deals" in merged
    for name in merged:
        newer, older = getattr(current, name).__bases__
        both = {each for each in vars(newer) if not each.startswith("_")} & set(dir(older))
        assert not both, name


def test_a_client_offers_each_resource_once_and_of_the_right_kind() -> None:
    client = Client(api_token="x")
    assert client.deals is client.deals
    assert isinstance(client.deals, v2.DealsApi)
    assert isinstance(client.deals, v1.DealsKept)
    assert type(client.v1.deals) is v1.DealsApi
    assert type(client.v2.deals) is v2.DealsApi
    assert type(client.notes) is v1.NotesApi
    assert type(client.deal_products) is v2.DealProductsApi
    assert not hasattr(client, "beta")


def test_an_unknown_name_is_an_attribute_error() -> None:
    for module in (v1, v2, v1.models, v2.models, current):
        with pytest.raises(AttributeError, match="Nonsense"):
            getattr(module, "Nonsense")  # noqa: B009
        assert set(getattr(module, "__all__", ())) <= set(dir(module))


# -- records -----------------------------------------------------------------------------------------------------------


def test_names_of_records_are_free_of_the_descriptions_seams() -> None:
    for place, model in all_models():
        for name in (place.rpartition(".")[2], model.__name__):
            assert not re.search(r"AllOf|Inner|200|Response|\d$", name), place


def test_every_exported_record_can_be_imported_by_name() -> None:
    for package in (v1.models, v2.models):
        for name in package.__all__:
            assert getattr(package, name).__name__
    for name in (
        "Deal",
        "DealField",
        "Activity",
        "Person",
        "Organization",
        "Deleted",
        "DealSearchResult",
        "DealFollower",
    ):
        assert issubclass(getattr(v2.models, name), BaseModel)
    for name in ("Webhook", "Note", "Lead", "User", "DealChange", "DealField", "LeadSearchResult", "Deleted"):
        assert issubclass(getattr(v1.models, name), BaseModel)


def test_retired_records_are_the_old_ones() -> None:
    assert v1.models.retired.Deal.__module__ == "pipeflow.client.v1.models.retired"
    assert "stage_id" in v1.models.retired.Deal.model_fields
    assert "owner_id" not in v1.models.retired.Deal.model_fields
    assert "owner_id" in v2.models.Deal.model_fields


def test_records_accept_nothing_nulls_and_what_nobody_declared() -> None:
    for place, model in all_models():
        wires = [each.alias or name for name, each in model.model_fields.items()]
        assert model.model_validate({}), place
        nulls = model.model_validate(dict.fromkeys(wires) | {"brand_new": [1]})
        assert nulls.model_extra == {"brand_new": [1]}, place


def test_fields_that_are_no_python_names_have_an_alias() -> None:
    message = v1.models.MailMessage.model_validate({"from": [{"email_address": "ann@acme.test"}]})
    assert message.from_ is not None
    assert message.from_[0].email_address == "ann@acme.test"
    assert v2.models.PictureSizes.model_validate({"128": "small"}).field_128 == "small"
    assert v1.models.retired.ItemFieldSearchResult.model_validate({"$field_key": "x"}).field_key == "x"


def test_an_unknown_value_breaks_no_record() -> None:
    assert v1.models.Webhook.model_validate({"type": "brand new", "is_active": 2}).type == "brand new"


# -- costs and types ---------------------------------------------------------------------------------------------------


def test_importing_one_resource_imports_no_other() -> None:
    program = (
        "import sys, json\n"
        "from pipeflow.client.v1 import WebhooksApi\n"
        "from pipeflow.client.current import CurrentResources\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('pipeflow.client.v')]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = set(json.loads(done.stdout))
    assert names == {"pipeflow.client.v1", "pipeflow.client.v1.models", "pipeflow.client.v1.webhooks"}
