"""Reading the daemon's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.cli.daemon_log import follow_log, last_lines
from pollinator.wire.errors import NotFound


@pytest.mark.parametrize(("count", "expected"), [(0, b""), (1, b"c\n"), (2, b"b\nc\n"), (9, b"a\nb\nc\n")])
def test_the_last_lines_are_read_from_the_end(tmp_path: Path, count: int, expected: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\nc\n")

    assert last_lines(path, count) == (expected, 6)


def test_long_lines_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    long = b"x" * 200_000 + b"\n"
    path.write_bytes(b"first\n" + long)

    assert last_lines(path, 1)[0] == long


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        last_lines(tmp_path / "none", 1)

    assert caught.value.reason == "no_log"


class Enough(Exception):
    """The reader has seen all it wanted."""


def test_following_goes_on_across_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    seen: list[bytes] = []

    def write(data: bytes) -> None:
        seen.append(data)
        if b"old" in data:
            path.rename(tmp_path / "log.1")
            with (tmp_path / "log.1").open("ab") as file:
                file.write(b"last\n")
            path.write_bytes(b"new\n")
        if b"new" in data:
            raise Enough

    with pytest.raises(Enough):
        follow_log(path, 0, write)

    assert b"".join(seen) == b"old\nlast\nnew\n"
