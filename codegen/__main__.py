"""Writes the generated files, or with `--check` says which are not what the catalog makes of them.

python -m codegen [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from codegen.generate import GENERATED, Generator

ROOT = Path(__file__).parent.parent


def existing() -> set[str]:
    """List what stands in the places that hold generated files alone."""
    places = [ROOT / place for place in GENERATED]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    return {str(file.relative_to(ROOT)) for file in files if file.suffix in (".py", ".md")}


def main() -> int:
    """Write or check; the exit status says whether a check found a difference."""
    files = Generator().files()
    stale = existing() - files.keys()
    changed = [path for path, text in files.items() if not (ROOT / path).exists() or (ROOT / path).read_text() != text]
    if "--check" in sys.argv:
        for path in sorted([*changed, *stale]):
            print(f"{path} is not what the catalog makes of it; run python -m codegen")
        return 1 if changed or stale else 0
    for path in stale:
        (ROOT / path).unlink()
    for path in changed:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(files[path])
    print(f"{len(files)} files, {len(changed)} written, {len(stale)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
