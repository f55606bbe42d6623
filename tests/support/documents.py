"""The documents of the repository as a test reads them: links, headings, code, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(pollinator [^`]+)`")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_BETWEEN = {"&&", "||", "|", ";", "$(", ")"}


@dataclass(frozen=True)
class Block:
    """A fenced piece of code."""

    language: str
    text: str


def documents() -> list[Path]:
    """All documents, as paths relative to the repository."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT) for path in found)


def text_of(document: str | Path) -> str:
    """What is written in it."""
    return (ROOT / document).read_text("utf-8")


def blocks(document: str | Path, language: str = "") -> list[Block]:
    """Its fenced code, all or that of one language."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(text_of(document))]
    return [block for block in found if language in ("", block.language)]


def links(document: Path) -> list[str]:
    """Targets of its links that are not in code."""
    return _LINK.findall(_FENCE.sub("", text_of(document)))


def anchors(document: Path) -> set[str]:
    """What a link may name behind a ``#``, as GitHub makes it of headings."""
    prose = _FENCE.sub("", text_of(document))
    return {_anchor(heading) for heading in _HEADING.findall(prose)}


def sections(document: str, level: str) -> dict[str, str]:
    """Text below each heading of a level, without the marks of code in the heading."""
    parts = re.split(rf"^{level} +(.+)$", text_of(document), flags=re.MULTILINE)[1:]
    ends = re.compile(r"^#{1," + str(len(level)) + r"} ", re.MULTILINE)
    return {
        heading.strip("`"): ends.split(body)[0] for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def rows(text: str) -> list[list[str]]:
    """Cells of all tables, without headers and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def typed_commands(document: Path) -> Iterator[list[str]]:
    """Words of each ``pollinator ...`` that the document says to type."""
    for block in blocks(document):
        for line in block.text.splitlines():
            if block.language == "console" and line.startswith("$ "):
                yield from _commands(line.removeprefix("$ "))
            elif block.language == "sh":
                yield from _commands(line)
    for command in _INLINE.findall(_FENCE.sub("", text_of(document))):
        yield from _commands(command)


def _commands(line: str) -> Iterator[list[str]]:
    words = shlex.split(line.replace("$(", " $( ").replace(")", " ) "), comments=True)
    command: list[str] = []
    for word in [*words, ";"]:
        if word in _BETWEEN or word.startswith((">", "<")):
            if "pollinator" in command:
                yield command[command.index("pollinator") + 1 :]
            command = []
        else:
            command.append(word)


def _anchor(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
