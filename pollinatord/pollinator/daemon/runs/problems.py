"""What programs print when they fail, by language: the places they name and what they say about them.

``ListProblems`` goes by this table of patterns. Only text is read here; where a path leads is asked of the
caller, and what leads nowhere in the sources is left out: so a line of a log that looks like a place is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

LINES = 20_000
"""Of more lines the last so many are looked at."""

LINE_CHARACTERS = 2000
"""Of a longer line no more is looked at."""

MESSAGE_CHARACTERS = 500

_Locate = Callable[[str], str | None]
_COLOUR = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Colours and the like, and titles of windows."""

_FILE = r"(?P<path>[^\s:\"'()<>|]+\.[A-Za-z]\w{0,5})"

# Addresses and processes differ from rank to rank, and what is wrong does not.
_SANITIZER = re.compile(
    r"^(?:==\d+==\s*ERROR|WARNING): (?P<message>\w+Sanitizer: .+?)(?: on (?:unknown )?address .*| \(pid=.*)?$"
)


class Weight(IntEnum):
    """How near a place is to why a run failed."""

    CRASH = 0
    """A program ended there."""
    ERROR = 1
    """A compiler or a test refuses it."""
    CALLER = 2
    """It led to where a program ended."""
    WARNING = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One place. Lines and columns begin with 1; 0 stands for none."""

    path: str
    line: int
    column: int
    weight: Weight
    code: str
    message: str
    number: int = 0
    """Of the line of output that says so."""


def find_places(text: str, locate: _Locate) -> list[Place]:
    """The places that an output names, the one that matters most first.

    Args:
        text: what a rank printed.
        locate: the path of a file of the sources as the caller names it; None for any other file.
    """
    readers: tuple[_Reader, ...] = (
        _Traceback(locate), _Stack(locate), _Arrow(locate), _Panic(locate), _Heading(locate), _Line(locate),
    )  # fmt: skip
    found: list[Place] = []
    number = 0
    for number, raw in enumerate(text.split("\n")[-LINES:]):
        # A bar that was drawn over before the line came is not part of it.
        line = _COLOUR.sub("", raw[:LINE_CHARACTERS]).rstrip("\r").rpartition("\r")[2]
        for reader in readers:
            found += (replace(each, number=number) for each in reader.take(line))
    for reader in readers:
        found += (replace(each, number=number) for each in reader.end())
    return sorted(found, key=_order)


def _order(place: Place) -> tuple[int, int]:
    # What ends a program comes last in its output; of a compiler's errors the first leads to the others.
    return place.weight, -place.number if place.weight == Weight.CRASH else place.number


class _Reader(Protocol):
    """Looks at one line after the other."""

    def take(self, line: str) -> Iterator[Place]:
        """The next line; the places that are complete with it."""
        ...

    def end(self) -> Iterator[Place]:
        """No further line comes."""
        ...


class _Located:
    def __init__(self, locate: _Locate) -> None:
        self._locate = locate

    def end(self) -> Iterator[Place]:
        yield from ()

    def _place(self, found: re.Match[str], weight: Weight, code: str, message: str) -> Iterator[Place]:
        """The place that a match names, if it is in the sources."""
        groups = found.groupdict()
        path = self._locate(groups["path"])
        if path is not None:
            line, column = _number(groups["line"]), _number(groups.get("column"))
            yield Place(path, line, column, weight, code, _plain(message)[:MESSAGE_CHARACTERS])


def _plain(text: str) -> str:
    """Without what would do something to a terminal that shows it."""
    return "".join(character for character in text if character.isprintable() or character == "\t").strip()


def _number(digits: str | None) -> int:
    return int(digits) if digits and len(digits) < 9 else 0


class _Frames(_Located):
    """Calls, of which the one where the program ended is an error and the others led to it."""

    def _frames(self, frames: Iterable[re.Match[str]], code: str, message: str) -> Iterator[Place]:
        weight = Weight.CRASH
        for frame in frames:
            for place in self._place(frame, weight, code, message):
                yield place
                if weight == Weight.CRASH:
                    weight, message = Weight.CALLER, f"led to {message}"


class _Traceback(_Frames):
    """Python: the innermost call last, then the exception."""

    _MARGIN = re.compile(r"^(?:\[[^\]]{1,40}\]:? ?)?(?:\s*[|+] ?)?")
    """Of ranks that say who they are, and of groups of exceptions."""
    _FRAME = re.compile(r'^\s+File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in .*)?$')
    _END = re.compile(r"^(?P<code>[A-Za-z_][\w.]*)(?:: .*)?$")

    def __init__(self, locate: _Locate) -> None:
        super().__init__(locate)
        self._seen: list[re.Match[str]] = []

    def take(self, line: str) -> Iterator[Place]:
        line = self._MARGIN.sub("", line, count=1)
        if found := self._FRAME.match(line):
            self._seen.append(found)
        elif self._seen and not line.startswith((" ", "\t")):
            if end := self._END.match(line):
                yield from self._frames(reversed(self._seen), end["code"].rpartition(".")[2], line)
            self._seen.clear()


class _Stack(_Frames):
    """Go, the sanitizers of C and C++, and Python when it is killed: a heading, then the innermost call."""

    _HEADINGS = (
        ("panic", re.compile(r"^(?P<message>panic: .+)$")),
        ("fatal_error", re.compile(r"^(?P<message>fatal error: .+)$")),
        ("sanitizer", _SANITIZER),
        ("fatal_error", re.compile(r"^(?P<message>Fatal Python error: .+)$")),
    )
    _FRAMES = (
        re.compile(rf"^\t{_FILE}:(?P<line>\d+)(?: \+0x[0-9a-f]+)?$"),
        re.compile(
            rf"^\s+#\d+ (?:0x[0-9a-f]+ in )?.*? {_FILE}:(?P<line>\d+)(?::(?P<column>\d+))?(?: \(.*\))?$"
        ),
        re.compile(r'^\s+File "(?P<path>[^"]+)", line (?P<line>\d+) in .*$'),
    )

    def __init__(self, locate: _Locate) -> None:
        super().__init__(locate)
        self._heading: tuple[str, str] | None = None
        self._seen: list[re.Match[str]] = []

    def take(self, line: str) -> Iterator[Place]:
        for code, pattern in self._HEADINGS:
            if found := pattern.match(line):
                yield from self.end()
                self._heading = code, found["message"]
                return
        if self._heading is None:
            return
        if frame := next(filter(None, (pattern.match(line) for pattern in self._FRAMES)), None):
            self._seen.append(frame)
        elif self._seen and not line.strip():
            yield from self.end()

    def end(self) -> Iterator[Place]:
        if self._heading is not None:
            yield from self._frames(self._seen, *self._heading)
        self._heading = None
        self._seen.clear()


class _Arrow(_Located):
    """The Rust compiler: what is wrong, then an arrow to where."""

    _HEAD = re.compile(r"^(?P<kind>error|warning)(?:\[(?P<code>\w+)\])?: (?P<message>.+)$")
    _ARROW = re.compile(rf"^\s*--> {_FILE}:(?P<line>\d+):(?P<column>\d+)$")
    _head: re.Match[str] | None = None

    def take(self, line: str) -> Iterator[Place]:
        if head := self._HEAD.match(line):
            self._head = head
        elif self._head is not None and (arrow := self._ARROW.match(line)):
            head, self._head = self._head, None
            weight = Weight.ERROR if head["kind"] == "error" else Weight.WARNING
            yield from self._place(arrow, weight, head["code"] or head["kind"], head["message"])


class _Panic(_Located):
    """A Rust program: where it panicked, then why; older ones say why first."""

    _AT = re.compile(
        rf"^\s*thread '.*' (?:\(\d+\) )?panicked at (?:'(?P<message>.*)', )?"
        rf"{_FILE}:(?P<line>\d+):(?P<column>\d+):?$"
    )
    _at: re.Match[str] | None = None

    def take(self, line: str) -> Iterator[Place]:
        if self._at is not None:
            at, self._at = self._at, None
            yield from self._place(at, Weight.CRASH, "panic", f"panicked: {line}")
        elif found := self._AT.match(line):
            if found["message"] is None:
                self._at = found
            else:
                yield from self._place(found, Weight.CRASH, "panic", f"panicked: {found['message']}")

    def end(self) -> Iterator[Place]:
        if self._at is not None:
            yield from self._place(self._at, Weight.CRASH, "panic", "panicked")
        self._at = None


class _Heading(_Located):
    """Fortran: where, then the line itself, then what is wrong."""

    _WHERE = re.compile(rf"^{_FILE}:(?P<line>\d+):(?P<column>\d+):$")
    _WHAT = re.compile(r"^(?P<kind>Error|Fatal Error|Warning): (?P<message>.+)$")
    _where: re.Match[str] | None = None

    def take(self, line: str) -> Iterator[Place]:
        if where := self._WHERE.match(line):
            self._where = where
        elif self._where is not None and (what := self._WHAT.match(line)):
            where, self._where = self._where, None
            weight = Weight.WARNING if what["kind"] == "Warning" else Weight.ERROR
            yield from self._place(where, weight, what["kind"].lower().replace(" ", "_"), what["message"])


class _Line(_Located):
    """All that is said in one line."""

    _AT = rf"{_FILE}:(?P<line>\d+)(?::(?P<column>\d+))?:"
    _TABLE: tuple[tuple[Weight, str, re.Pattern[str]], ...] = (
        # gcc, clang and whatever speaks as they do. A run that goes on at run time says so.
        (Weight.CRASH, "runtime_error", re.compile(rf"^{_AT} (?P<message>runtime error: .+)$")),
        (Weight.ERROR, "error", re.compile(rf"^{_AT} (?:fatal )?error: (?P<message>.+)$")),
        (Weight.WARNING, "warning", re.compile(rf"^{_AT} warning: (?P<message>.+)$")),
        # The CUDA compiler.
        (Weight.ERROR, "error", re.compile(rf"^{_FILE}\((?P<line>\d+)\): error: (?P<message>.+)$")),
        # The linker.
        (
            Weight.ERROR,
            "link",
            re.compile(
                rf"^(?:\S*ld: )?{_AT} (?P<message>(?:undefined reference to|multiple definition of) .+)$"
            ),
        ),
        # assert() of C.
        (
            Weight.CRASH,
            "assert",
            re.compile(rf"^(?:[^\s:]+: )?{_FILE}:(?P<line>\d+): (?P<message>.*Assertion .+ failed\.?)$"),
        ),
        # The Go compiler and its tests, which have no word for it.
        (
            Weight.ERROR,
            "error",
            re.compile(
                r"^\s*(?:vet: )?(?P<path>[^\s:]+\.go):(?P<line>\d+):(?P<column>\d+): (?P<message>.+)$"
            ),
        ),
        (
            Weight.ERROR,
            "test",
            re.compile(r"^\s+(?P<path>[^\s:]+_test\.go):(?P<line>\d+): (?P<message>.+)$"),
        ),
        # Python's warnings, and where its tests failed.
        (Weight.WARNING, "", re.compile(rf"^\s*{_AT} (?P<message>(?P<code>\w+Warning): .+)$")),
        (Weight.ERROR, "", re.compile(rf"^{_AT} (?P<message>(?P<code>\w+(?:Error|Exception)))$")),
    )
    _FLAG = re.compile(r" \[(?P<flag>-W[\w=+-]+)\]$")

    def take(self, line: str) -> Iterator[Place]:
        # Most lines have no number behind a colon or bracket, and are not looked at any further.
        if not _NUMBERED.search(line):
            return
        for weight, code, pattern in self._TABLE:
            if found := pattern.match(line):
                flag = self._FLAG.search(line)
                word = flag["flag"] if flag else code or found["code"]
                yield from self._place(found, weight, word, found["message"])
                return


_NUMBERED = re.compile(r"\.\w{1,6}[:(]\d")
