"""Running a command's coroutine: one event loop, and a companion that lives beside the main work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


async def beside(work: Awaitable[Result], companion: Coroutine[Any, Any, None]) -> Result:
    """Await ``work`` while ``companion`` runs; the companion ends with it, and an error of either ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(companion)
            result = await work
            task.cancel()
    except BaseExceptionGroup as several:
        _raise_first(several)
    return result


def _raise_first(several: BaseExceptionGroup[BaseException]) -> NoReturn:
    first = several.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        _raise_first(first)
    raise first
