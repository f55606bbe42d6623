"""How much of the line all projects of a daemon may use together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TRANSFERS = 16
"""Objects under way at a time, where nothing else is said."""

BURST_S = 0.1
"""So much of what was not used may be used at once later."""
SMALLEST_BLOCK = 4 * 1024
LARGEST_BLOCK = 1024 * 1024


class Limit:
    """So many bytes in a second, for all who share it. Used from many threads."""

    def __init__(self, bytes_per_s: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_s = bytes_per_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free_at = monotonic()
        # About ten in a second, so that a pack goes evenly and nobody waits long for the others.
        self.block = max(SMALLEST_BLOCK, min(LARGEST_BLOCK, bytes_per_s // 10))
        """Best size of what is taken at once."""

    def take(self, count: int) -> float:
        """Take so many bytes of the line; returns how many seconds to wait before they may go."""
        with self._lock:
            now = self._monotonic()
            self._free_at = max(self._free_at, now - BURST_S) + count / self._bytes_per_s
            return max(0.0, self._free_at - now)


class Traffic:
    """What all stores of a daemon share.

    Args:
        upload: bytes in a second; 0 for no limit.
        download: the same in the other direction.
        transfers: objects under way at a time.
    """

    def __init__(self, *, upload: int = 0, download: int = 0, transfers: int = TRANSFERS) -> None:
        self.upload = Limit(upload) if upload else None
        self.download = Limit(download) if download else None
        self.slots = threading.BoundedSemaphore(transfers)
