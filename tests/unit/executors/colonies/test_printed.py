"""What a process prints: each row once, in order, whatever comes together and whatever is killed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from pollinator.executors.colonies import printed as under_test
from pollinator.executors.colonies.ends import Piece
from pollinator.executors.colonies.messages import LogRow
from pollinator.executors.colonies.printed import Printed, add_rest
from pollinator.executors.colonies.rows import row_of

MOST = 5
"""A server for tests gives no more at once."""


class Log:
    """A log as the server keeps it: rows of one moment come in any order."""

    def __init__(self, *rows: tuple[int, str]) -> None:
        self.rows = [LogRow(message, time_ns) for time_ns, message in rows]

    def after(self, since_ns: int) -> Sequence[LogRow]:
        found = [row for row in self.rows if row.time_ns > since_ns]
        random.shuffle(found)
        return sorted(found, key=lambda row: row.time_ns)[:MOST]


def printed(folder: Path) -> Printed:
    return Printed(folder / "output", folder / "log.json")


def read(folder: Path, log: Log, one: Printed | None = None) -> str:
    """Take all there is; what the file holds then."""
    one = one or printed(folder)
    for _ in range(100):
        since_ns = one.since_ns
        rows = log.after(since_ns)
        one.add(rows, full=len(rows) == MOST)
        if len(rows) < MOST or one.since_ns == since_ns:
            break
    return (folder / "output" / "0").read_text("utf-8")


def test_rows_become_a_file_as_they_are(tmp_path: Path) -> None:
    assert "one\ntwo, three" == read(tmp_path, Log((5, "one\n"), (6, "two, "), (7, "three")))


def test_more_rows_than_come_at_once_are_all_there(tmp_path: Path) -> None:
    log = Log(*[(moment, f"{moment}\n") for moment in range(1, 100)])

    assert "".join(f"{moment}\n" for moment in range(1, 100)) == read(tmp_path, log)


def test_rows_of_one_moment_are_all_there_wherever_a_page_ends(tmp_path: Path) -> None:
    log = Log(*[(1 + number // 3, f"{number} ") for number in range(40)])

    assert sorted(map(str, range(40))) == sorted(read(tmp_path, log).split())


def test_a_row_that_comes_later_with_the_time_of_the_last_is_not_lost(tmp_path: Path) -> None:
    log = Log((5, "a\n"))
    one = printed(tmp_path)
    read(tmp_path, log, one)
    log.rows.append(LogRow("b\n", 5))

    assert "a\nb\n" == read(tmp_path, log, one)


def test_rows_that_are_alike_are_all_there(tmp_path: Path) -> None:
    log = Log((5, "x"), (5, "x"))
    one = printed(tmp_path)
    read(tmp_path, log, one)
    log.rows += [LogRow("x", 5), LogRow("x", 6)]

    assert "xxxx" == read(tmp_path, log, one)


def test_more_rows_of_one_moment_than_a_server_gives_do_not_hold_up_what_follows(tmp_path: Path) -> None:
    log = Log(*[(5, "x")] * (2 * MOST), (6, "after"))

    assert read(tmp_path, log).endswith("xafter")


def test_nothing_is_written_twice_after_a_restart(tmp_path: Path) -> None:
    log = Log((5, "a\n"), (5, "b\n"), (6, "c\n"))
    before = read(tmp_path, log)
    log.rows.append(LogRow("d\n", 6))

    assert f"{before}d\n" == read(tmp_path, log)


def test_what_a_kill_left_beyond_the_mark_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log((5, "a\n"))
    read(tmp_path, log)
    log.rows += [LogRow("b\n", 6), LogRow("c\n", 7)]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(under_test, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path, log)

    assert "a\nb\nc\n" == (tmp_path / "output" / "0").read_text()
    log.rows.append(LogRow("d\n", 8))
    assert "a\nb\nc\nd\n" == read(tmp_path, log)


def test_half_of_a_row_is_finished_after_a_kill(tmp_path: Path) -> None:
    log = Log((5, "a\n"))
    read(tmp_path, log)
    with (tmp_path / "output" / "0").open("a") as file:
        file.write("lon")
    log.rows += [LogRow("long\n", 6), LogRow("next\n", 7)]

    assert "a\nlong\nnext\n" == read(tmp_path, log)


def test_what_a_power_cut_took_is_asked_for_again(tmp_path: Path) -> None:
    log = Log((5, "a\n"), (6, "b\n"))
    read(tmp_path, log)
    (tmp_path / "output" / "0").write_text("a")

    assert "a\nb\n" == read(tmp_path, log)


def test_a_disk_that_was_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log((5, "a\n"))
    one = printed(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(under_test, "write_json", full)
        with pytest.raises(OSError, match="No space left"):
            read(tmp_path, log, one)
    log.rows.append(LogRow("b\n", 6))

    assert "a\nb\n" == read(tmp_path, log, one)


def test_text_that_is_none_is_replaced(tmp_path: Path) -> None:
    assert "?é" == read(tmp_path, Log((5, "\ud800é")))


def test_each_rank_has_its_own_file(tmp_path: Path) -> None:
    log = Log((5, row_of(0, b"a\n")), (6, row_of(2, b"\xff\0")), (7, row_of(0, b"b\n")), (8, row_of(2, b"c")))

    assert "a\nb\n" == read(tmp_path, log)
    assert b"\xff\0c" == (tmp_path / "output" / "2").read_bytes()


def test_it_says_whether_there_was_anything(tmp_path: Path) -> None:
    one = printed(tmp_path)
    before = one.anything
    read(tmp_path, Log((5, "x")), one)

    assert (False, True) == (before, one.anything)
    assert not one.add([LogRow("x", 5)], full=False)
    assert one.add([LogRow("y", 5)], full=False)


def test_what_came_into_no_log_is_added_where_it_belongs_and_once(tmp_path: Path) -> None:
    read(tmp_path, Log((5, "one\ntwo\n")))
    rest = {0: Piece(4, b"two\nthree\n"), 2: Piece(0, b"\xff")}
    for _ in range(2):
        add_rest(tmp_path / "output", rest)

    assert b"one\ntwo\nthree\n" == (tmp_path / "output" / "0").read_bytes()
    assert b"\xff" == (tmp_path / "output" / "2").read_bytes()
