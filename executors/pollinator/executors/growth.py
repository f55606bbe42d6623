"""How much the ranks of one run have printed, looked at once for all who follow it.

Ranks are other processes and write their files themselves, so there is no event to wait for: growth is looked
for. However many follow a run, one of them looks, and the others sleep until it has seen something.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pollinator.wire.watching import BLOCK_BYTES

LOOK_S = 0.01
QUIET_LOOK_S = 0.05
QUIET_S = 1.0
"""After so long without a word or an event the slow pace is enough."""

TELL_S = 0.05
"""Output that goes on and on is told of so often: many small messages are dear."""


class Growth:
    """Watches one folder that holds a file for each rank."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[int, int] = {}
        self._looked_at = -LOOK_S
        self._grew_at = 0.0
        self._told_at = -TELL_S
        self._told_bytes = 0
        self._version = 0
        self._bell = asyncio.Event()
        self._looking = False

    @property
    def sizes(self) -> Mapping[int, int]:
        """Bytes each rank has printed, as of a moment ago."""
        self._look_again()
        return self._sizes

    @property
    def version(self) -> int:
        """Grows when there is something to tell."""
        self._look_again()
        return self._version

    def _look_again(self) -> None:
        if time.monotonic() - self._looked_at >= LOOK_S:
            self.look()

    def look(self) -> None:
        """Read the sizes now."""
        now = time.monotonic()
        before = sum(self._sizes.values())
        self._sizes = _sizes(self._folder)
        self._looked_at = now
        total = sum(self._sizes.values())
        if total != before:
            self._grew_at = now
        untold = total - self._told_bytes
        if untold and (now - self._told_at >= TELL_S or untold >= BLOCK_BYTES):
            self.tell()

    def note(self, rank: int, size: int) -> None:
        """Somebody has read up to here: no less may be said later."""
        if size > self._sizes.get(rank, 0):
            self._sizes[rank] = size

    def tell(self) -> None:
        """Wake all who wait: there is output, or something happened to the run."""
        now, total = time.monotonic(), sum(self._sizes.values())
        if total != self._told_bytes:
            # What happens to the run holds no output up: a first line often comes right after the start.
            self._told_bytes, self._told_at = total, now
        self._grew_at = now
        self._version += 1
        self._ring()

    async def changed(self, seen: int, timeout_s: float) -> None:
        """Return once the version is beyond ``seen``, at the latest after the timeout."""
        deadline = time.monotonic() + timeout_s
        while self._version <= seen and (left := deadline - time.monotonic()) > 0:
            if self._looking:
                await self._wait(left)
            else:
                await self._watch(seen, deadline)

    async def _wait(self, timeout_s: float) -> None:
        """Sleep until whoever looks has seen something, or goes."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        except TimeoutError:
            return

    async def _watch(self, seen: int, deadline: float) -> None:
        """Be the one who looks."""
        self._looking = True
        try:
            while self._version <= seen and time.monotonic() < deadline:
                quiet = time.monotonic() - self._grew_at > QUIET_S
                # What happens to the run wakes who looks as well.
                await self._wait(QUIET_LOOK_S if quiet else LOOK_S)
                self.look()
        finally:
            self._looking = False
            # Whoever goes leaves the looking to one of the others.
            self._ring()

    def _ring(self) -> None:
        self._bell.set()
        # A bell rings once: who comes later waits for the next.
        self._bell = asyncio.Event()


def _sizes(folder: Path) -> dict[int, int]:
    try:
        with os.scandir(folder) as found:
            # What ranks may have put there instead of their output is of no size.
            return {
                int(each.name): each.stat(follow_symlinks=False).st_size
                for each in found
                if each.name.isdecimal() and each.is_file(follow_symlinks=False)
            }
    except FileNotFoundError:
        return {}
