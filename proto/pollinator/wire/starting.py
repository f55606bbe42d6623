"""Starting a program from a task that may be stopped at any moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

_Started = TypeVar("_Started")


async def started(
    start: Coroutine[Any, Any, _Started], end: Callable[[_Started], Awaitable[object]]
) -> _Started:
    """A program, once it is started; whoever is stopped meanwhile has it ended first.

    Stopped in the middle, the loop itself would end the first process alone, keep pipes that it was about to
    connect, and wait for what that process has started.

    Args:
        start: starts it.
        end: ends it, with all that it has started.

    Raises:
        OSError: it cannot be started.
    """
    starting = asyncio.create_task(start)  # noqa: TID251 - whoever is stopped awaits it all the same
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await end(await starting)
        raise
