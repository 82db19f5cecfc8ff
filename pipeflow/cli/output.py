"""How commands print: JSON lines for scripts, tables for people. Imports nothing of ours; rich only for tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STYLES = {
    "succeeded": "green",
    "connected": "green",
    "dispatched": "green",
    "dead": "bold red",
    "failed": "red",
    "gave_up": "red",
    "unreadable": "red",
    "missing": "bold red",
    "pending": "yellow",
    "running": "cyan",
    "skipped": "dim",
    "unmatched": "dim",
}


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line."""
    import orjson

    for row in rows:
        sys.stdout.write(orjson.dumps(row, default=str).decode() + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings: coloured and as wide as the terminal, or plain and unshortened into a file.

    `empty` is the sentence for no rows.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["" if value is None else str(value) for value in row] for row in rows]
    if not cells:
        sys.stdout.write(empty + "\n")
        return
    terminal = sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis" if terminal else "ignore")
    for row in cells:
        table.add_row(*(Text(cell.replace("\n", " "), style=STYLES.get(cell, "")) for cell in row))
    Console(width=None if terminal else 10_000, highlight=False).print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """Print one item in full, a line for each field."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        text = "" if value is None else str(value)
        first, *more = text.splitlines() or [""]
        sys.stdout.write(f"{name:<{width}}  {first}".rstrip() + "\n")
        sys.stdout.writelines(f"{'':<{width}}  {line}\n" for line in more)


def say(text: str = "") -> None:
    """Print a sentence."""
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Print a sentence where scripts do not read it."""
    sys.stderr.write(text + "\n")
