"""How often a cluster is asked: quickly while something happens, seldom while nothing does or it is down."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pollinator.wire.errors import InvalidInput, Violation

SETTING = "slurm.poll"
_INTERVALS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often Slurm is asked, in seconds."""

    quick_s: float = 1.0
    """While something happens, and the least between two rounds."""
    slow_s: float = 30.0
    """While nothing does."""
    down_s: float = 15.0
    """While it does not answer: nobody is troubled by that."""
    growth: float = 1.5
    """From one quiet round to the next."""
    share: float = 0.05
    """Of the time, at most, in which it is busy with our questions: a slow one is asked less often."""
    jitter: float = 0.2
    """Many users must not ask at the same moment."""


def pace_of(setting: str) -> Pace:
    """The pace that a site wishes: ``5-60``, in seconds, or ``5``; the usual one where it says nothing.

    Raises:
        InvalidInput: it cannot be meant.
    """
    usual = Pace()
    if not setting:
        return usual
    found = _INTERVALS.fullmatch(setting)
    least = int(found[1]) if found else 0
    most = int(found[2]) if found and found[2] else max(least, int(usual.slow_s))
    if not 0 < least <= most:
        text = "write seconds between two questions, at least and at most, as in 5-60"
        violations = [Violation(SETTING, text)]
        raise InvalidInput("a setting cannot be meant", reason="bad_settings", violations=violations)
    return Pace(quick_s=least, slow_s=most, down_s=max(least, usual.down_s))


class Rhythm:
    """When the next round is, one after the other."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._interval = pace.quick_s

    def hurry(self) -> None:
        """Something has happened: begin with the quickest again."""
        self._interval = self._pace.quick_s

    def next(self, *, changed: bool = False, down: bool = False, soon: Iterable[float] = ()) -> float:
        """Seconds until the next round, if nobody asks for it before.

        Args:
            changed: the last round brought something new.
            down: the last round had no answer.
            soon: in how many seconds something may happen.
        """
        if down:
            self._interval = min(self._interval * 2, self._pace.down_s)
            return self._interval
        if changed:
            self._interval = self._pace.quick_s
        else:
            self._interval = min(self._interval * self._pace.growth, self._pace.slow_s)
        return max(self._pace.quick_s, min([self._interval, *soon]))

    def least(self, took: float) -> float:
        """Seconds until the next round at least, after one that took so long."""
        return max(self._pace.quick_s, took / self._pace.share)

    def about(self, seconds: float) -> float:
        """So long, or somewhat longer."""
        # When to ask is no secret.
        return seconds * random.uniform(1.0, 1.0 + self._pace.jitter)  # noqa: S311
