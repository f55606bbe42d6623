"""What a writer knows of what others mean to remove from its store, and how old that knowledge is.

Whatever is on a condemned list counts as not stored, and nothing is written under its key. Nothing is removed
sooner than twice ``VIEW_S`` after it was put on such a list: whoever publishes with a younger view needs no
lock. See docs/decisions/0013-garbage.md.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from pollinator.chunks.keeping import condemned_keys
from pollinator.chunks.store import Store
from pollinator.wire.errors import Denied, InvalidInput

VIEW_S = 12 * 3600.0
"""Nothing is put into the store, or said to be there, with a view older than this."""

LOOKS = 12
"""In the background so many looks are made in that time, so that whoever publishes need not."""

_SUSPEND_COUNTS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_log = logging.getLogger(__name__)


def uptime() -> float:
    """Seconds that pass also while the machine sleeps, and that no one can set."""
    return time.clock_gettime(_SUSPEND_COUNTS)


class View:
    """The condemned lists as one writer saw them last.

    Attributes:
        condemned: keys on any of the lists; the same object all the time.
        view_s: how old it may become.
        blind: the store does not let this writer list objects.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = uptime, view_s: float = VIEW_S) -> None:
        self._store = store
        self.view_s = view_s
        self._clock = clock
        self._looked_at = -math.inf
        self.condemned: set[str] = set()
        self.blind = False

    @property
    def age_s(self) -> float:
        """Seconds since the last look began; endless when there was none."""
        return self._clock() - self._looked_at

    @property
    def too_old(self) -> bool:
        """Look before anything is put, or said to be stored."""
        return self.age_s > self.view_s

    @property
    def due(self) -> bool:
        """It is time for a look in the background."""
        return self.age_s > self.view_s / LOOKS

    @property
    def worthless(self) -> bool:
        """Since the last look objects may have been condemned and removed: the lists do not tell of them."""
        return self.age_s > 2 * self.view_s

    def look(self) -> None:
        """Read all lists.

        Raises:
            PollinatorError: the store does not answer, or a list cannot be read.
        """
        began = self._clock()
        found: set[str] = set()
        try:
            found = condemned_keys(self._store)
            self.blind = False
        except (Denied, InvalidInput) as error:
            if not self.blind:
                _log.warning("cannot see what is to be removed from %s: %s", self._store.identity, error)
            self.blind = True
        self.condemned.clear()
        self.condemned.update(found)
        self._looked_at = began
