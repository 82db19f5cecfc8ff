"""Bodies that no honest sender sends: always an answer, never a 5xx, never a lost event beside them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import DELIVERY, Sender, delivery

WHOLE = json.dumps(DELIVERY).encode()
STRANGE: list[Any] = [None, True, 0, -1, 1e308, 10**30, "", "\u0000", "x" * 5000, [], [[]], {}, {"a": None}, [1, "2"]]

BODIES = {
    "empty": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects nested 100,000 deep": b'{"meta":' * 100_000,
    "invalid UTF-8": WHOLE.replace(b"Forty", b"\xff\xfe\x80"),
    "half a surrogate": b'{"meta": "\\ud800"}',
    "NUL bytes": b"\x00" * 1000,
    "a list": b"[1, 2, 3]",
    "a number": b"17",
    "null": b"null",
    "NaN": b'{"meta": NaN}',
    "a huge number": b'{"meta": ' + b"9" * 100_000 + b"}",
    "meta is a list": b'{"meta": [], "data": {}}',
    "no meta": b'{"data": {}}',
    "the same key a thousand times": b"{" + b'"meta": {},' * 1000 + b'"meta": 1}',
    "a form": b"meta=1&data=2",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\xcaM-IT\xb2\xaa\xae\x05\x00",
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_strange_body_is_kept_and_the_events_beside_it_too(sender: Sender, name: str) -> None:
    assert (await sender.deliver(delivery(id="before"))).status == 200
    assert (await sender.deliver(BODIES[name])).status == 200
    assert (await sender.deliver(delivery(id="after"))).status == 200
    after, strange, before = await sender.events()
    assert (before.delivery_id, after.delivery_id) == ("before", "after")
    assert strange.raw == BODIES[name]


async def test_five_megabytes_are_refused(sender: Sender) -> None:
    assert (await sender.deliver(b" " * 5_000_000)).status == 413
    assert (await sender.deliver(DELIVERY)).status == 200


def with_wrong_types() -> Iterator[dict[str, Any]]:
    """Give the delivery once for each of its fields and each strange value."""
    for part in ("meta", "data", "previous"):
        for value in STRANGE:
            yield {**DELIVERY, part: value}
            for key in DELIVERY[part]:
                yield {**DELIVERY, part: {**DELIVERY[part], key: value}}


async def test_wrong_types_anywhere_never_fail(sender: Sender) -> None:
    for body in with_wrong_types():
        answer = await sender.deliver(body)
        foreign = body["meta"].get("company_id") if isinstance(body["meta"], dict) else None
        assert answer.status == 200 or (answer.status == 403 and foreign != DELIVERY["meta"]["company_id"])


def mutated(rng: random.Random) -> bytes:
    """Damage the delivery as a broken network or a hostile hand would."""
    body = bytearray(WHOLE)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(body))
        match rng.randrange(5):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                del body[at : at + rng.randint(1, 40)]
            case 2:
                body[at:at] = rng.randbytes(rng.randint(1, 40))
            case 3:
                body[at:at] = body[at : at + rng.randint(1, 200)]
            case _:
                body[at : at + 1] = rng.choice(
                    [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"null", b"-", b"\\u0000"]
                )
        if not body:
            body = bytearray(b"{")
    return bytes(body)


async def test_a_thousand_mutations_lose_nothing_beside_them(sender: Sender) -> None:
    rng = random.Random(20417)
    kept = 0
    for number in range(1000):
        status = (await sender.deliver(mutated(rng))).status
        assert status in (200, 403), status
        if number % 50 == 0:
            assert (await sender.deliver(delivery(id=f"honest-{number}"))).status == 200
            kept += 1
    events = await sender.events()
    assert sum((event.delivery_id or "").startswith("honest-") for event in events) >= kept
