"""The output of several ranks on one stream: raw bytes, or whole lines with the rank before each."""

from __future__ import annotations

from collections.abc import Callable

from pollinator.cli.terminal import RESET

_COLOURS = ("\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[31m")
_LONGEST_LINE_BYTES = 1 << 20
"""A rank that prints no newline for so long gets one."""


class RawOutput:
    """Bytes as they come."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def add(self, rank: int, data: bytes) -> None:
        """Pass a block on."""
        self._write(data)

    def finish(self) -> None:
        """Nothing is ever held back."""


class LabelledOutput:
    """Whole lines, each after ``[rank] ``. The line a rank has not ended yet waits until it has."""

    def __init__(self, write: Callable[[bytes], None], ranks: int, colour: bool) -> None:
        self._write = write
        self._width = len(str(max(0, ranks - 1)))
        self._colour = colour
        self._begun: dict[int, bytes] = {}

    def add(self, rank: int, data: bytes) -> None:
        """Pass on the lines that a block completes."""
        text = self._begun.pop(rank, b"") + data
        lines = text.split(b"\n")
        rest = lines.pop()
        if len(rest) > _LONGEST_LINE_BYTES:
            lines.append(rest)
            rest = b""
        if rest:
            self._begun[rank] = rest
        if lines:
            label = self._label(rank)
            self._write(b"".join(label + line + b"\n" for line in lines))

    def finish(self) -> None:
        """Pass on last lines without a newline."""
        for rank, rest in sorted(self._begun.items()):
            self._write(self._label(rank) + rest + b"\n")
        self._begun.clear()

    def _label(self, rank: int) -> bytes:
        label = f"[{rank:>{self._width}}] "
        if self._colour:
            label = f"{_COLOURS[rank % len(_COLOURS)]}{label}{RESET}"
        return label.encode()
