"""The wish to hand a run over to a backend, on disk before it is done: from then on the backend may have it.

Whoever finds it without the backend's name for the run, after a crash or after an answer that was lost, looks
for the run there before handing it over once more.
"""

from __future__ import annotations

import time
from pathlib import Path

from pollinator.executors.records import read_record, write_json

INTENT = "submit.json"
SOON_S = 3.0
"""A run may appear so long after it was handed over, by somebody who is gone."""
UNKNOWN_S = 15.0
"""The same when the answer was lost on the way."""


class Intent:
    """That of one run.

    Args:
        workspace: of the run.
        past: how many times it was handed over before, and has ended there.
    """

    def __init__(self, workspace: Path, past: int = 0) -> None:
        self._path = workspace / INTENT
        self._past = past
        self._unsure_until = 0.0
        known = read_record(self._path) or {}
        # One of an earlier time says nothing about this one.
        is_of_this = past == int(known.get("past", 0))
        self.since = float(known.get("time", 0.0)) if is_of_this else 0.0
        """When the backend may have been given it; 0 when it was not."""

    def note(self) -> None:
        """From now on the backend may have it."""
        if not self.since:
            now = time.time()
            write_json(self._path, {"time": now, "past": self._past}, durable=True)
            # Only once it is on disk: it may be full, and then this is tried again.
            self.since = now

    def doubt(self) -> None:
        """The answer was lost on the way."""
        self._unsure_until = time.time() + UNKNOWN_S

    @property
    def may_appear(self) -> bool:
        """What was not found there may still come."""
        return time.time() <= max(self.since + SOON_S, self._unsure_until)

    def retract(self) -> None:
        """The backend does not have it, for sure."""
        self.since = 0.0
        self._path.unlink(missing_ok=True)

    def renew(self, past: int) -> None:
        """It is to be handed over once more, so many times after it was before."""
        # The file stays: who is killed here finds that it is of an earlier time.
        self._past, self.since, self._unsure_until = past, 0.0, 0.0
