"""What nodes write down, as it is read: whole lines only, in pieces, and with care."""

from __future__ import annotations

import pytest

from pollinator.executors.kubernetes.journal import Journal, rank_end
from pollinator.executors.outcomes import outcome_of, usage_of

WHOLE = b"""\
began
init
ran
rank 1 Done(5)
ending rank
rank 0 Terminated
usage cgroup-v2 1048576 1 2500000
ended
done
"""


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_it_means_the_same_in_whatever_pieces_it_comes(size: int) -> None:
    read = Journal()
    for at in range(0, len(WHOLE), size):
        read.feed(WHOLE[at : at + size])

    assert (len(WHOLE), True, True, "rank") == (read.offset, read.began, read.done, read.ending)
    assert [(1, 5, 0, False), (0, 143, 15, True)] == [
        (each.rank, each.exit_code, each.signal, each.asked) for each in read.ranks
    ]
    assert ("cgroup-v2", 1 << 20, 1, 2_500_000) == (read.source, read.peak_bytes, read.ooms, read.cpu_us)


def test_half_a_line_says_nothing_yet() -> None:
    read = Journal()

    assert not read.feed(b"beg")
    assert not read.began
    assert read.feed(b"an\n")
    assert read.began


@pytest.mark.parametrize(
    "line", [b"", b"rank", b"rank x Done", b"usage a b c d", b"usage - 1 2", b"\xff\xfe", b"what", b"ending"]
)
def test_what_cannot_be_meant_is_passed_over(line: bytes) -> None:
    read = Journal()
    read.feed(line + b"\nbegan\n")

    assert (True, "", [], False) == (read.began, read.ending, read.ranks, read.done)


@pytest.mark.parametrize(
    "line",
    [
        b"rank 0 Exit 99999999999",
        b"rank 0 Exit " + b"9" * 5000,
        b"rank 99999999999 Exit 1",
        b"rank " + b"9" * 5000 + b" Exit 1",
        b"usage cgroup-v2 " + b"9" * 20 + b" 0 0",
        b"usage cgroup-v2 0 0 " + b"9" * 5000,
        b"usage " + b"x" * 5000 + b" 0 0 0",
    ],
    ids=lambda line: line[:24].decode(),
)
def test_no_number_that_a_rank_has_written_is_too_large_to_be_told(line: bytes) -> None:
    read = Journal()
    read.feed(b"began\nran\n" + line + b"\n")
    end = next(iter(read.ranks), rank_end(0, "Done", asked=False))
    usage = usage_of(
        {"peak_memory_bytes": read.peak_bytes, "cpu_s": read.cpu_us / 1e6, "memory_source": read.source}
    )

    outcome = outcome_of({"reason": "exit_code", "exit_code": end.exit_code, "rank": end.rank})
    assert outcome.exit_code in (0, 1)
    assert usage.memory_source in ("", "cgroup-v2")


def test_nothing_counts_after_the_end() -> None:
    read = Journal()
    read.feed(b"began\nran\nrank 0 Done\ndone\nrank 0 Killed\n")

    assert [True] == [each.well for each in read.ranks]


@pytest.mark.parametrize(
    ("words", "code", "signal"),
    [
        ("Done", 0, 0),
        ("Done(137)", 137, 0),
        ("Exit 3", 3, 0),
        ("wait 0", 0, 0),
        ("wait 5", 5, 0),
        ("wait 137", 137, 9),
        ("Killed", 137, 9),
        ("Terminated", 143, 15),
        ("Segmentation fault", 139, 11),
        ("Segmentation fault (core dumped)", 139, 11),
        ("Aborted", 134, 6),
        ("Bus error", 135, 7),
        ("Arithmetic exception", 136, 8),
        ("Illegal instruction", 132, 4),
        ("User defined signal 1", 138, 10),
        ("Eaten by a grue", 1, 0),
    ],
)
def test_the_words_of_shells_are_understood(words: str, code: int, signal: int) -> None:
    end = rank_end(0, words, asked=False)

    assert (code, signal) == (end.exit_code, end.signal)
    assert (code == 0) == end.well
