"""What is kept of a file."""

from __future__ import annotations

import stat

import pytest

from pollinator.chunks.cut import Content
from pollinator.chunks.digest import digest_of
from pollinator.daemon.known import File
from pollinator.daemon.scan import Stamp

ONE, TWO = digest_of(b"1"), digest_of(b"2")


def stamp(size: int) -> Stamp:
    return Stamp(size, 1, 2, 3, 4, stat.S_IFREG | 0o644)


@pytest.mark.parametrize(
    ("content", "only"),
    [
        (Content(b"", (), (), 0), None),
        (Content(b"x", (), (), 1), None),
        (Content(b"", ((ONE, 5),), (), 5), ONE),
        (Content(b"", ((ONE, 5), (TWO, 6)), (), 11), None),
        (Content(b"", ((ONE, 5),), ((5, 6),), 11), None),
    ],
)
def test_whatever_a_file_holds_is_known_of_it(content: Content, only: bytes | None) -> None:
    file = File(stamp(content.size), content)

    assert content == file.content
    assert only == file.only_chunk
    assert [digest for digest, _ in content.chunks] == list(file.chunks)


def test_files_that_hold_the_same_are_told_from_others() -> None:
    file = File(stamp(5), Content(b"", ((ONE, 5),), (), 5))

    assert file.same_content(File(stamp(5), ONE))
    assert not file.same_content(File(stamp(5), TWO))
    assert not file.same_content(File(stamp(6), ONE))
    assert not file.same_content(File(stamp(5), Content(b"12345", (), (), 5)))
