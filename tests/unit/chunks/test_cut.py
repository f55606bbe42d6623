"""Cutting files into chunks."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from pollinator.chunks import cut as under_test
from pollinator.chunks.cut import (
    FIXED_CHUNK,
    INLINE_BYTES,
    MAX_CHUNK,
    MIN_CHUNK,
    SMALLEST_HOLE,
    Content,
    choose_cutter,
    cut,
)
from pollinator.chunks.digest import digest_of

PINNED = hashlib.shake_128(b"pollinator").digest(8 * 1024 * 1024)
"""The same bytes on every machine."""

PINNED_LENGTHS = [
    551987, 587218, 676953, 625734, 415893, 569922, 563148, 645164, 572464, 533779,
    333243, 702405, 544976, 528751, 536971,
]  # fmt: skip
"""Where FastCDC 2020 with REAPI's parameters cuts them; checked with an implementation after the paper."""


class Written:
    """A file, and the chunks it was cut into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chunks: list[tuple[bytes, bytes]] = []

    def cut(self, size: int | None = None) -> Content:
        with self.path.open("rb") as file:
            wanted = self.path.stat().st_size if size is None else size
            return cut(file.fileno(), wanted, lambda digest, data: self.chunks.append((digest, bytes(data))))


@pytest.fixture
def file(tmp_path: Path) -> Written:
    return Written(tmp_path / "file")


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES])
def test_a_tiny_file_is_kept_inline_and_has_no_chunk(file: Written, size: int) -> None:
    file.path.write_bytes(PINNED[:size])

    assert file.cut() == Content(PINNED[:size], (), (), size)
    assert file.chunks == []


@pytest.mark.parametrize("size", [INLINE_BYTES + 1, MAX_CHUNK])
def test_a_file_up_to_the_largest_chunk_is_one_chunk(file: Written, size: int) -> None:
    data = PINNED[:size]
    file.path.write_bytes(data)

    assert file.cut() == Content(b"", ((digest_of(data), size),), (), size)
    assert file.chunks == [(digest_of(data), data)]


def test_a_large_file_is_cut_where_the_published_algorithm_cuts(file: Written) -> None:
    file.path.write_bytes(PINNED)

    content = file.cut()

    assert [size for _, size in content.chunks] == PINNED_LENGTHS
    assert b"".join(data for _, data in file.chunks) == PINNED
    assert [(digest, len(data)) for digest, data in file.chunks] == list(content.chunks)


@pytest.mark.parametrize("window", [MAX_CHUNK, 3 * MAX_CHUNK // 2, 2 * MAX_CHUNK + 1])
def test_reading_in_windows_cuts_where_reading_at_once_does(
    file: Written, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    file.path.write_bytes(PINNED)
    monkeypatch.setattr(under_test, "WINDOW", window)

    assert [size for _, size in file.cut().chunks] == PINNED_LENGTHS


def test_a_large_file_has_a_fingerprint_of_each_chunk(file: Written) -> None:
    file.path.write_bytes(PINNED)

    assert file.cut().prints == b"".join(xxhash.xxh3_128_digest(data) for _, data in file.chunks)


def test_fingerprints_are_no_part_of_what_makes_contents_equal(file: Written) -> None:
    file.path.write_bytes(PINNED)
    content = file.cut()

    assert content == replace(content, prints=b"")
    assert hash(content) == hash(replace(content, prints=b""))


def test_an_inserted_byte_changes_the_chunks_around_it_and_no_others(file: Written) -> None:
    file.path.write_bytes(PINNED)
    before = {digest for digest, _ in file.cut().chunks}
    file.path.write_bytes(PINNED[:4_000_000] + b"!" + PINNED[4_000_000:])

    after = {digest for digest, _ in file.cut().chunks}

    assert len(after - before) <= 2
    assert after != before


def test_without_pyfastcdc_blocks_have_a_fixed_size(file: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    file.path.write_bytes(PINNED[: 3 * FIXED_CHUNK + 5])
    monkeypatch.setattr(under_test, "WINDOW", 2 * FIXED_CHUNK)

    assert [size for _, size in file.cut().chunks] == [FIXED_CHUNK] * 3 + [5]


def test_the_slow_stand_in_of_pyfastcdc_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyfastcdc
    import pyfastcdc.py

    monkeypatch.setattr(pyfastcdc, "FastCDC", pyfastcdc.py.FastCDC)

    assert choose_cutter() is under_test.fixed_lengths


@pytest.mark.parametrize("size", [10, 1000, MAX_CHUNK + 1000])
def test_a_file_shorter_than_said_is_an_error(file: Written, size: int) -> None:
    file.path.write_bytes(PINNED[: size - 1])

    with pytest.raises(EOFError):
        file.cut(size)


def sparse(path: Path, *parts: tuple[int, bytes], size: int) -> None:
    with path.open("wb") as file:
        for offset, data in parts:
            os.pwrite(file.fileno(), data, offset)
        file.truncate(size)


def test_holes_are_named_and_never_read(file: Written) -> None:
    block = PINNED[: 1024 * 1024]
    sparse(file.path, (4 * 1024 * 1024, block), size=16 * 1024 * 1024)

    content = file.cut()

    assert content.holes == ((0, 4 * 1024 * 1024), (5 * 1024 * 1024, 11 * 1024 * 1024))
    assert b"".join(data for _, data in file.chunks) == block


def test_a_file_that_is_nothing_but_a_hole_has_no_chunks(file: Written) -> None:
    size = 1 << 40
    sparse(file.path, size=size)

    assert file.cut() == Content(b"", (), ((0, size),), size)


def test_short_holes_are_read_as_zeros_so_that_chunks_stay_large(file: Written) -> None:
    step = SMALLEST_HOLE
    sparse(file.path, *((at * step, b"x" * 4096) for at in range(40)), size=40 * step)

    content = file.cut()

    assert content.holes == ()
    assert all(size >= MIN_CHUNK for _, size in content.chunks[:-1])


def test_a_sparse_file_that_was_cut_short_meanwhile_is_an_error(file: Written) -> None:
    sparse(file.path, (0, b"x" * 4096), size=8 * 1024 * 1024)

    with pytest.raises(EOFError):
        file.cut(9 * 1024 * 1024)


def test_a_file_system_that_knows_no_holes_is_read_whole(
    file: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = MAX_CHUNK + MIN_CHUNK
    sparse(file.path, size=size)

    def refuse(descriptor: int, position: int, how: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "lseek", refuse)

    assert file.cut().holes == ()
    assert b"".join(data for _, data in file.chunks) == bytes(size)


def test_memory_does_not_grow_with_the_file(file: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at once is bounded by the window, however long the file is."""
    longest = 0
    real = os.preadv

    def measured(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal longest
        longest = max(longest, sum(map(len, buffers)))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", measured)
    monkeypatch.setattr(under_test, "WINDOW", MAX_CHUNK)
    file.path.write_bytes(PINNED)
    file.cut()

    assert longest == MAX_CHUNK


def lengths(data: bytes) -> Iterator[int]:
    yield from choose_cutter()(data)


def test_the_last_chunk_may_be_shorter_than_the_smallest(file: Written) -> None:
    assert list(lengths(PINNED[:1000])) == [1000]
