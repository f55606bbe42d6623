"""Which runs of a project's folder are not as they were, so that a client that comes back hears of these.

What is remembered is one number for each run that changed since the daemon started, and nothing on disk: a
client that knew an earlier daemon is told everything once more.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict


class RunChanges:
    """Numbers every change of a run, and wakes who waits for one. Lives on the loop's thread."""

    def __init__(self) -> None:
        self._life = os.urandom(8).hex()
        self._newest = 0
        self._of: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """For each folder the number of each run's last change, the oldest first."""
        self._bells: dict[str, asyncio.Event] = {}

    @property
    def newest(self) -> int:
        """The number of the last change; 0 before the first."""
        return self._newest

    def note(self, root: str, run_id: str) -> None:
        """A run of this folder is new, or not as it was."""
        if not root:
            return  # It came as a snapshot: nobody watches a project that it is of.
        self._newest += 1
        known = self._of[root]
        # Again at the end: so the newest are found without looking at all.
        known.pop(run_id, None)
        known[run_id] = self._newest
        bell = self._bells.pop(root, None)
        if bell is not None:
            bell.set()

    def since(self, root: str, number: int) -> list[tuple[str, int]]:
        """Ids of the runs that changed after a number, and the number of each, the oldest change first."""
        found: list[tuple[str, int]] = []
        for run_id, changed in reversed(self._of.get(root, {}).items()):
            if changed <= number:
                break
            found.append((run_id, changed))
        return found[::-1]

    async def wait(self, root: str, seen: int, timeout_s: float) -> None:
        """Return when a run of the folder has changed after ``seen``, at the latest after the timeout."""
        if self.since(root, seen):
            return
        bell = self._bells.setdefault(root, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_s):
                await bell.wait()
        except TimeoutError:
            return

    def cursor(self, number: int) -> str:
        """What a client sends back to go on after this number."""
        return f"{self._life}-{number}"

    def number(self, cursor: str) -> int | None:
        """The number that a cursor stands for; None for one that this daemon never gave."""
        life, _, digits = cursor.partition("-")
        if life != self._life or not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
            return None
        number = int(digits)
        return number if number <= self._newest else None
