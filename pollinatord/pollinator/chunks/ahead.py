"""Blocking work done on a few threads ahead of its use, bounded in number and in weight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 16
"""At most so many pieces of work are begun and not used yet: behind a slow line their waiting overlaps."""

AHEAD_BYTES = 96 * 1024 * 1024
"""They weigh at most so much together, unless one alone weighs more."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    items: Sequence[_Item], work: Callable[[_Item], _Result], weight: Callable[[_Item], int]
) -> Generator[_Result]:
    """Do ``work`` for each item and give the results in order.

    Args:
        items: what to work on.
        work: is called on several threads at once.
        weight: how many bytes the result of an item takes.
    """
    if len(items) < 2:
        yield from (work(item) for item in items)
        return
    under_way: deque[tuple[int, Future[_Result]]] = deque()
    held = 0
    with ThreadPoolExecutor(min(AHEAD, len(items)), thread_name_prefix="read") as threads:
        try:
            for item in items:
                heavy = weight(item)
                while under_way and (len(under_way) >= AHEAD or held + heavy > AHEAD_BYTES):
                    lighter, future = under_way.popleft()
                    yield future.result()
                    # What was given away is in use until the next one is asked for.
                    held -= lighter
                held += heavy
                under_way.append((heavy, threads.submit(work, item)))
            while under_way:
                yield under_way.popleft()[1].result()
        finally:
            for _, future in under_way:
                future.cancel()
