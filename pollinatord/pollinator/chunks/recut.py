"""Cutting a large file again after a change, for little more than reading it once.

Fingerprints of the earlier version say where the file is as it was. Only what differs is cut and hashed,
until a chunk comes out that the earlier version has as well. The result is what ``cut`` would make of it.

A fingerprint is no cryptographic hash. It is compared with that of the user's own file a moment ago, at the
same place: who can craft such a collision can write the file, and hides a change only from himself.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Self

import xxhash

from pollinator.chunks.cut import (
    HASHERS,
    MAX_CHUNK,
    Content,
    ContentBuilder,
    Pieces,
    Sink,
    cut,
    data_ranges,
    find_holes,
    read_into,
)

PRINT_BYTES = 16
FIRST_RUN = 8
LONGEST_RUN = 64
"""Chunks whose fingerprints are compared at a time: few behind a change, more while nothing differs."""
BYTES_FOR_A_CHANGE = 4 * MAX_CHUNK
"""Going on with comparing costs a window: a file with more changes than this allows is cut to its end."""


def recut(
    descriptor: int,
    size: int,
    sink: Sink,
    earlier: Content,
    *,
    held: Callable[[bytes], bool],
    kept: Callable[[int], None],
) -> Content:
    """Like ``cut``, for a file of which an earlier version is known.

    Args:
        descriptor: an open file.
        size: its size.
        sink: takes each chunk that was cut.
        earlier: what was in it.
        held: whether a chunk need not be given to ``sink`` again.
        kept: told the size of each chunk that is as it was, and is not given to ``sink``.

    Raises:
        EOFError: the file is shorter.
        OSError: it cannot be read.
    """
    known = bool(earlier.prints) and len(earlier.prints) == PRINT_BYTES * len(earlier.chunks)
    if size <= MAX_CHUNK or not known:
        return cut(descriptor, size, sink)
    with Pieces(descriptor) as pieces, _Comparison(descriptor) as comparison:
        if not pieces.by_content:
            return cut(descriptor, size, sink)
        work = _Recut(size, find_holes(descriptor, size), _Earlier(earlier, held), pieces, comparison)
        return work.run(sink, kept)


@dataclass(frozen=True, slots=True)
class _Span:
    """A chunk of the earlier version."""

    offset: int
    size: int
    digest: bytes
    print: bytes
    room: int
    """From its start to the end of the data that it was cut from."""


class _Earlier:
    """The earlier version, chunk by chunk."""

    def __init__(self, content: Content, held: Callable[[bytes], bool]) -> None:
        self._held = held
        self.size = content.size
        self.spans = list(_spans(content))
        self._by_digest: dict[bytes, list[int]] = {}
        for number, span in enumerate(self.spans):
            self._by_digest.setdefault(span.digest, []).append(number)

    def at(self, offset: int) -> int:
        """Number of the chunk that began there; one behind the last when none did."""
        number = bisect.bisect_left(self.spans, offset, key=lambda span: span.offset)
        found = number < len(self.spans) and self.spans[number].offset == offset
        return number if found else len(self.spans)

    def behind(self, digest: bytes, number: int) -> int:
        """Number of the chunk behind the next one of this name, from ``number`` on; else behind the first."""
        numbers = self._by_digest.get(digest)
        if numbers is None:
            return len(self.spans)
        place = bisect.bisect_left(numbers, number)
        return numbers[place if place < len(numbers) else 0] + 1

    def run(self, number: int, room: int) -> Iterator[_Span]:
        """Chunks from ``number`` on that may stand where they stood, in so much data.

        Near the end of the data, or a hole, a cut depends on where that is: what lies there is cut again.
        So is what has to be given away again.
        """
        for span in islice(self.spans, number, None):
            if min(room, span.room) < MAX_CHUNK or not self._held(span.digest):
                return
            yield span
            room -= span.size


def _spans(content: Content) -> Iterator[_Span]:
    chunks = iter(range(len(content.chunks)))
    for start, end in data_ranges(content.holes, content.size):
        offset = start
        while offset < end:
            number = next(chunks)
            digest, size = content.chunks[number]
            fingerprint = content.prints[PRINT_BYTES * number : PRINT_BYTES * (number + 1)]
            yield _Span(offset, size, digest, fingerprint, end - offset)
            offset += size


class _Recut:
    def __init__(
        self,
        size: int,
        holes: tuple[tuple[int, int], ...],
        earlier: _Earlier,
        pieces: Pieces,
        comparison: _Comparison,
    ) -> None:
        self._size = size
        self._holes = holes
        self._earlier = earlier
        self._pieces = pieces
        self._comparison = comparison
        self._changes_left = size // BYTES_FOR_A_CHANGE + 1
        self._differs = (-1, -1)
        """The chunk that was not what it was when compared last, and where it should have been."""

    def run(self, sink: Sink, kept: Callable[[int], None]) -> Content:
        made = ContentBuilder(self._size, self._holes)
        for start, end in data_ranges(self._holes, self._size):
            position = start
            number = self._earlier.at(start)
            while position < end:
                for span in self._same(number, position, end):
                    made.add(span.digest, span.size, span.print)
                    kept(span.size)
                    position += span.size
                    number += 1
                for piece in self._pieces.between(position, end):
                    sink(piece.digest, piece.data)
                    made.add(piece.digest, len(piece.data), piece.print)
                    position += len(piece.data)
                    number = self._earlier.behind(piece.digest, number)
                    if self._goes_on(number, position, end):
                        break
        return made.content(by_content=True)

    def _same(self, number: int, position: int, end: int) -> list[_Span]:
        """Chunks from ``number`` on that are what they were.

        The last of them is not among them: where it ends may have been decided by the first byte behind it.
        """
        spans = list(self._earlier.run(number, end - position))
        count = self._comparison.same(spans, position)
        self._differs = (number + count, position + sum(span.size for span in spans[:count]))
        return spans[: max(0, count - 1)]

    def _goes_on(self, number: int, position: int, end: int) -> bool:
        """Whether what follows may be as it was."""
        if not self._changes_left or (number, position) == self._differs:
            return False
        if len(list(islice(self._earlier.run(number, end - position), 2))) < 2:
            return False
        self._changes_left -= 1
        return True


class _Comparison:
    """Compares what is in an open file with fingerprints, two runs of chunks at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._threads = ThreadPoolExecutor(HASHERS, thread_name_prefix="compare")
        self._buffers = [bytearray() for _ in range(HASHERS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def same(self, spans: list[_Span], position: int) -> int:
        """How many of ``spans``, from the first on, are in the file one after the other from ``position``."""
        if not spans:
            return 0
        shift = position - spans[0].offset
        done, length = 0, FIRST_RUN
        while done < len(spans):
            futures = [
                self._threads.submit(self._count_same, buffer, spans[start : start + length], shift)
                for buffer, start in zip(self._buffers, range(done, len(spans), length), strict=False)
            ]
            for future in futures:
                wanted = min(length, len(spans) - done)
                found = future.result()
                done += found
                if found < wanted:
                    return done
            length = min(2 * length, LONGEST_RUN)
        return done

    def _count_same(self, buffer: bytearray, spans: list[_Span], shift: int) -> int:
        if not buffer:
            buffer.extend(bytes(MAX_CHUNK))
        whole = memoryview(buffer)
        for count, span in enumerate(spans):
            data = whole[: span.size]
            read_into(self._descriptor, span.offset + shift, data)
            if xxhash.xxh3_128_digest(data) != span.print:
                return count
        return len(spans)
