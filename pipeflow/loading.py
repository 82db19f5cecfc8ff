"""Imports recipes: each file once, as `recipes.<path>`, all of them or none. Imports errors alone."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeflow.errors import ConfigError

PACKAGE = "recipes"
_NOTHING = "There is no recipe at {}: name a folder, a file or a dotted module."


def import_recipes(target: str | Path) -> None:
    """Import the recipes of a folder, a file or a dotted module; raises ConfigError, naming file and line."""
    path = Path(target)
    with _all_or_nothing():
        if path.is_dir():
            _load_folder(path.resolve())
        elif path.is_file():
            _load_file(path.resolve())
        elif path.suffix == ".py" or not all(part.isidentifier() for part in str(target).split(".")):
            raise ConfigError(_NOTHING.format(target))
        else:
            _load_module(str(target))


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Forget the recipes of an earlier load, and those of this one where it fails."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    before = set(sys.modules)
    try:
        yield
    except BaseException:
        for name in set(sys.modules) - before:
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                del sys.modules[name]
        raise


def _load_folder(folder: Path) -> None:
    _make_package(folder)
    files = sorted(path for path in folder.rglob("*.py") if not _is_hidden(path.relative_to(folder)))
    if not files:
        raise ConfigError(
            f"There are no recipes in {folder}: put a .py file with a handler there (`pipeflow new NAME`)."
        )
    for file in files:
        _check_name(file)
    for file in files:
        _import(".".join((PACKAGE, *file.relative_to(folder).with_suffix("").parts)), file)


def _load_file(file: Path) -> None:
    _check_name(file)
    _make_package(file.parent)
    _import(f"{PACKAGE}.{file.stem}", file)


def _check_name(file: Path) -> None:
    """Refuse a file that Python cannot import by the name it would have."""
    if file.suffix != ".py" or "." in file.stem:
        raise ConfigError(f"{file} cannot be imported by its name: call it {file.name.split('.')[0]}.py, for instance.")
    if file.with_suffix("").is_dir() and any(file.with_suffix("").rglob("*.py")):
        raise ConfigError(f"{file} and the folder beside it have one name; rename one of them.")


def _load_module(dotted: str) -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    sys.modules.pop(dotted, None)
    _import(dotted, None)


def _make_package(folder: Path) -> None:
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    importlib.invalidate_caches()


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _import(name: str, file: Path | None) -> None:
    try:
        importlib.import_module(name)
    except ConfigError:
        raise
    except SyntaxError as wrong:
        place = f"{wrong.filename}:{wrong.lineno}" if wrong.filename else str(file or name)
        raise ConfigError(f"{place}: {wrong.msg}") from wrong
    except ModuleNotFoundError as wrong:
        if file is None and wrong.name is not None and (name == wrong.name or name.startswith(f"{wrong.name}.")):
            raise ConfigError(_NOTHING.format(name)) from wrong
        raise ConfigError(f"{_place(wrong, file)}: {type(wrong).__name__}: {wrong}") from wrong
    except SystemExit as wrong:
        raise ConfigError(f"{_place(wrong, file)}: it ends the program (SystemExit) while it is imported.") from wrong
    except Exception as wrong:  # whatever a recipe raises while it is imported stops the start
        raise ConfigError(f"{_place(wrong, file)}: {type(wrong).__name__}: {wrong}") from wrong


def _place(wrong: BaseException, file: Path | None) -> str:
    """Find the recipe's own line in the traceback: the last one that lies in a recipe, not in a library."""
    frames = traceback.extract_tb(wrong.__traceback__)
    here = str(file.parent) if file else str(Path.cwd())
    inside = [frame for frame in frames if frame.filename.startswith(here) and "site-packages" not in frame.filename]
    if inside:
        return f"{inside[-1].filename}:{inside[-1].lineno}"
    return str(file or "recipes")
