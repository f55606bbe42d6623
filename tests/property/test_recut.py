"""Cutting a changed file again gives what cutting all of it gives, whatever was changed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from pollinator.chunks import cut as cutting
from pollinator.chunks import recut as under_test
from pollinator.chunks.cut import Content, cut
from pollinator.chunks.digest import digest_of
from pollinator.chunks.recut import recut
from pollinator.executors.conformance.trees import random_bytes

KIBI = 1024
BLOCK = 4096
"""Of zeros, and aligned, it becomes a hole."""

SOURCES = [random_bytes(400 * KIBI, b"%d" % seed) for seed in range(3)]

Edit = tuple[str, float, int | None, int, int]
"""What to do, where (as a part of the file, or so far from an end of a chunk), how many bytes, and which."""

edits = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "zeros", "cut off", "append", "repeat"]),
        st.floats(0, 1),
        st.one_of(st.none(), st.integers(-2, 2)),
        st.one_of(st.integers(1, 3), st.integers(1, 60 * KIBI)),
        st.integers(0, 2),
    ),
    max_size=6,
)


def edited(data: bytes, edit: Edit, ends: list[int]) -> bytes:
    what, where, beside, length, source = edit
    at = int(where * len(data))
    if beside is not None:
        at = max(0, min(ends, key=lambda end: abs(end - at)) + beside)
    fresh = SOURCES[source][-length:]
    match what:
        case "overwrite":
            return data[:at] + fresh + data[at + length :]
        case "insert":
            return data[:at] + fresh + data[at:]
        case "delete":
            return data[:at] + data[at + length :]
        case "zeros":
            return data[:at] + bytes(length) + data[at + length :]
        case "cut off":
            return data[:at]
        case "append":
            return data + fresh
        case _:
            return data[:at] + data[max(0, at - length) :]


@contextmanager
def small_chunks() -> Generator[None]:
    """Everything 64 times smaller, so that many chunks are quickly cut."""
    sizes = {"MIN_CHUNK": 2, "AVERAGE_CHUNK": 8, "MAX_CHUNK": 32, "WINDOW": 128, "FIRST_WINDOW": 64}
    with ExitStack() as stack:
        for name, size in sizes.items():
            stack.enter_context(patch.object(cutting, name, size * KIBI))
        stack.enter_context(patch.object(cutting, "SMALLEST_HOLE", BLOCK))
        stack.enter_context(patch.object(under_test, "MAX_CHUNK", 32 * KIBI))
        stack.enter_context(patch.object(under_test, "BYTES_FOR_A_CHANGE", 128 * KIBI))
        stack.enter_context(patch.object(under_test, "FIRST_RUN", 2))
        yield


@dataclass
class Taken:
    """What became of a file."""

    given: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    kept: int = 0
    content: Content = field(default_factory=lambda: Content(b"", (), (), 0))

    def sink(self, digest: bytes, data: bytes | memoryview) -> None:
        self.given[digest] = bytes(data)

    def keep(self, size: int) -> None:
        self.kept += size


def write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        for start in range(0, len(data), BLOCK):
            if any(block := data[start : start + BLOCK]):
                os.pwrite(file.fileno(), block, start)
        file.truncate(len(data))


def read_whole(path: Path) -> Taken:
    taken = Taken()
    with path.open("rb") as file:
        taken.content = cut(file.fileno(), path.stat().st_size, taken.sink)
    return taken


def read_again(path: Path, earlier: Content, unheld: int) -> Taken:
    taken = Taken()
    with path.open("rb") as file:
        taken.content = recut(
            file.fileno(),
            path.stat().st_size,
            taken.sink,
            earlier,
            held=lambda digest: digest[0] >= unheld,
            kept=taken.keep,
        )
    return taken


@settings(max_examples=300, deadline=None)
@given(st.integers(100, 400), edits, edits, st.sampled_from([0, 0, 0, 20, 256]))
def test_a_changed_file_is_cut_as_if_nothing_was_known_of_it(
    size: int, first: list[Edit], then: list[Edit], unheld: int
) -> None:
    with TemporaryDirectory() as folder, small_chunks():
        path = Path(folder) / "file"
        data = SOURCES[0][: size * KIBI]
        for edit in first:
            data = edited(data, edit, [0])
        write(path, data)
        earlier = read_whole(path).content
        ends = [0, *accumulate(size for _, size in earlier.chunks)]
        for edit in then:
            data = edited(data, edit, ends)
        write(path, data)
        whole, again = read_whole(path), read_again(path, earlier, unheld)

    assert whole.content == again.content
    assert whole.content.prints == again.content.prints
    assert all(digest == digest_of(data) for digest, data in again.given.items())
    needed = {digest for digest, _ in whole.content.chunks if digest[0] < unheld}
    needed |= {digest for digest, _ in whole.content.chunks} - {digest for digest, _ in earlier.chunks}
    assert needed <= again.given.keys()
