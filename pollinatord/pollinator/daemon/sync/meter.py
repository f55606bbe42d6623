"""What a project's sync reads and sends, counted as it passes: for people who wait, and for metrics.

The engine's thread and those that upload count; anybody may look, at any time and without waiting. What the
numbers mean for the user is the business of others.
"""

from __future__ import annotations

import bisect
import itertools
import math
import time
from collections.abc import Callable

from pollinator.chunks.flow import Flow
from pollinator.daemon.sync.edits import Edits


class Durations:
    """How long something took, counted by upper limits."""

    LIMITS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, math.inf)

    def __init__(self) -> None:
        self._counts = [0] * len(self.LIMITS_S)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """It took so long once more."""
        self._counts[bisect.bisect_left(self.LIMITS_S, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[tuple[float, int]]:
        """Each limit, and how often it took no longer."""
        return list(zip(self.LIMITS_S, itertools.accumulate(self._counts), strict=True))


class Meter:
    """The counters of one project.

    Attributes:
        read: bytes of files.
        sent: bytes that the store took, as stored.
        seals: how long seals took.
        edits: what changed.
        reading: the file that is being read, from the folder of the trees on; empty when none is.
        of_file: bytes of it that were read.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.read = Flow(clock)
        self.sent = Flow(clock)
        self.seals = Durations()
        self.edits = Edits()
        self.reading = b""
        self.of_file = 0

    def begin(self, path: bytes) -> None:
        """A file is being read from here on."""
        self.of_file = 0
        self.reading = path

    def took(self, count: int) -> None:
        """So many bytes of it were read."""
        self.of_file += count
        self.read.add(count)

    def end(self) -> None:
        """It is no longer being read."""
        self.reading = b""
        self.of_file = 0
