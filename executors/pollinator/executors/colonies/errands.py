"""What is in hand of a colony, on disk: a file for each process, so that a kill at any moment loses nothing.

A file is written whole before what it announces is done. What it holds is small: how much of the output has
arrived, and the row that may be on its way.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pollinator.executors.records import write_private

VERSION = 1
_LONGEST = 64
_ID = re.compile(rf"[0-9A-Za-z]{{1,{_LONGEST}}}")
"""Ids become names of files."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A piece of what a rank printed, whole lines where there are any."""

    rank: int
    start: int
    """Offset of its first byte in all that the rank printed."""
    end: int
    text: str


@dataclass(slots=True)
class Errand:
    """One process."""

    process_id: str
    spec: Mapping[str, Any]
    """Its function spec."""
    user: str = ""
    """Who submitted it."""
    generation: int = 0
    """How many runs of it were given up here before."""
    offsets: dict[int, int] = field(default_factory=dict[int, int])
    """By rank: so much of its output has arrived."""
    sending: Row | None = None
    """May have arrived."""
    mark_ns: int = 0
    """Time of a row of the log..."""
    rows: int = 0
    """... after which so many were added here."""
    closed: bool = False
    """The server knows that it has ended."""

    @property
    def run_id(self) -> str:
        """Of the run. The same process is always the same run, unless that was given up."""
        mark = f"r{self.generation}" if self.generation else ""
        return f"{self.process_id[: _LONGEST - len(mark)]}{mark}"


def is_id(text: str) -> bool:
    """A file can be named so."""
    return _ID.fullmatch(text) is not None


class Errands:
    """All of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def all(self) -> list[Errand]:
        """Those that were in hand when the last one ended."""
        found = (self._load(path) for path in sorted(self._folder.glob("*.json")))
        return [each for each in found if each is not None]

    def keep(self, errand: Errand) -> None:
        """Write down how it is now."""
        body = json.dumps({"version": VERSION, **asdict(errand)}, ensure_ascii=False)
        write_private(self._path(errand), body.encode("utf-8", "surrogatepass"))

    def drop(self, errand: Errand) -> None:
        """It is done."""
        self._path(errand).unlink(missing_ok=True)

    def _path(self, errand: Errand) -> Path:
        return self._folder / f"{errand.process_id}.json"

    @staticmethod
    def _load(path: Path) -> Errand | None:
        try:
            told = json.loads(path.read_bytes())
            del told["version"]
            told["offsets"] = {int(rank): int(end) for rank, end in told["offsets"].items()}
            told["sending"] = Row(**told["sending"]) if told["sending"] else None
            return Errand(**told)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # Of no use, but no reason to serve no other process either: the colony gives it to us again.
            _log.error("%s cannot be read: %s", path, error)
            return None
