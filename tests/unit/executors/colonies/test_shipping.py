"""What ranks print, cut into rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollinator.executors.colonies import shipping
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.errands import Errand, Row
from pollinator.executors.colonies.messages import LogRow
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.shipping import MOST_BYTES, PATIENCE_S, Rows, Shipper
from pollinator.executors.colonies.standing import Holding
from pollinator.v1.colony_pb2 import Colony


def taken(rows: Rows, now: float, *, ended: bool = False) -> list[str]:
    """The texts of all rows that are due."""
    found: list[str] = []
    while (row := rows.take(now, ended=ended)) is not None:
        found.append(row.text)
    return found


def test_whole_lines_go_at_once_and_the_rest_of_one_waits() -> None:
    rows = Rows({})

    rows.add(0, 0, b"one\ntwo\nthr", 0.0)

    assert Row(0, 0, 8, "one\ntwo\n") == rows.take(0.0)
    assert rows.take(PATIENCE_S / 2) is None
    assert Row(0, 8, 11, "thr") == rows.take(PATIENCE_S)
    assert rows.take(PATIENCE_S) is None


def test_it_is_known_how_long_a_piece_of_a_line_may_wait() -> None:
    rows = Rows({})
    assert rows.due_s(5.0) is None

    rows.add(0, 0, b"half", 5.0)

    assert pytest.approx(PATIENCE_S) == rows.due_s(5.0)
    assert 0.0 == rows.due_s(99.0)


def test_what_has_arrived_is_not_taken_again() -> None:
    rows = Rows({0: 4})

    rows.add(0, 0, b"one\ntwo\n", 0.0)
    rows.add(0, 4, b"two\nthree\n", 0.0)

    assert Row(0, 4, 14, "two\nthree\n") == rows.take(0.0)


def test_ranks_do_not_break_each_others_lines() -> None:
    rows = Rows({})

    rows.add(0, 0, b"a from ", 0.0)
    rows.add(1, 0, b"b whole\n", 0.0)
    rows.add(0, 7, b"zero\n", 0.1)

    assert ["a from zero\n", "b whole\n"] == taken(rows, 0.2)


def test_a_letter_is_never_cut() -> None:
    rows = Rows({})
    letters = "é" * 40
    rows.add(0, 0, letters.encode()[:-1], 0.0)

    first = taken(rows, PATIENCE_S)
    rows.add(0, 79, letters.encode()[-1:], 1.0)

    assert [letters[:-1], "é"] == [*first, *taken(rows, 9.0)]


def test_half_a_letter_at_the_very_end_is_replaced() -> None:
    rows = Rows({})

    rows.add(0, 0, b"end\xc3", 0.0)

    assert ["end\ufffd"] == taken(rows, 0.0, ended=True)


def test_a_line_without_end_goes_in_pieces() -> None:
    rows = Rows({})

    rows.add(0, 0, b"x" * (MOST_BYTES + 10), 0.0)

    assert [MOST_BYTES] == [len(each) for each in taken(rows, 0.0)]
    assert 10 == rows.held_bytes


def test_what_a_database_does_not_take_is_replaced() -> None:
    rows = Rows({})

    rows.add(0, 0, b"a\0b\xffc\n", 0.0)

    assert ["a\ufffdb\ufffdc\n"] == taken(rows, 0.0)


@given(st.lists(st.binary(max_size=30), max_size=20), st.text(max_size=50))
def test_nothing_is_lost_whatever_the_blocks_are(blocks: list[bytes], text: str) -> None:
    rows = Rows({})
    whole = b"".join(blocks) + text.encode()
    at = 0
    found: list[Row] = []
    for number, block in enumerate([*blocks, text.encode()]):
        rows.add(0, at, block, float(number))
        at += len(block)
        while (row := rows.take(float(number))) is not None:
            found.append(row)
    while (row := rows.take(99.0, ended=True)) is not None:
        found.append(row)

    assert [0, *(row.end for row in found)][:-1] == [row.start for row in found]
    assert len(whole) == (found[-1].end if found else 0)
    assert all(row.text for row in found)


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80))
def test_text_arrives_as_it_is_wherever_it_is_cut(text: str) -> None:
    rows = Rows({})
    found: list[str] = []
    for at, byte in enumerate(text.encode()):
        rows.add(0, at, bytes([byte]), float(at))
        found += taken(rows, float(at + 1))

    assert text == "".join([*found, *taken(rows, 999.0, ended=True)])


class Stuck(Client):
    """A server that takes a row, says nothing, and adds it only after somebody has looked at the log."""

    def __init__(self) -> None:
        super().__init__(Colony(host="127.0.0.1", port=1, private_key="1" * 64))
        self.rows = [LogRow("before\n", 1)]
        self.late: list[str] = []

    async def add_log(self, process_id: str, message: str) -> None:
        self.late.append(message)
        raise Unanswered("silence", reason="colony_silent")

    async def logs(self, process_id: str, since_ns: int = 0, count: int = 500) -> list[LogRow]:
        found = [row for row in self.rows if row.time_ns > since_ns]
        self.rows += [LogRow(text, len(self.rows) + 1) for text in self.late]
        self.late = []
        return found


async def test_a_row_that_arrives_late_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SETTLE_S", 0.01)
    client = Stuck()
    errand = Errand("ab", {}, rows=1)
    shipper = Shipper(client, errand, lambda: None, Holding(client, "ab", lambda: 1.0))

    await shipper.ship(Row(0, 0, 5, "late\n"))

    assert ["before\n", "late\n"] == [row.message for row in client.rows]
    assert ({0: 5}, None) == (errand.offsets, errand.sending)
