"""What `mypy --strict` says of user code: right code passes, and each kind of mistake is caught on its line."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

RIGHT = '''
"""Right user code."""

from datetime import UTC, date, datetime
from pathlib import Path

from pipeflow.client import UNSET, Client, Configuration, OnePage, Page
from pipeflow.client.v1 import FilesApi, NotesApi, WebhooksApi
from pipeflow.client.v1.models import Note, Webhook
from pipeflow.client.v2 import DealsApi
from pipeflow.client.v2.models import Deal, DealSearchResult


async def current(client: Client) -> list[str]:
    deal: Deal = await client.deals.get_deal(42)
    page: OnePage[Deal] = await client.deals.get_deals(status="open", ids=[1, 2], updated_since=datetime.now(UTC))
    every: Page[Deal] = client.deals.get_deals().take(200)
    titles = [found.title or "" async for found in every]
    first: Deal = page[0]
    some: list[Deal] = page[1:]
    searched: DealSearchResult = (await client.deals.search_deals(term="acme"))[0]
    note: Note = await client.notes.add_note(content="Hello", deal_id=deal.id)
    removed: bool = await client.notes.delete_note(note.id)
    nothing: None = client.webhooks.delete_webhook(1).close()
    print(first.value, len(some), searched.item, removed, nothing, page.next_cursor, page.response.status)
    with client.capture() as sent:
        await client.deals.merge_deals(1, merge_with_id=2)
    print(sent[0].operation.id, sent[0].headers["x-correlation-id"])
    return titles


async def writes(deals: DealsApi, notes: NotesApi, value: float | None) -> None:
    await deals.update_deal(42, value=1200, custom_fields={"Contract value": 900}, lost_reason=None)
    await deals.update_deal(42, value=UNSET if value is None else value, expected_close_date=date(2026, 3, 5))
    await deals.add_deal(title="New", label_ids=(1, 2), won_time="2026-03-05T08:09:10Z")
    await notes.update_note(1, content="x")


async def files(files: FilesApi) -> None:
    content: bytes = await files.download_file(1)
    path: Path = await files.download_file(1, to="file.bin")
    await files.add_file(file=Path("x"), deal_id=1)
    await files.add_file(file=("name.txt", content, "text/plain"))
    print(path)


async def alone() -> Webhook:
    webhooks = WebhooksApi(Configuration(api_key="..."))
    return await webhooks.add_webhook(subscription_url="https://x.test", event_action="*", event_object="deal")
'''

WRONG = {
    "await client.deals.update_deal(42, titel='x')": "call-arg",
    "await client.deals.update_deal(42, title=5)": "arg-type",
    "await client.deals.add_deal()": "call-arg",
    "await client.deals.get_deal()": "call-arg",
    "await client.deals.get_deal(42, 'status')": "call-arg|misc",
    "await client.deals.get_deal('42')": "arg-type",
    "await client.deals.add_deal(title='x', label_ids=7)": "arg-type",
    "await client.deals.add_deal(title='x', custom_fields='x')": "arg-type",
    "await client.deals.add_deal(title='x', expected_close_date=5)": "arg-type",
    "await client.deals.add_dael(title='x')": "attr-defined",
    "await client.daels.get_deal(1)": "attr-defined",
    "client.deals.get_deal(42)": "unused-coroutine",
    "print(client.deals.get_deal(42).title)": "attr-defined",
    "print((await client.deals.get_deal(42)).titel)": "attr-defined",
    "note: Note = await client.deals.get_deal(42)": "assignment",
    "print((await client.deals.get_deal(42)).title + 'x')": "operator",
    "print([deal.id for deal in client.deals.get_deals()])": "attr-defined",
    "print([deal.titel async for deal in client.deals.get_deals()])": "attr-defined",
    "print(client.deals.get_deals()[0])": "index",
    "print(len(client.deals.get_deals()))": "arg-type",
    "await client.deals.get_deals(limit='50')": "arg-type",
    "await client.v1.webhooks.add_webhook(event_action='*', event_object='*')": "call-arg",
    "path: str = await client.files.download_file(1, to='x')": "assignment",
}
HEAD = (
    "from pipeflow.client import Client\n"
    "from pipeflow.client.v1.models import Note\n\n\n"
    "async def use(client: Client) -> None:\n"
)


DOCS = Path(__file__).parent.parent.parent / "docs" / "client.md"


def example_code() -> str:
    """Give each example of the documentation as a function that has what earlier ones made."""
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    return f"async def examples() -> None:\n{textwrap.indent(''.join(blocks), '    ')}"


@pytest.mark.slow
def test_mypy_accepts_right_user_code_and_catches_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "examples.py").write_text(example_code())
    (tmp_path / "wrong.py").write_text(HEAD + "".join(f"    {line}\n" for line in WRONG))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    files = ["right.py", "wrong.py", "examples.py"]
    said = subprocess.run([*command, *files], capture_output=True, text=True, cwd=tmp_path, check=False).stdout
    assert "right.py" not in said, said
    assert "examples.py" not in said, said
    for number, (line, code) in enumerate(WRONG.items(), start=HEAD.count("\n") + 1):
        assert re.search(rf"wrong\.py:{number}: error: .*\[({code})\]", said), (line, said)
