"""Colour and bars on terminals only, and what users' variables say about that."""

from __future__ import annotations

import io

import pytest

from pollinator.cli.terminal import Terminal, bars_wanted, clipped, colour_wanted


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("is_terminal", "environ", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"CLICOLOR": "0"}, False),
        (False, {"CLICOLOR_FORCE": "1"}, True),
        (False, {"CLICOLOR_FORCE": "0"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
    ],
)
def test_colour_follows_the_terminal_and_the_users_variables(
    is_terminal: bool, environ: dict[str, str], expected: bool
) -> None:
    assert colour_wanted(is_terminal, environ) is expected


def test_bars_are_for_terminals_that_can_erase() -> None:
    assert bars_wanted(True, {"TERM": "xterm", "NO_COLOR": "1"})
    assert not bars_wanted(True, {"TERM": "dumb"})
    assert not bars_wanted(True, {"TERM": "xterm", "CI": "true"})
    assert bars_wanted(True, {"TERM": "xterm", "CI": "false"})
    assert not bars_wanted(False, {"CLICOLOR_FORCE": "1"})


def test_data_and_messages_are_kept_apart() -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, {})

    terminal.print("data")
    terminal.say("Process submitted", ProcessID="abc")

    assert out.getvalue() == "data\n"
    assert err.getvalue() == "Process submitted  ProcessID=abc\n"


def test_a_bar_is_never_drawn_into_a_file() -> None:
    err = io.StringIO()

    Terminal(io.StringIO(), err, {}).bar("Uploading   50%")

    assert err.getvalue() == ""


def test_lines_are_drawn_again_in_their_place_and_none_wraps() -> None:
    out = Screen()
    terminal = Terminal(out, io.StringIO(), {})

    terminal.redraw(["one", "x" * 200])
    terminal.redraw(["two"])

    first = f"one\x1b[K\n{'x' * 76}...\x1b[K\n\x1b[J"
    assert f"{first}\x1b[2Atwo\x1b[K\n\x1b[J" == out.getvalue()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("short", "short"),
        ("0123456789", "0123456789"),
        ("0123456789a", "0123456..."),
        ("\x1b[31m0123456789\x1b[0m", "\x1b[31m0123456789\x1b[0m"),
        ("\x1b[31m0123456789a\x1b[0m", "0123456..."),
    ],
)
def test_a_line_is_cut_where_the_screen_ends_colours_not_counted(line: str, expected: str) -> None:
    assert expected == clipped(line, 10)


def test_a_message_erases_the_bar_first() -> None:
    err = Screen()
    terminal = Terminal(io.StringIO(), err, {"NO_COLOR": "1"})

    terminal.bar("Uploading   50%")
    terminal.say("next")

    assert err.getvalue() == "\r\x1b[KUploading   50%\r\x1b[Knext\n"
