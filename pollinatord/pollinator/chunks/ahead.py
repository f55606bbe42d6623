"""Blocking work done on a few threads ahead of its use, bounded in number and in weight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 16
"""At most so many pieces of work are begun and not used yet: behind a slow line their waiting overlaps."""

UNASKED = 4
"""At most so many are at work at a time until somebody has to wait for one: where all is near, more would
take the processor from whoever uses the results."""

AHEAD_BYTES = 96 * 1024 * 1024
"""They weigh at most so much together, unless one alone weighs more."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    items: Iterable[_Item], work: Callable[[_Item], _Result], weight: Callable[[_Item], int]
) -> Generator[_Result]:
    """Do ``work`` for each item and give the results in order.

    Args:
        items: what to work on. Work on the first begins while others are in the making; results are given
            after the last was made.
        work: is called on several threads at once.
        weight: how many bytes the result of an item takes.
    """
    if isinstance(items, Sequence) and len(items) < 2:
        yield from (work(item) for item in items)
        return
    waiting: deque[tuple[int, _Item]] = deque()
    under_way: deque[tuple[int, Future[_Result]]] = deque()
    held, most = 0, UNASKED
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="read") as threads:

        def begin() -> None:
            nonlocal held
            while waiting and _fits(len(under_way), held, waiting[0][0]) and _at_work(under_way) < most:
                heavy, item = waiting.popleft()
                held += heavy
                under_way.append((heavy, threads.submit(work, item)))

        try:
            for item in items:
                waiting.append((weight(item), item))
                begin()
            while under_way:
                if not under_way[0][1].done():
                    most = AHEAD
                    begin()
                heavy, future = under_way.popleft()
                yield future.result()
                # What was given away is in use until the next one is asked for.
                held -= heavy
                begin()
        finally:
            for _, future in under_way:
                future.cancel()


def _fits(count: int, held: int, more: int) -> bool:
    # What weighs more than all may weigh is worked on alone.
    return not count or (count < AHEAD and held + more <= AHEAD_BYTES)


def _at_work(under_way: Iterable[tuple[int, Future[_Result]]]) -> int:
    return sum(not future.done() for _, future in under_way)
