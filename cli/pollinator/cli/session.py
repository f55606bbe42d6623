"""Running a command's coroutine: one event loop, and a companion that lives beside the main work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from pollinator.cli.exits import Exit

Result = TypeVar("Result")


class Detached(Exception):
    """The user let go of what goes on without this program."""


def run_async(work: Coroutine[Any, Any, int]) -> int:
    """Run a command's coroutine to its end and return its exit code."""
    try:
        return asyncio.run(work)
    except Detached:
        return int(Exit.INTERRUPTED)


async def beside(work: Awaitable[Result], companion: Coroutine[Any, Any, None]) -> Result:
    """Await ``work`` while ``companion`` runs and end the companion then; an error of either ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(companion)
            result = await work
            task.cancel()
    except BaseExceptionGroup as several:
        group_error: BaseExceptionGroup[BaseException] = several
        raise group_error.exceptions[0] from None
    return result
