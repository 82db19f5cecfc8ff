"""Bodies packed together: those of one commit share a compressed pack. Imports nothing of ours.

Deliveries of one company resemble each other, so those of a burst take a tenth of their room (a lone one half), and
storing them costs the writing of far fewer pages. A pack names its events by id and size, in order; one without names
is the plain body of the event whose id it has, as earlier releases stored them.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Collection, Iterator, Sequence

import orjson

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, decompress
else:
    from backports.zstd import ZstdCompressor, decompress

MOST_BYTES = 64 * 1024  # reading one body unpacks its neighbours too
_ZLIB = b"\x78"  # how packs begin that earlier releases made
_compressor = ZstdCompressor(level=1)  # kept, as to make one costs more than it does


def groups(sizes: Sequence[int]) -> Iterator[range]:
    """Say which bodies share a pack: neighbours, as many as fit."""
    start = total = 0
    for end, size in enumerate(sizes):
        if end > start and total + size > MOST_BYTES:
            yield range(start, end)
            start, total = end, 0
        total += size
    if start < len(sizes):
        yield range(start, len(sizes))


def pack(raws: Sequence[bytes]) -> bytes:
    """Put bodies into one."""
    return _compressor.compress(b"".join(raws), ZstdCompressor.FLUSH_FRAME)


def entries(event_ids: Sequence[int], raws: Sequence[bytes]) -> str:
    """Write whose bodies a pack holds."""
    return orjson.dumps([*zip(event_ids, map(len, raws), strict=True)]).decode()


def unpack(pack_id: int, names: str | None, packed: bytes, wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Take the bodies of the events `wanted` out of a pack."""
    if names is None:
        yield pack_id, packed
        return
    joined = zlib.decompress(packed) if packed[:1] == _ZLIB else decompress(packed)
    start = 0
    for event_id, size in orjson.loads(names):
        if event_id in wanted:
            yield event_id, joined[start : start + size]
        start += size
