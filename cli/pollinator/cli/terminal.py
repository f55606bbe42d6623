"""What goes where and how it looks: data on stdout, messages on stderr, colour and bars on terminals only."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

RESET = "\x1b[0m"
BOLD = "\x1b[1m"
DIM = "\x1b[2m"
RED = "\x1b[31m"
GREEN = "\x1b[32m"
YELLOW = "\x1b[33m"
CYAN = "\x1b[36m"
USUAL_WIDTH = 80
USUAL_HEIGHT = 24
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERASE_LINE = "\r\x1b[K"


def colour_wanted(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Colour is for terminals, unless the user's variables say otherwise."""
    if environ.get("NO_COLOR"):
        return False
    for name in ("CLICOLOR_FORCE", "FORCE_COLOR"):
        if environ.get(name, "0") not in ("", "0"):
            return True
    return is_terminal and environ.get("TERM") != "dumb" and environ.get("CLICOLOR") != "0"


def bars_wanted(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Moving lines are for terminals that can erase one, and that a person looks at."""
    return is_terminal and environ.get("TERM") != "dumb" and environ.get("CI", "") in ("", "0", "false")


def painted(text: str, colour: str, wanted: bool) -> str:
    """``text`` in ``colour``, if colour is wanted."""
    return f"{colour}{text}{RESET}" if wanted and text else text


def clipped(line: str, width: int) -> str:
    """As much of a line as fits, colours not counted."""
    if len(_COLOUR.sub("", line)) <= width:
        return line
    plain = _COLOUR.sub("", line)
    return f"{plain[: max(0, width - 3)]}..."


class Terminal:
    """The two streams of this process.

    Messages may come while a progress bar is drawn: it is erased first and comes back with its next step.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        environ = os.environ if environ is None else environ
        self.colour_out = colour_wanted(self._out.isatty(), environ)
        self.colour_err = colour_wanted(self._err.isatty(), environ)
        self.read_by_people = self._out.isatty()
        self.bars = bars_wanted(self._err.isatty(), environ)
        self._bar = ""
        self._bar_drawn_at = 0.0
        self._drawn = 0

    def print(self, text: str) -> None:
        """A line of data."""
        self.clear_bar()
        self.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def write(self, data: bytes) -> None:
        """Bytes of data as they are, at once."""
        self.clear_bar()
        self._out.flush()
        buffer = getattr(self._out, "buffer", None)
        if buffer is None:
            self._out.write(data.decode("utf-8", "replace"))
            self._out.flush()
            return
        buffer.write(data)
        buffer.flush()

    def say(self, text: str, **fields: str) -> None:
        """A message, with fields as ``message  Key=Value``."""
        self.clear_bar()
        line = text + "".join(
            f"  {painted(key, DIM, self.colour_err)}={value}" for key, value in fields.items()
        )
        self._err.write(line + "\n")
        self._err.flush()

    def warn(self, text: str) -> None:
        """Something to look at."""
        self.say(f"{painted('Warning:', YELLOW, self.colour_err)} {text}")

    def fail(self, text: str) -> None:
        """What went wrong."""
        self.say(f"{painted('Error:', RED, self.colour_err)} {text}")

    def hint(self, text: str) -> None:
        """What to do about it."""
        self.say(f"{painted('Hint:', CYAN, self.colour_err)} {text}")

    def redraw(self, lines: Sequence[str]) -> None:
        """Show these lines in place of those that were drawn before; for people at a terminal only."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((USUAL_WIDTH, USUAL_HEIGHT))
        # A line that wraps, or more lines than the screen has, could not be taken back.
        fitting = [clipped(line, size.columns - 1) for line in lines[: size.lines - 1]]
        back = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._drawn = len(fitting)
        body = "".join(f"{line}\x1b[K\n" for line in fitting)
        self.write(f"{back}{body}\x1b[J".encode("utf-8", "surrogateescape"))

    @property
    def width(self) -> int:
        """Columns of the terminal that messages go to."""
        try:
            return os.get_terminal_size(self._err.fileno()).columns or USUAL_WIDTH
        except (OSError, ValueError):
            return USUAL_WIDTH

    def bar(self, text: str) -> None:
        """Draw one line that moves, or move it; nothing where such lines are not wanted."""
        now = time.monotonic()
        if not self.bars or not text or (self._bar and now - self._bar_drawn_at < 0.1):
            return
        self._bar = text
        self._bar_drawn_at = now
        self._err.write(_ERASE_LINE + text)
        self._err.flush()

    def clear_bar(self) -> None:
        """Erase the progress bar, if one is drawn."""
        if self._bar:
            self._bar = ""
            self._err.write(_ERASE_LINE)
            self._err.flush()
