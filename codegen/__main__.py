"""Writes the generated files, or with `--check` says which are not what the catalog makes of them.

python -m codegen [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from codegen.generate import GENERATED, Generator

ROOT = Path(__file__).parent.parent


def differences(root: Path, files: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """List the files below `root` that are not as they should be, and those that should not be there."""
    places = [root / place for place in GENERATED]
    found = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    present = {file.relative_to(root).as_posix() for file in found if file.suffix in (".py", ".md")}
    changed = [path for path, text in files.items() if path not in present or (root / path).read_text() != text]
    return sorted(changed), sorted(present - files.keys())


def write(root: Path, files: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Make the files below `root` what they should be; list what was written and what was removed."""
    changed, stale = differences(root, files)
    for path in stale:
        (root / path).unlink()
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path])
    return changed, stale


def main(root: Path = ROOT) -> int:
    """Write or check; the exit status says whether a check found a difference."""
    files = Generator().files()
    if "--check" in sys.argv:
        changed, stale = differences(root, files)
        for path in [*changed, *stale]:
            print(f"{path} is not what the catalog makes of it; run python -m codegen")
        return 1 if changed or stale else 0
    changed, stale = write(root, files)
    print(f"{len(files)} files, {len(changed)} written, {len(stale)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
