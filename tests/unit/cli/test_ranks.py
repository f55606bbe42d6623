"""Output of several ranks on one stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pollinator.cli.ranks import LabelledOutput, RawOutput


def test_raw_output_is_the_very_bytes() -> None:
    written: list[bytes] = []
    output = RawOutput(written.append)

    output.add(0, b"half a li")
    output.add(0, b"ne \xff\r")
    output.finish()

    assert b"".join(written) == b"half a line \xff\r"


def test_a_line_is_labelled_once_however_it_came() -> None:
    written: list[bytes] = []
    output = LabelledOutput(written.append, ranks=2, colour=False)

    output.add(0, b"he")
    output.add(1, b"other\n")
    output.add(0, b"llo\nwor")
    output.finish()

    assert b"".join(written) == b"[1] other\n[0] hello\n[0] wor\n"


def test_labels_are_equally_wide() -> None:
    written: list[bytes] = []
    output = LabelledOutput(written.append, ranks=12, colour=False)

    output.add(3, b"a\n")
    output.add(11, b"b\n")

    assert b"".join(written) == b"[ 3] a\n[11] b\n"


def test_a_line_without_end_is_not_held_back_for_ever() -> None:
    written: list[bytes] = []
    output = LabelledOutput(written.append, ranks=2, colour=False)

    output.add(0, b"x" * (1 << 21))

    assert len(b"".join(written)) == (1 << 21) + len(b"[0] \n")


def test_the_label_is_coloured_and_the_line_is_not() -> None:
    written: list[bytes] = []
    output = LabelledOutput(written.append, ranks=2, colour=True)

    output.add(1, b"a\n")

    assert b"".join(written) == b"\x1b[33m[1] \x1b[0ma\n"


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"\n")))))
def test_each_rank_keeps_its_bytes_and_their_order(blocks: list[tuple[int, bytes]]) -> None:
    written: list[bytes] = []
    output = LabelledOutput(written.append, ranks=4, colour=False)

    for rank, data in blocks:
        output.add(rank, data)
    output.finish()

    shown = b"".join(written).split(b"\n")[:-1]
    for rank in range(4):
        printed = b"".join(data for each, data in blocks if each == rank)
        expected = printed if printed.endswith(b"\n") or not printed else printed + b"\n"
        label = f"[{rank}] ".encode()
        assert expected == b"".join(line[4:] + b"\n" for line in shown if line.startswith(label))
