"""Cutting a file into chunks by content, so that an insert changes the chunks around it and no others.

Parameters are those the Remote Execution API recommends for FastCDC 2020, so other programs cut alike. How a
file is kept from changing meanwhile is the business of the caller.
"""

from __future__ import annotations

import errno
import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast

import xxhash

from pollinator.chunks.digest import digest_of

MIN_CHUNK = 128 * 1024
AVERAGE_CHUNK = 512 * 1024
MAX_CHUNK = 2 * 1024 * 1024
"""Files up to this size are one chunk."""

FIXED_CHUNK = 1024 * 1024
"""Size of all chunks where there is no fast way to cut by content."""

SMALLEST_HOLE = MIN_CHUNK
"""Shorter holes are read as zeros: they would only cut a file into small chunks."""

INLINE_BYTES = 128
"""Files up to this size are kept in the directory node itself."""

WINDOW = 16 * 1024 * 1024
"""How much of a file is in memory at a time."""

Sink = Callable[[bytes, bytes], None]
Cutter = Callable[[bytes], Iterable[int]]
"""Lengths of the chunks of some bytes, in order. A length depends on at most ``MAX_CHUNK`` bytes."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: ``inline``, or the chunks (digest, size) in order filling all that is no hole."""

    inline: bytes
    chunks: tuple[tuple[bytes, int], ...]
    holes: tuple[tuple[int, int], ...]
    """Ranges (offset, length) without data, sorted."""
    size: int
    """Length in bytes, holes included."""
    prints: bytes = field(default=b"", compare=False, repr=False)
    """Fingerprint (xxh3_128) of each chunk of a large file, one after the other, as far as they are known.

    Only says where a later version of the same file differs. No part of what is stored, and of equality.
    """


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
    prints: list[bytes] = []
    holes = tuple(_holes(descriptor, size))
    cutter = choose_cutter()
    position = 0
    for hole, length in (*holes, (size, 0)):
        for data in _pieces(descriptor, position, hole, cutter):
            digest = digest_of(data)
            sink(digest, data)
            chunks.append((digest, len(data)))
            prints.append(xxhash.xxh3_128_digest(data))
        position = hole + length
    # Blocks of a fixed size are not cut again around a change: all behind an insert would differ.
    return Content(b"", tuple(chunks), holes, size, b"" if cutter is fixed_lengths else b"".join(prints))


def choose_cutter() -> Cutter:
    """By content where pyfastcdc is compiled for this system, in fixed blocks elsewhere.

    Its stand-in in pure Python is hundreds of times slower than reading, and is never used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about that stand-in
            kind = importlib.import_module("pyfastcdc").FastCDC
    except ImportError:
        return fixed_lengths
    if not str(kind.__module__).startswith("pyfastcdc.cy"):
        return fixed_lengths
    made = kind(avg_size=AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK, normalized_chunking=2, seed=0)
    fast = cast("_FastCDC", made)
    return lambda data: (piece.length for piece in fast.cut_buf(data))


def fixed_lengths(data: bytes) -> Iterator[int]:
    """Blocks of ``FIXED_CHUNK``, and what is left."""
    whole, rest = divmod(len(data), FIXED_CHUNK)
    yield from (FIXED_CHUNK for _ in range(whole))
    if rest:
        yield rest


class _Piece(Protocol):
    length: int


class _FastCDC(Protocol):
    def cut_buf(self, buf: bytes) -> Iterator[_Piece]: ...


def _pieces(descriptor: int, start: int, end: int, cutter: Cutter) -> Iterator[bytes]:
    """Cut one range. A cut looks at most MAX_CHUNK bytes ahead: pieces nearer to the window's end wait."""
    rest = b""
    position = start
    while position < end or rest:
        wanted = min(WINDOW, end - position)
        window = rest + _read(descriptor, position, wanted)
        position += wanted
        used = 0
        for length in cutter(window):
            if position < end and len(window) - used < MAX_CHUNK:
                break
            yield window[used : used + length]
            used += length
        rest = window[used:]


def _holes(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of a file that hold no data; none where the system cannot tell."""
    position = 0
    while position < size:
        try:
            hole = os.lseek(descriptor, position, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise EOFError(f"the file ends before {position}") from error
            return
        if hole >= size:
            return
        position = _next_data(descriptor, hole, size)
        if position - hole >= SMALLEST_HOLE:
            yield hole, position - hole


def _next_data(descriptor: int, hole: int, size: int) -> int:
    try:
        return min(size, os.lseek(descriptor, hole, os.SEEK_DATA))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        # No data up to the end of the file, wherever that is by now.
        if os.fstat(descriptor).st_size < size:
            raise EOFError(f"the file ends before {size}") from error
        return size


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
