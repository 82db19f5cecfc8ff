"""Files on their way out and in: read and written piece by piece, with progress. Imports model alone."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pipeflow.client.model import Progress


class Upload:
    """What a request reads a file from: a path, bytes or a file object; `progress` is told after each piece.

    A path is opened for each piece, so that nothing stays open however the request ends.
    """

    def __init__(self, source: Path | bytes | BinaryIO, progress: Progress | None) -> None:
        self._path = source if isinstance(source, Path) else None
        self._file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source  # type: ignore[assignment]  # a path is never read through it
        self._progress = progress
        self._place = 0
        self._total = self._measure()

    def read(self, size: int = -1) -> bytes:
        """Give the next piece, empty at the end."""
        if self._path is None:
            piece = self._file.read(size)
        else:
            with self._path.open("rb") as file:
                file.seek(self._place)
                piece = file.read(size)
        self._place += len(piece)
        if piece and self._progress is not None:
            self._progress(self._place, self._total)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as files do; a request that is tried again begins at the front."""
        if self._path is None:
            self._place = self._file.seek(offset, whence)
        else:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence, self._total or 0)
            self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Say where the next piece begins."""
        return self._place

    def _measure(self) -> int | None:
        if self._path is not None:
            return self._path.stat().st_size
        try:
            here = self._file.tell()
            total = self._file.seek(0, os.SEEK_END)
            self._file.seek(here)
        except (AttributeError, OSError):
            return None
        return total


async def receive(pieces: AsyncIterator[bytes], to: Path | None, total: int | None, progress: Progress | None) -> bytes:
    """Take in a file: into `to`, which is there once it is whole, or else as what is returned."""
    if to is None:
        content = bytearray()
        async for piece in pieces:
            content += piece
            _tell(progress, len(content), total)
        return bytes(content)
    part = to.with_name(to.name + ".part")
    try:
        with part.open("wb") as out:
            async for piece in pieces:
                await asyncio.to_thread(out.write, piece)
                _tell(progress, out.tell(), total)
        part.replace(to)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return b""


def _tell(progress: Progress | None, done: int, total: int | None) -> None:
    if progress is not None:
        progress(done, total)
