"""What changed in a project since it was opened, for those who do something at each save.

The engine's thread takes down what is not as it was, and closes an edit when there is nothing left to look at
or to read. Anybody may ask, at any time and without waiting. What a save leads to is the business of others.
"""

from __future__ import annotations

from dataclasses import dataclass

from pollinator.v1.project_pb2 import Edits as EditsMessage

MOST_PATHS = 100
"""So many paths of an edit are named; of the others is known how many there are."""

KEPT = 64
"""So many edits are remembered for whoever asks late."""


@dataclass(frozen=True, slots=True)
class _Edit:
    number: int
    paths: tuple[bytes, ...]
    count: int


class Edits:
    """Numbered from 1, which is how the files were at the first look.

    Attributes:
        number: of the newest one; 0 before the first look.
    """

    def __init__(self) -> None:
        self.number = 0
        self._changed: set[bytes] = set()
        self._more = 0
        # Replaced and never changed: others read it meanwhile.
        self._kept: tuple[_Edit, ...] = ()

    def note(self, path: bytes) -> None:
        """The path, named from the project's folder on, is not as it was."""
        if len(self._changed) < MOST_PATHS:
            self._changed.add(path)
        elif path not in self._changed:
            self._more += 1

    def settle(self) -> None:
        """All that changed has been looked at and read."""
        changed, more, self._more = self._changed, self._more, 0
        if self.number == 0:
            self._changed = set()
            self.number = 1
        elif changed:
            self._changed = set()
            edit = _Edit(self.number + 1, tuple(sorted(changed)), len(changed) + more)
            self._kept = (*self._kept[1 - KEPT :], edit)
            self.number = edit.number

    def since(self, number: int | None) -> EditsMessage:
        """What changed after the edit of this number; nothing is named to those who know of none."""
        kept = self._kept
        newest = kept[-1].number if kept else self.number
        if number is None:
            return EditsMessage(number=newest)
        later = [edit for edit in kept if edit.number > number]
        paths = sorted({path for edit in later for path in edit.paths})
        more = sum(edit.count - len(edit.paths) for edit in later)
        return EditsMessage(number=newest, paths=paths[:MOST_PATHS], count=len(paths) + more if later else 0)
