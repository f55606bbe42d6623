"""What the supervisor of a node has written down, line by line: read as it grows, and believed with care.

``began`` · ``init`` when init-cmd begins, ``ran`` when the ranks do · ``rank R STATUS`` when one has ended,
in the words of its shell · ``ending WHY`` when the others are ended for that · ``no program``, ``no mode`` or
``no folder`` where nothing could be started · ``init failed`` · ``usage SOURCE PEAK OOMS CPU``, in bytes and
microseconds · ``again`` when a second pod came for the same node · ``done`` last.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

_CODE = re.compile(r"(?:Done|Exit|wait)\s*\(?([0-9]{1,3})\b")
_COUNT = re.compile(r"[0-9]{1,9}")
_MEASURE = re.compile(r"[0-9]{1,15}")
"""Ranks could write here as well: no number is so large that nobody can tell it any more."""
_SOURCES = ("cgroup-v1", "cgroup-v2")
_NAMES = {signal.strsignal(number) or "": number for number in signal.valid_signals()} | {
    # As musl and busybox have them, where that is other than glibc's.
    "Arithmetic exception": signal.SIGFPE,
    "Trace trap": signal.SIGTRAP,
    "Stack fault": 16,
    "Polling": signal.SIGIO,
}
_BY_NAME: Mapping[str, int] = {name.lower(): int(number) for name, number in _NAMES.items() if name}


@dataclass(frozen=True, slots=True)
class RankEnd:
    """How a rank has ended."""

    rank: int
    exit_code: int = 0
    signal: int = 0
    words: str = ""
    asked: bool = False
    """It had been told to end before."""

    @property
    def well(self) -> bool:
        """With 0."""
        return not (self.exit_code or self.signal)


@dataclass(slots=True)
class Journal:
    """That of one node."""

    began: bool = False
    running: bool = False
    """Something of the run has begun: init-cmd, or the ranks."""
    initialising: bool = False
    ranks: list[RankEnd] = field(default_factory=list[RankEnd])
    ending: str = ""
    refused: str = ""
    """Why nothing was started."""
    again: bool = False
    source: str = ""
    peak_bytes: int = 0
    ooms: int = 0
    cpu_us: int = 0
    done: bool = False
    offset: int = 0
    """So much of it was read."""
    _rest: bytes = b""

    def feed(self, data: bytes) -> bool:
        """Take what was added; whether that tells anything."""
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace").split())
        return bool(lines)

    @property
    def failed(self) -> bool:
        """Its ranks have ended, or end, and not well: those of other nodes are to end as well."""
        return bool(self.ending or self.refused or any(not each.well for each in self.ranks))

    @property
    def first_failed(self) -> RankEnd | None:
        """The rank that failed by itself."""
        return next((each for each in self.ranks if not each.well and not each.asked), None)

    def _take(self, words: list[str]) -> None:
        if self.done or not words:
            return
        match words:
            case ["began"]:
                self.began = True
            case ["init"] | ["ran"]:
                self.running, self.initialising = True, words[0] == "init"
            case ["rank", rank, *status] if _COUNT.fullmatch(rank):
                self.ranks.append(rank_end(int(rank), " ".join(status), asked=bool(self._told)))
            case ["ending", why]:
                self.ending = self.ending or why
            case ["no", what]:
                self.refused = self.refused or what
            case ["usage", source, *numbers] if len(numbers) == 3 and all(map(_MEASURE.fullmatch, numbers)):
                self.source = source if source in _SOURCES else ""
                self.peak_bytes, self.ooms, self.cpu_us = map(int, numbers)
            case ["again"]:
                self.again = True
            case ["done"]:
                self.done = True
            case _:
                # Half a line that a full disk left, or of a later version.
                pass

    @property
    def _told(self) -> bool:
        # With `rank` one of them had failed by then, and the first is the one that counts.
        return bool(self.ending)


def rank_end(rank: int, words: str, *, asked: bool) -> RankEnd:
    """What a shell's word on a process that has ended means."""
    if words == "Done":
        return RankEnd(rank, asked=asked)
    if found := _CODE.match(words):
        code = int(found[1])
        if words.startswith("wait") and 128 < code < 128 + signal.NSIG:
            # The one shell that says so lists exit codes, and not signals.
            return RankEnd(rank, code, code - 128, words, asked)
        return RankEnd(rank, code, 0, words, asked)
    number = _BY_NAME.get(words.partition("(core dumped)")[0].strip().lower(), 0)
    return RankEnd(rank, 128 + number if number else 1, number, words, asked)
