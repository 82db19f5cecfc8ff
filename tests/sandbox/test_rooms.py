"""The sandbox's files import each other one way only, also where only types are meant."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pipeflow.sandbox

ROOM = Path(pipeflow.sandbox.__file__).parent


def imported(path: Path) -> set[str]:
    """List the sandbox's own modules that a file names in an import."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeflow.sandbox"):
            module = (node.module or "").removeprefix("pipeflow.sandbox").lstrip(".")
            names |= {module} if module else {alias.name for alias in node.names}
    return names


def test_no_file_leads_back_to_itself() -> None:
    graph = {path.stem: imported(path) for path in ROOM.glob("*.py") if path.stem != "__init__"}
    assert set(TopologicalSorter(graph).static_order()) >= set(graph)


def test_no_file_is_a_room_that_wants_a_wall() -> None:
    assert [path.name for path in ROOM.glob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []
