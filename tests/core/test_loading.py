"""Loading recipes: what is a recipe, what each is called, and that a broken one leaves nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeflow.errors import ConfigError
from pipeflow.registry import DEFAULT, load

HANDLER = "from pipeflow import Event, on\n\n\n@on('deal.won')\ndef tell(event: Event) -> None: ...\n"


def write(folder: Path, **files: str) -> Path:
    """Write files, `__` in their names standing for a folder."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_every_file_of_a_folder_is_a_recipe_but_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path, follow_up=HANDLER, sales__won=HANDLER, sales__eu__vat=HANDLER)
    write(tmp_path, _draft="raise SystemExit", old___kept="raise SystemExit")
    write(tmp_path / ".git", hook="raise SystemExit")
    write(tmp_path / "_off", later="raise SystemExit")
    (tmp_path / "notes.txt").write_text("no Python")
    assert sorted(load(tmp_path).handlers) == ["follow_up.tell", "sales.eu.vat.tell", "sales.won.tell"]


def test_a_file_and_a_dotted_module_are_loaded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, one=HANDLER, two=HANDLER, pack__three=HANDLER)
    assert set(load(tmp_path / "one.py").handlers) == {"one.tell"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert set(load("pack.three").handlers) == {"pack.three.tell"}


def test_recipes_import_their_siblings_and_each_is_imported_once(tmp_path: Path) -> None:
    shared = (
        "from pathlib import Path\n\nwith Path(__file__).with_suffix('.log').open('a') as log:\n    log.write('x')\n"
    )
    write(
        tmp_path, shared=shared, a="from recipes.shared import log\n" + HANDLER, z="import recipes.shared\n" + HANDLER
    )
    assert set(load(tmp_path).handlers) == {"a.tell", "z.tell"}
    assert (tmp_path / "shared.log").read_text() == "x"


def test_a_second_load_reads_the_files_anew(tmp_path: Path) -> None:
    write(tmp_path, one=HANDLER)
    first = load(tmp_path)
    write(tmp_path, one=HANDLER.replace("tell", "told"), two=HANDLER)
    assert set(load(tmp_path).handlers) == {"one.told", "two.tell"}
    assert set(first.handlers) == {"one.tell"}


def test_what_is_loaded_does_not_register_elsewhere(tmp_path: Path) -> None:
    before = dict(DEFAULT.handlers)
    load(write(tmp_path, quite_alone=HANDLER))
    assert DEFAULT.handlers == before


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("import nothing_like_this\n", "broken.py:1", "No module named 'nothing_like_this'"),
        ("x = 1\n\nx.y\n", "broken.py:3", "AttributeError"),
        ("def f(:\n", "broken.py:1", "invalid syntax"),
        ("import json\n\njson.loads('{')\n", "broken.py:3", "JSONDecodeError"),
        ("import sys\n\nsys.exit(3)\n", "broken.py:3", "ends the program"),
        ("x = 'a\0b'\n", "broken.py", "null bytes"),
        ("from recipes.fine import nobody\n", "broken.py:1", "cannot import name 'nobody'"),
    ],
)
def test_an_error_names_the_recipes_own_line_and_nothing_is_half_loaded(
    tmp_path: Path, text: str, place: str, hint: str
) -> None:
    write(tmp_path, broken=text, fine=HANDLER)
    with pytest.raises(ConfigError) as said:
        load(tmp_path)
    assert place in str(said.value)
    assert hint in str(said.value)
    assert not [name for name in sys.modules if name.startswith("recipes")]
    write(tmp_path, broken=HANDLER)
    assert len(load(tmp_path).handlers) == 2


def test_an_empty_folder_and_a_missing_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pipeflow new"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="There is no recipe at"):
        load(tmp_path / "missing.py")
    with pytest.raises(ConfigError, match="There is no recipe at no_such_module"):
        load("no_such_module")


@pytest.mark.parametrize("target", ["nowhere", "nowhere.at_all", "no where", ".hidden", "one.txt"])
def test_what_is_no_recipe_is_refused_with_what_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError, match=r"There is no recipe at .*: name a folder, a file or a dotted module"):
        load(target)


def test_files_that_python_cannot_import_by_their_names_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "dots", **{"v1.2": HANDLER})
    with pytest.raises(ConfigError, match=r"v1\.2\.py cannot be imported by its name: call it v1\.py"):
        load(tmp_path / "dots")
    (tmp_path / "plain").write_text(HANDLER)
    with pytest.raises(ConfigError, match=r"plain cannot be imported by its name: call it plain\.py"):
        load(tmp_path / "plain")
    write(tmp_path / "twice", sales=HANDLER, sales__won=HANDLER)
    with pytest.raises(ConfigError, match=r"sales\.py and the folder beside it have one name"):
        load(tmp_path / "twice")
