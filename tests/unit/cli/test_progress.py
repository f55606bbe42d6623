"""The bar of a long transfer."""

from __future__ import annotations

import io

import pytest

from pollinator.cli.progress import PATIENCE_S, StepBar, TransferBar, bar_text, steps_text
from pollinator.cli.terminal import Terminal
from pollinator.v1.project_pb2 import StoreProgress

MIB = 1 << 20


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time goes on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A bar on a terminal in memory."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.clock = Clock()
        self.terminal = Terminal(io.StringIO(), self.screen, {})
        self.bar = TransferBar(self.terminal, self.clock)

    def move(self, done: int, after_s: float = 0.5, label: str = "Uploading") -> str:
        """Some time later so much is done; returns what is drawn then."""
        self.clock.now += after_s
        self.terminal.clear_bar()
        before = len(self.screen.getvalue())
        self.bar.move(label, done, 100 * MIB)
        return self.screen.getvalue()[before:].removeprefix("\r\x1b[K")


def test_nothing_is_drawn_for_what_is_over_within_a_second() -> None:
    bench = Bench()
    bench.move(0)

    assert bench.move(99 * MIB, PATIENCE_S - 0.1) == ""


def test_the_rate_is_that_of_the_last_seconds() -> None:
    bench = Bench()
    bench.move(0)
    for step in range(10):
        bench.move(step * 5 * MIB)
    drawn = bench.move(50 * MIB, 0.5)

    assert "10.0 MiB/s" in drawn
    assert "5s left" in drawn
    assert " 50%" in drawn


def test_another_transfer_waits_for_its_own_second() -> None:
    bench = Bench()
    bench.move(0)

    assert bench.move(1 * MIB, 2)
    assert bench.move(2 * MIB, 1, "Fetching results") == ""


def test_no_bar_goes_into_a_pipe() -> None:
    pipe = io.StringIO()
    clock = Clock()
    bar = TransferBar(Terminal(io.StringIO(), pipe, {}), clock)
    for _ in range(5):
        clock.now += 1
        bar.move("Uploading", 1, 2)

    assert pipe.getvalue() == ""


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (100, "Uploading  [#######.......................]  25%  25.0 MiB of 100.0 MiB  5.0 MiB/s  15s left"),
        (79, "Uploading  [####.............]  25%  25.0 MiB of 100.0 MiB  5.0 MiB/s  15s left"),
        (60, "Uploading  [#####................]  25%  5.0 MiB/s  15s left"),
        (45, "Uploading  25%  5.0 MiB/s  15s left"),
        (39, "Uploading  25%  5.0 MiB/s  15s left"),
        (30, "Uploading  25%  15s left"),
        (15, "Uploading  25%"),
        (5, "25%"),
        (2, ""),
    ],
)
def test_a_narrow_terminal_gets_what_fits(width: int, expected: str) -> None:
    assert expected == bar_text("Uploading", 25 * MIB, 100 * MIB, 5 * MIB, width)


def test_what_is_not_known_is_not_guessed() -> None:
    assert bar_text("Storing results", 3 * MIB, 0, MIB, 79) == "Storing results  3.0 MiB  1.0 MiB/s"
    assert bar_text("Uploading", 0, MIB, 0.0, 79).endswith("0 B/s  ? left")
    assert bar_text("Uploading", MIB, MIB, 0.0, 79).endswith("0 B/s")


def test_steps_are_drawn_once_they_take_more_than_a_second() -> None:
    bench = Bench()
    bar = StepBar(bench.terminal, bench.clock)
    bar.show(StoreProgress(doing="reading packs", done=1, total=38))
    early = bench.screen.getvalue()
    bench.clock.now += PATIENCE_S
    bar.show(StoreProgress(doing="reading packs", done=19, total=38))

    assert "" == early
    assert "Reading packs  [###############...............]  19 of 38" in bench.screen.getvalue()


@pytest.mark.parametrize(
    ("width", "text"),
    [(79, "Copying  [##############################]  4 of 4"), (20, "Copying  4 of 4"), (5, "Copyi")],
)
def test_steps_fit_into_the_width(width: int, text: str) -> None:
    assert text == steps_text("copying", 4, 4, width)


def test_nearly_all_is_not_all() -> None:
    assert " 99% " in bar_text("Uploading", 999, 1000, 1.0, 79)
    assert " 100% " in bar_text("Uploading", 1000, 1000, 1.0, 79)
