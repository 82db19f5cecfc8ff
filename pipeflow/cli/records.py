"""How `pipeflow api` shows what Pipedrive answers: JSON lines for scripts, tables for people. Imports cli.output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, is_dataclass
from typing import TYPE_CHECKING, Any

from pipeflow.errors import ConfigError

if TYPE_CHECKING:
    from pipeflow.client import Client, OnePage, Page
    from pipeflow.client.model import CustomModel

COLUMNS = 8
FIRST = ("id", "name", "title", "subject", "content", "label", "email", "type", "status", "value", "currency")


async def show(answer: Any, client: Client, *, every: bool, take: int | None, as_json: bool) -> None:
    """Await a call and print what it gives: one record, one page, or with `every` or `take` page after page."""
    if not hasattr(answer, "__aiter__"):
        _show_one(await answer, client, as_json)
    elif every or take:
        await _show_all(answer.take(take) if take else answer, as_json)
    else:
        _show_page(await answer, as_json)


def plain(record: Any) -> Any:
    """Give a record as JSON data, under Pipedrive's names."""
    if hasattr(record, "model_dump"):
        return record.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {name: plain(value) for name, value in record.items()} if isinstance(record, dict) else record


def columns_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Choose the columns of a table: what names a record, then whatever is filled and short, a few in all."""
    filled = {
        name: None
        for row in rows
        for name, value in row.items()
        if value is not None and not isinstance(value, (dict, list))
    }
    return sorted(filled, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))[:COLUMNS]


def _show_one(answer: Any, client: Client, as_json: bool) -> None:
    from pipeflow.cli.output import print_fields, say

    if isinstance(answer, bytes):
        _write_bytes(answer)
    elif isinstance(answer, list):
        _show_rows([plain(each) for each in answer], as_json)
    elif as_json:
        _print_lines([] if answer is None else [plain(answer)])
    elif isinstance(row := plain(answer), dict):
        print_fields(dict(_fields(answer, row, client)))
    else:
        say("Done." if row is None or row is True else str(row))


def _fields(record: Any, row: dict[str, Any], client: Client) -> Iterator[tuple[str, str]]:
    """Give what is filled of a record, its custom fields under their names."""
    custom = dict(_custom(record, client)) if getattr(record, "kind", "") else {}
    for name, value in row.items():
        if value not in (None, [], {}) and not (custom and (name == "custom_fields" or name[:40] in record.custom)):
            yield name, _cell(value)
    yield from custom.items()


def _custom(record: CustomModel, client: Client) -> Iterator[tuple[str, str]]:
    for key, value in record.custom.items():
        if value is not None:
            name = client.fields.definitions.name(record.kind, key)
            yield f"{name} ({key[:6]}…)" if name else key, _spoken(value)


def _spoken(value: Any) -> str:
    """Write a custom field's value for people."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if not is_dataclass(value) or isinstance(value, type) or type(value).__str__ is not object.__str__:
        return str(value)
    return " ".join(str(part) for part in astuple(value) if part is not None)


def _show_page(page: OnePage[Any], as_json: bool) -> None:
    from pipeflow.cli.output import warn

    _show_rows([plain(each) for each in page], as_json)
    if page.next_cursor is not None:
        place = "start" if isinstance(page.next_cursor, int) else "cursor"
        warn(f"There is more: --all fetches everything, {place}={page.next_cursor} the next page.")


async def _show_all(records: Page[Any], as_json: bool) -> None:
    if as_json:
        async for record in records:
            _print_lines([plain(record)])
        return
    _show_rows([plain(record) async for record in records], as_json)


def _show_rows(rows: Sequence[Any], as_json: bool) -> None:
    from pipeflow.cli.output import print_table, say

    if as_json:
        _print_lines(rows)
    elif all(isinstance(row, dict) for row in rows):
        rows = [row["item"] if isinstance(row.get("item"), dict) else row for row in rows]
        columns = columns_of(rows)
        print_table(columns, ([_cell(row.get(name)) for name in columns] for row in rows), empty="No records.")
    else:
        for row in rows:
            say(_cell(row))


def _cell(value: Any) -> str:
    import orjson

    if value is None or isinstance(value, str):
        return value or ""
    return str(value) if isinstance(value, (int, float)) else orjson.dumps(value, default=str).decode()


def _print_lines(rows: Iterable[Any]) -> None:
    import orjson

    for row in rows:
        sys.stdout.write(orjson.dumps(row, default=str).decode() + "\n")


def _write_bytes(content: bytes) -> None:
    if sys.stdout.isatty():
        raise ConfigError(f"These are {len(content)} bytes: give to=PATH, or send them into a file with >.")
    sys.stdout.buffer.write(content)
