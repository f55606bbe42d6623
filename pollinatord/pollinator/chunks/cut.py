"""Cutting a file into chunks by content, so that an insert changes the chunks around it and no others.

Parameters are those the Remote Execution API recommends for FastCDC 2020, so other programs cut alike.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyfastcdc import FastCDC

from pollinator.chunks.digest import digest_of

MIN_CHUNK = 128 * 1024
AVERAGE_CHUNK = 512 * 1024
MAX_CHUNK = 2 * 1024 * 1024
"""Files up to this size are one chunk."""

INLINE_BYTES = 128
"""Files up to this size are kept in the directory node itself."""

WINDOW = 16 * 1024 * 1024
"""How much of a file is in memory at a time."""

Sink = Callable[[bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: ``inline``, or the chunks (digest, size) in order filling all that is no hole."""

    inline: bytes
    chunks: tuple[tuple[bytes, int], ...]
    holes: tuple[tuple[int, int], ...]
    """Ranges (offset, length) without data, sorted."""
    size: int
    """Length in bytes, holes included."""


def cut(descriptor: int, size: int, sink: Sink) -> Content:
    """Read exactly ``size`` bytes of an open file and hand each chunk to ``sink(digest, bytes)`` in order.

    Raises:
        EOFError: the file is shorter.
        OSError: it cannot be read.
    """
    if size <= INLINE_BYTES:
        return Content(_read(descriptor, 0, size), (), (), size)
    if size <= MAX_CHUNK:
        data = _read(descriptor, 0, size)
        digest = digest_of(data)
        sink(digest, data)
        return Content(b"", ((digest, size),), (), size)
    chunks: list[tuple[bytes, int]] = []
    holes: list[tuple[int, int]] = []
    position = 0
    for start, end in _data_ranges(descriptor, size):
        if start > position:
            holes.append((position, start - position))
        for data in _pieces(descriptor, start, end):
            digest = digest_of(data)
            sink(digest, data)
            chunks.append((digest, len(data)))
        position = end
    if position < size:
        holes.append((position, size - position))
    return Content(b"", tuple(chunks), tuple(holes), size)


def _pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """Cut one range. A cut needs at most MAX_CHUNK bytes ahead, so all but the window's last piece are final."""
    cutter = FastCDC(
        avg_size=AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK, normalized_chunking=2, seed=0
    )
    rest = b""
    position = start
    while position < end or rest:
        wanted = min(WINDOW, end - position)
        window = rest + _read(descriptor, position, wanted)
        position += wanted
        used = 0
        for piece in cutter.cut_buf(window):
            if position < end and len(window) - piece.offset < MAX_CHUNK:
                break
            used = piece.offset + piece.length
            yield window[piece.offset : used]
        rest = window[used:]


def _data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of a file that hold data; the whole file where the system cannot tell."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, position = position, size
            yield start, size
            return
        if start >= size:
            return
        position = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        yield start, position


def _read(descriptor: int, offset: int, length: int) -> bytes:
    blocks: list[bytes] = []
    while length:
        block = os.pread(descriptor, length, offset)
        if not block:
            raise EOFError(f"the file ends {length} bytes early")
        blocks.append(block)
        offset += len(block)
        length -= len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
