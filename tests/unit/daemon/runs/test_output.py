"""The daemon's copy of output: nothing twice, nothing left out, also on a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.daemon.runs.output import OutputFiles
from pollinator.wire.errors import Exhausted, OutOfRange
from support.disk import full_disk


@pytest.fixture
def output(tmp_path: Path) -> OutputFiles:
    return OutputFiles(tmp_path / "output")


def all_of(output: OutputFiles, rank: int = 0) -> bytes:
    return output.read("r", rank, 0, 1 << 20)


def test_blocks_follow_each_other_and_ranks_do_not_mix(output: OutputFiles) -> None:
    output.append("r", 10, 0, b"ten")
    output.append("r", 2, 0, b"two ")
    output.append("r", 2, 4, b"\xff\x00\n")

    assert [2, 10] == list(output.ranks("r"))
    assert b"two \xff\x00\n" == all_of(output, 2)
    assert (7, 3) == (output.size("r", 2), output.size("r", 10))


@pytest.mark.parametrize(
    ("offset", "data"), [(0, b"abc"), (0, b"abcdef"), (2, b"cdef"), (4, b"ef"), (1, b"bc"), (6, b"")]
)
def test_what_is_there_is_not_written_again(output: OutputFiles, offset: int, data: bytes) -> None:
    output.append("r", 0, 0, b"abcd")
    output.append("r", 0, 4, b"ef")

    output.append("r", 0, offset, data)

    assert b"abcdef" == all_of(output)


def test_a_gap_is_refused_and_writes_nothing(output: OutputFiles) -> None:
    output.append("r", 0, 0, b"abc")

    with pytest.raises(OutOfRange) as caught:
        output.append("r", 0, 4, b"e")

    assert "output_gap" == caught.value.reason
    assert b"abc" == all_of(output)


def test_a_full_disk_keeps_what_fits_and_the_rest_can_follow_later(output: OutputFiles) -> None:
    text = b"0123456789" * 100

    with full_disk(600), pytest.raises(Exhausted) as caught:
        output.append("r", 0, 0, text)
    written = output.size("r", 0)
    output.append("r", 0, written, text[written:])

    assert "disk_full" == caught.value.reason
    assert 600 == written
    assert text == all_of(output)


def test_a_folder_that_cannot_be_made_is_told_as_such(output: OutputFiles, tmp_path: Path) -> None:
    (tmp_path / "output" / "r").write_text("in the way")

    with pytest.raises(Exhausted, match="cannot write output"):
        output.append("r", 0, 0, b"x")


def test_of_a_run_that_printed_nothing_there_is_nothing(output: OutputFiles) -> None:
    assert ([], 0, b"") == (list(output.ranks("r")), output.size("r", 0), all_of(output))


def test_reading_begins_at_an_offset_and_ends_at_a_limit(output: OutputFiles) -> None:
    output.append("r", 0, 0, b"abcdef")

    assert [b"cd", b"ef", b""] == [output.read("r", 0, offset, 2) for offset in (2, 4, 6)]


def test_output_is_for_this_user_only(output: OutputFiles, tmp_path: Path) -> None:
    output.append("r", 0, 0, b"x")

    modes = [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "output").rglob("*"))]
    assert [0o700, 0o600] == modes
