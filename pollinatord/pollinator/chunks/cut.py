"""Cutting a file into chunks by content, so that an insert changes the chunks around it and no others.

Parameters are those the Remote Execution API recommends for FastCDC 2020, so other programs cut alike. How a
file is kept from changing meanwhile is the business of the caller.
"""

from __future__ import annotations

import errno
import importlib
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, Self, cast

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

WINDOW = 8 * 1024 * 1024
"""How much of a file is read at a time; two of these are in memory."""
FIRST_WINDOW = 2 * MAX_CHUNK
HASHERS = 2

Sink = Callable[[bytes, bytes | memoryview], None]
"""Takes the digest and the bytes of a chunk; these are good only until it returns."""
Cutter = Callable[[bytes | memoryview], Iterable[int]]
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
    holes = find_holes(descriptor, size)
    made = ContentBuilder(size, holes)
    with Pieces(descriptor) as pieces:
        for start, end in data_ranges(holes, size):
            for piece in pieces.between(start, end):
                sink(piece.digest, piece.data)
                made.add(piece.digest, len(piece.data), piece.print)
    return made.content(by_content=pieces.by_content)


class ContentBuilder:
    """The content of a large file in the making."""

    def __init__(self, size: int, holes: Sequence[tuple[int, int]]) -> None:
        self._size = size
        self._holes = tuple(holes)
        self._chunks: list[tuple[bytes, int]] = []
        self._prints: list[bytes] = []

    def add(self, digest: bytes, size: int, fingerprint: bytes) -> None:
        """The next chunk."""
        self._chunks.append((digest, size))
        self._prints.append(fingerprint)

    def content(self, *, by_content: bool) -> Content:
        """All of it. What is in fixed blocks is never cut again around a change: it gets no fingerprints."""
        prints = b"".join(self._prints) if by_content else b""
        return Content(b"", tuple(self._chunks), self._holes, self._size, prints)


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk that was cut."""

    digest: bytes
    print: bytes
    data: memoryview
    """Good until the next piece is asked for."""


class Pieces:
    """Cuts an open file: two threads hash a window of it while the next one is read and cut."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._cutter = choose_cutter()
        self._threads = ThreadPoolExecutor(HASHERS, thread_name_prefix="hash")
        self._buffers = [bytearray(), bytearray()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    @property
    def by_content(self) -> bool:
        """Files are not cut in blocks of a fixed size."""
        return self._cutter is not fixed_lengths

    def between(self, start: int, end: int) -> Generator[Piece]:
        """Cut one range; the first window is small, for a caller who may not want more.

        A cut looks at most MAX_CHUNK bytes ahead: pieces nearer to the window's end wait for the next one.

        Raises:
            EOFError: the file is shorter.
            OSError: it cannot be read.
        """
        rest = memoryview(b"")
        position, window = start, min(WINDOW, FIRST_WINDOW)
        earlier: list[Future[list[Piece]]] = []
        while position < end or rest:
            wanted = min(window, end - position)
            data = self._window(rest, position, wanted)
            position += wanted
            cuts, rest = self._cut(data, last=position == end)
            hashed = self._hash(cuts)
            yield from _results(earlier)
            earlier = hashed
            if window < WINDOW:
                yield from _results(earlier)
                earlier, window = [], WINDOW
        yield from _results(earlier)

    def _window(self, rest: memoryview, position: int, wanted: int) -> memoryview:
        """What is left of the window before, and the next bytes behind it."""
        self._buffers.reverse()
        needed = len(rest) + wanted
        if len(self._buffers[0]) < needed:
            self._buffers[0] = bytearray(needed)
        data = memoryview(self._buffers[0])[:needed]
        data[: len(rest)] = rest
        read_into(self._descriptor, position, data[len(rest) :])
        return data

    def _cut(self, data: memoryview, *, last: bool) -> tuple[list[memoryview], memoryview]:
        cuts: list[memoryview] = []
        used = 0
        for length in self._cutter(data):
            if not last and len(data) - used < MAX_CHUNK:
                break
            cuts.append(data[used : used + length])
            used += length
        return cuts, data[used:]

    def _hash(self, cuts: list[memoryview]) -> list[Future[list[Piece]]]:
        half = (len(cuts) + 1) // 2
        return [self._threads.submit(_hash_all, part) for part in (cuts[:half], cuts[half:]) if part]


def _hash_all(cuts: list[memoryview]) -> list[Piece]:
    return [Piece(digest_of(data), xxhash.xxh3_128_digest(data), data) for data in cuts]


def _results(hashed: list[Future[list[Piece]]]) -> Iterator[Piece]:
    for future in hashed:
        yield from future.result()


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


def fixed_lengths(data: bytes | memoryview) -> Iterator[int]:
    """Blocks of ``FIXED_CHUNK``, and what is left."""
    whole, rest = divmod(len(data), FIXED_CHUNK)
    yield from (FIXED_CHUNK for _ in range(whole))
    if rest:
        yield rest


class _Piece(Protocol):
    length: int


class _FastCDC(Protocol):
    def cut_buf(self, buf: bytes | memoryview) -> Iterator[_Piece]: ...


def data_ranges(holes: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """From where to where a file has data."""
    position = 0
    for hole, length in (*holes, (size, 0)):
        if position < hole:
            yield position, hole
        position = hole + length


def find_holes(descriptor: int, size: int) -> tuple[tuple[int, int], ...]:
    """The holes (offset, length) of an open file that are long enough to be kept.

    Raises:
        EOFError: the file is shorter.
    """
    return tuple(_holes(descriptor, size))


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


def read_into(descriptor: int, offset: int, buffer: memoryview) -> None:
    """Fill a buffer.

    Raises:
        EOFError: the file is shorter.
        OSError: it cannot be read.
    """
    while buffer:
        count = os.preadv(descriptor, [buffer], offset)
        if not count:
            raise EOFError(f"the file ends {len(buffer)} bytes early")
        offset += count
        buffer = buffer[count:]


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
