"""What to do next when something was saved, a key was pressed, or a run has ended. No waiting here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pollinator.cli.words import count_text
from pollinator.wire.places import PROJECT_FILE

SPEC = PROJECT_FILE.encode()
SRC = b"cfs/src"
"""Paths from the project's folder on."""

SHOWN = 3
"""So many paths are named on one line."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run is wanted: what was saved, or a word."""

    paths: tuple[bytes, ...] = ()
    count: int = 0
    """Of all paths: not each is known by its name."""
    word: str = ""

    def __str__(self) -> str:
        if self.word or not self.count:
            return self.word
        named = [_shown(path) for path in self.paths[:SHOWN]]
        if more := self.count - len(named):
            named.append(f"{more} more" if named else count_text(more, "path"))
        return ", ".join(named[:-1]) + " and " * (len(named) > 1) + named[-1]


def joined(first: Cause | None, second: Cause) -> Cause:
    """Both of them; of two words the later."""
    if first is None:
        return second
    paths = tuple(sorted({*first.paths, *second.paths}))
    unnamed = sum(each.count - len(each.paths) for each in (first, second))
    return Cause(paths, len(paths) + unnamed, second.word or first.word)


def seen(paths: Sequence[bytes], *, data: bool) -> tuple[bytes, ...]:
    """Those paths for which a run is started: of ``data`` only if it is wished."""
    trees = (SRC, b"cfs/data") if data else (SRC,)
    return tuple(
        path
        for path in paths
        if path == SPEC or any(path == tree or path.startswith(tree + b"/") for tree in trees)
    )


def _shown(path: bytes) -> str:
    text = os.fsdecode(path)
    return text if text.isprintable() else ascii(text)


class Order(Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    BEGIN = "begin"
    CANCEL = "cancel"


class Plan:
    """One run at a time, the newest files first.

    Attributes:
        wanted: why a run is to be started as soon as none goes on; None when none is.
        going: a run is started, goes on or is ended.
        ending: it is to end before its time.
    """

    def __init__(self, *, keep: bool) -> None:
        """With ``keep``, a run that goes on is let to its end before the next one begins."""
        self._keep = keep
        self.wanted: Cause | None = None
        self.going = False
        self.ending = False

    def want(self, cause: Cause) -> Order:
        """A run of the files as they are now is wanted."""
        self.wanted = joined(self.wanted, cause)
        if not self.going:
            return Order.BEGIN
        return Order.NOTHING if self._keep else self._end()

    def cancel(self) -> Order:
        """The run that goes on is to end, and no other to follow."""
        self.wanted = None
        return self._end() if self.going else Order.NOTHING

    def begin(self) -> Cause:
        """What is wanted is being done."""
        cause, self.wanted, self.going = self.wanted or Cause(), None, True
        return cause

    def over(self) -> Order:
        """The run has ended, or could not be started."""
        self.going = self.ending = False
        return Order.BEGIN if self.wanted is not None else Order.NOTHING

    @property
    def superseded(self) -> bool:
        """The run that goes on is ended for a newer one."""
        return self.ending and self.wanted is not None

    def _end(self) -> Order:
        if self.ending:
            return Order.NOTHING
        self.ending = True
        return Order.CANCEL
