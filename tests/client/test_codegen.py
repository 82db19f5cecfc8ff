"""The generator: what it writes stands in the repository, and its rules hold on small extracts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codegen.__main__ import ROOT, differences, write
from codegen.generate import Generator
from codegen.merge import Merger
from codegen.shapes import Book, Listing, Named, OneOf, Scalar, united
from codegen.wording import singular, snake, summary_of

CORRECTIONS: dict[str, Any] = {"operation": {}, "field": {}, "parameter": {}, "summary": {}}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return Generator().files()


def test_what_is_committed_is_what_the_catalog_makes_of_it(files: dict[str, str]) -> None:
    assert differences(ROOT, files) == ([], [])


def test_a_changed_and_a_left_over_file_are_found_and_mended(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    changed, left_over = "pipeflow/client/v2/deals.py", "pipeflow/client/v2/teams.py"
    (tmp_path / changed).write_text("edited by hand")
    (tmp_path / left_over).write_text("")
    assert differences(tmp_path, files) == ([changed], [left_over])
    write(tmp_path, files)
    assert differences(tmp_path, files) == ([], [])


@pytest.mark.slow
def test_generated_code_is_laid_out_as_ruff_would() -> None:
    paths = [path for path in Generator().files() if path.endswith(".py")]
    for command in ("format --check", "check"):
        ruff = [sys.executable, "-m", "ruff", *command.split(), "--quiet", *paths]
        done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "python"),
    [
        ("getDealFollowers", "get_deal_followers"),
        ("commentId", "comment_id"),
        ("channel-id", "channel_id"),
        ("type.params.stage_id", "type_params_stage_id"),
        ("$field_key", "$field_key"),
    ],
)
def test_wire_names_become_python_names(name: str, python: str) -> None:
    assert snake(name) == python


@pytest.mark.parametrize(
    ("plural", "one"),
    [("deals", "deal"), ("activities", "activity"), ("boxes", "box"), ("statistics", "statistics"), ("pass", "pass")],
)
def test_plurals_become_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


@pytest.mark.parametrize(
    ("resource", "method", "path", "result", "sentence"),
    [
        ("DealsApi", "getDeals", "/deals", "list", "List deals."),
        ("DealsApi", "getDeal", "/deals/{id}", "one", "Get a deal."),
        ("DealsApi", "getDealFiles", "/deals/{id}/files", "list", "List the files of a deal."),
        ("ActivitiesApi", "addActivity", "/activities", "one", "Add an activity."),
        ("DealsApi", "addDealFollower", "/deals/{id}/followers", "one", "Add a follower to a deal."),
        ("DealsApi", "mergeDeals", "/deals/{id}/merge", "one", "Merge a deal into another."),
        ("DealsApi", "searchDeals", "/deals/search", "items", "Search deals."),
    ],
)
def test_names_become_sentences(resource: str, method: str, path: str, result: str, sentence: str) -> None:
    assert summary_of(resource, method, path, result) == sentence


def test_records_of_one_name_are_united_field_by_field() -> None:
    models = {
        "GetDealsItem": {"fields": {"id": {"type": "integer"}, "owner_id": {"type": "integer"}}},
        "Deal": {"fields": {"id": {"type": "integer"}, "owner_id": {"ref": "User"}}},
        "User": {"fields": {"name": {"type": "string"}}},
    }
    book = Book(models, {})
    book.shape({"ref": "GetDealsItem"}, "Deal")
    book.shape({"ref": "Deal"}, "Deal")
    assert book.records["Deal"]["id"] == Scalar("integer")
    assert book.records["Deal"]["owner_id"] == OneOf((Scalar("integer"), Named("DealOwner")))
    assert book.records["DealOwner"] == {"name": Scalar("string")}


def test_a_vague_type_yields_to_a_precise_one() -> None:
    assert united(Scalar("object"), Named("Deal")) == Named("Deal")
    assert united(Scalar("any"), Scalar("string")) == Scalar("string")
    assert united(Listing(Scalar("any")), Listing(Scalar("integer"))) == Listing(Scalar("integer"))
    assert united(Scalar("string", ("a",)), Scalar("string", ("b",))) == Scalar("string", ("a", "b"))
    assert united(Scalar("string", ("a",)), Scalar("string")) == Scalar("string")


# -- merging extracts --------------------------------------------------------------------------------------------------


def operation(op: str, http: str, path: str, response: str, **rest: Any) -> dict[str, Any]:
    resource, method = op.split(".")
    return {
        "op": op,
        "api": resource,
        "method": method,
        "http": http,
        "path": path,
        "params": [],
        "body": None,
        "auth": {"oauth2": ["deals:full"]},
        "response": response,
        "deprecated": False,
    } | rest


def envelope(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "kind": "object", "fields": {"success": {"type": "boolean"}, "data": data}}


def query(name: str, **rest: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "type": "string"} | rest


class Merged:
    """Runs the merger over extracts given as data and reads what it wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lines: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}

    def run(self, seed: Any, v1: Any, v2: Any = ((), ()), removed: Any = (), **corrections: Any) -> Merged:
        paths = {}
        for name, (operations, models) in (("seed", seed), ("v1", v1), ("v2", v2)):
            path = self._folder / f"{name}.json"
            path.write_text(json.dumps({"operations": list(operations), "models": list(models)}))
            paths[name] = path
        gone = self._folder / "removed.json"
        gone.write_text(json.dumps(list(removed)))
        out = self._folder / "out"
        out.mkdir()
        Merger(paths["seed"], paths["v1"], paths["v2"], gone, CORRECTIONS | corrections).write(out)
        for generation in ("v1", "v2"):
            self.lines |= {line["id"]: line for line in self._read(out / f"operations.{generation}.jsonl")}
            self.models |= {line["name"]: line for line in self._read(out / f"models.{generation}.jsonl")}
        return self

    def _read(self, path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def merged(tmp_path: Path) -> Merged:
    return Merged(tmp_path)


def test_the_newest_definition_wins_and_parameters_are_united(merged: Merged) -> None:
    answer = envelope("Answer", {"type": "string"})
    old = operation("DealsApi.getDeal", "GET", "/deals/{id}", "Answer", params=[query("a", required=True), query("b")])
    new = operation(
        "DealsApi.getDeal",
        "GET",
        "/deals/{id}",
        "Answer",
        params=[query("c", required=True), query("a", type="integer", required=True)],
    )
    line = merged.run(([old], [answer]), ([new], [answer])).lines["v1.DealsApi.getDeal"]
    assert [(each["wire"], each["type"], each.get("required", False)) for each in line["parameters"]] == [
        ("c", "string", False),
        ("a", "integer", True),
        ("b", "string", False),
    ]


def test_removed_operations_keep_the_old_types_apart(merged: Merged) -> None:
    gone = operation("DealsApi.getDeals", "GET", "/deals", "Deals")
    models = [
        envelope("Deals", {"type": "array", "items": {"ref": "Deal"}}),
        {"name": "Deal", "kind": "object", "fields": {"id": {"type": "integer"}}},
    ]
    new = operation("DealsApi.getDeals", "GET", "/deals", "Deals")
    removed = [{"op": "DealsApi.getDeals", "v2": "DealsApi.getDeals"}]
    done = merged.run(([gone], models), ([], []), ([new], models), removed)
    assert done.lines["v1.DealsApi.getDeals"]["retired"] == "v2.DealsApi.getDeals"
    assert done.lines["v1.DealsApi.getDeals"]["response"] == {"ref": "retired.Deals"}
    assert done.lines["v2.DealsApi.getDeals"]["response"] == {"ref": "Deals"}


def test_a_moved_operation_stays_reachable_under_its_old_class(merged: Merged) -> None:
    answer = envelope("Answer", {"type": "string"})
    old = operation("ProjectsApi.getBoards", "GET", "/boards", "Answer")
    new = operation("BoardsApi.getBoards", "GET", "/boards", "Answer")
    removed = [{"op": "ProjectsApi.getBoards", "renamed_to_v1": "BoardsApi.getBoards", "v2": None}]
    lines = merged.run(([old], [answer]), ([new], [answer]), removed=removed).lines
    assert lines["v1.ProjectsApi.getBoards"]["alias_of"] == "v1.BoardsApi.getBoards"
    assert lines["v1.ProjectsApi.getBoards"]["retired"] is None
    assert lines["v1.BoardsApi.getBoards"]["alias_of"] is None


def test_types_are_written_in_plain_form(merged: Merged) -> None:
    models = [
        envelope("Answer", {"ref": "Deal"}),
        {"name": "Deal", "kind": "allOf", "allOf": [{"ref": "Base"}, {"ref": "More"}]},
        {"name": "Base", "kind": "object", "fields": {"id": {"type": "integer", "required": True}}},
        {"name": "More", "kind": "object", "fields": {"id": {"type": "integer"}, "status": {"ref": "Status"}}},
        {"name": "Status", "kind": "enum", "type": "string", "enum": ["open", "won"]},
        {"name": "Unused", "kind": "object", "fields": {}},
    ]
    models[2]["fields"]["related"] = {"ref": "Related"}
    models.append({"name": "Related", "kind": "object", "fields": {"DEAL_ID": {"ref": "Person"}}})
    models.append({"name": "Person", "kind": "object", "fields": {"name": {"type": "string"}}})
    done = merged.run(([], []), ([operation("DealsApi.getDeal", "GET", "/deals/{id}", "Answer")], models)).models
    assert set(done) == {"Answer", "Deal", "Person"}
    assert done["Deal"]["fields"] == {
        "id": {"type": "integer", "required": True},
        "related": {"type": "map", "items": {"ref": "Person"}},
        "status": {"type": "string", "enum": ["open", "won"]},
    }


def test_a_correction_changes_one_field_of_one_type(merged: Merged) -> None:
    answer = envelope("Answer", {"type": "number"})
    correction = {"v1/Answer/data": {"reason": "an id", "schema": {"type": "integer"}}}
    new = operation("DealsApi.getDeal", "GET", "/deals/{id}", "Answer")
    done = merged.run(([], []), ([new], [answer]), field=correction)
    assert done.models["Answer"]["fields"]["data"] == {"type": "integer"}
