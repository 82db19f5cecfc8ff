"""Keeps the sandbox's companies in a file, so that a second start goes on where the first ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeflow.sandbox.sandbox import Sandbox


def save(sandbox: Sandbox, path: Path) -> None:
    """Write every company and webhook, in one piece or not at all."""
    kept: dict[str, Any] = {}
    for company in sandbox.companies.values():
        kept[company.domain] = {
            "tables": {kind: list(table.values()) for kind, table in company.tables.items()},
            "fields": company.fields,
            "counters": company.counters,
            "webhooks": sandbox.webhooks.of(company),
        }
    aside = path.with_suffix(".part")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(kept, file, ensure_ascii=False)
    aside.replace(path)


def restore(sandbox: Sandbox, path: Path) -> None:
    """Read what `save` wrote, where there is something."""
    if not path.exists():
        return
    for domain, kept in json.loads(path.read_text(encoding="utf-8")).items():
        company = sandbox.companies.get(domain)
        if company is None:
            continue
        for kind, records in kept["tables"].items():
            company.tables[kind] = {record["id"]: record for record in records}
        company.fields.update(kept["fields"])
        company.counters.update(kept["counters"])
        sandbox.webhooks.adopt(kept["webhooks"])
