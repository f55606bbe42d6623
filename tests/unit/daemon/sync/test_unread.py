"""What is still to be read."""

from __future__ import annotations

import pytest

from pollinator.daemon.sync import unread
from pollinator.daemon.sync.unread import Unread

FILES = {b"%d" % number: number for number in range(10)}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Unread:
    monkeypatch.setattr(unread, "BATCH", 3)
    files = Unread()
    for path, size in FILES.items():
        files.add(path, size)
    return files


@pytest.mark.parametrize("held", [set[bytes](), {b"9", b"4"}, {b"9", b"8", b"7", b"6", b"5", b"0"}])
def test_all_but_those_held_are_read_the_newest_first(files: Unread, held: set[bytes]) -> None:
    order: list[bytes] = []
    for path in files.newest_first(held):
        order.append(path)
        files.discard(path)

    assert [path for path in reversed(FILES) if path not in held] == order
    assert (len(held), sum(FILES[path] for path in held)) == (len(files), files.bytes)
    assert not files.any_but(held)


def test_a_file_that_is_added_again_is_there_once_and_newest(files: Unread) -> None:
    files.add(b"3", 30)

    assert (10, sum(range(10)) + 27) == (len(files), files.bytes)
    assert b"3" == next(files.newest_first(set()))
    assert files.any_but(FILES.keys() - {b"3"})


def test_what_is_gone_is_not_read(files: Unread) -> None:
    for path in FILES:
        files.discard(path)
        files.discard(path)

    assert (0, 0) == (len(files), files.bytes)
    assert [] == list(files.newest_first(set()))
