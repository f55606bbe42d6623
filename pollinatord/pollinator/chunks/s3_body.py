"""The bodies of requests and answers. What is sent with a PUT is memory that is there already, in blocks.

boto3 would make a file of plain bytes, copy it twice in small pieces, and ask the server first whether it may
send it, which takes another round trip. And a timeout counts for each call that sends: for a whole pack it
would be the longest that a pack may take, for a block it ends a transfer that makes no progress.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from pollinator.chunks.traffic import Limit

SMALLEST_BLOCK = 64 * 1024
LARGEST_BLOCK = 1024 * 1024
FAST_S = 0.1
"""Blocks grow while one takes less: on a fast line each costs only time, on a slow one none may take long."""

Pause = Callable[[float], object]
"""Waits so many seconds, or less when there is nothing to wait for any more."""


class Readable(Protocol):
    """The body of an answer."""

    def read(self, amt: int | None = None, /) -> bytes:
        """The next bytes, or all that are left."""
        ...


class Body:
    """A body as boto3 wants it: read from the start for its signature, and then again to be sent.

    Args:
        data: the bytes.
        limit: of all that is sent.
        pause: waits for the limit.
        on_sent: told the bytes that were handed over to be sent.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        limit: Limit | None = None,
        pause: Pause = time.sleep,
        on_sent: Callable[[int], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data = memoryview(data)
        self._limit = limit
        self._pause = pause
        self._on_sent = on_sent
        self._sent = 0
        self._monotonic = monotonic
        self._position = 0
        self._block = 0
        self._asked_at = 0.0

    def __len__(self) -> int:
        return len(self._data)

    def send(self) -> None:
        """From now on what is read is sent: block by block."""
        self._block = SMALLEST_BLOCK
        self._asked_at = self._monotonic()

    def read(self, size: int = -1) -> memoryview:
        """The next bytes, not copied."""
        if self._block:
            size = self._next_block()
        end = len(self._data) if size < 0 else self._position + size
        block = self._data[self._position : end]
        self._position += len(block)
        if self._block:
            if self._limit is not None:
                self._pause(self._limit.take(len(block)))
                self._asked_at = self._monotonic()
            self._sent += len(block)
            self._on_sent(len(block))
        return block

    def take_back(self) -> None:
        """What was sent has to go again."""
        self._on_sent(-self._sent)
        self._sent = 0

    def tell(self) -> int:
        """Where the next bytes are."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Read from there, and not to send it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        self._position = start + offset
        self._block = 0
        self.take_back()
        return self._position

    def _next_block(self) -> int:
        now = self._monotonic()
        took_s, self._asked_at = now - self._asked_at, now
        if self._position:
            change = 2.0 if took_s < FAST_S else 0.5
            self._block = max(SMALLEST_BLOCK, min(LARGEST_BLOCK, int(self._block * change)))
        return self._block if self._limit is None else min(self._block, self._limit.block)


def receive(body: Readable, limit: Limit | None, pause: Pause) -> bytes:
    """All of the body of an answer, no faster than the limit allows."""
    if limit is None:
        return body.read()
    blocks: list[bytes] = []
    while block := body.read(limit.block):
        blocks.append(block)
        pause(limit.take(len(block)))
    return b"".join(blocks)
