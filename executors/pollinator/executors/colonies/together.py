"""Many calls and transfers at a time, that have all ended when whoever waits for them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

AT_ONCE = 16
"""As many as there are connections to a server."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


async def together(items: Iterable[_Item], work: Callable[[_Item], Awaitable[object]]) -> None:
    """Do something with each of these, a few at a time. The first that fails ends all, and is raised."""
    source = iter(items)

    async def worker() -> None:
        for item in source:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(worker(), name=f"transfer {number}")
    except BaseExceptionGroup as several:
        raise _first(several) from several


async def alongside(work: Coroutine[Any, Any, _Result], other: Awaitable[object]) -> _Result:
    """Do two things at a time; returns the result of the first."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            await other
    except BaseExceptionGroup as several:
        raise _first(several) from several
    return task.result()


async def in_thread(
    threads: ThreadPoolExecutor,
    work: Callable[_Arguments, _Result],
    *arguments: _Arguments.args,
    **named: _Arguments.kwargs,
) -> _Result:
    """Do something that blocks; it has ended also when whoever waits for it was told to stop."""
    future = asyncio.get_running_loop().run_in_executor(threads, partial(work, *arguments, **named))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    # A group of its own kind is all that the leaves of one can be looked for with.
    leaves = several.split(lambda error: not isinstance(error, BaseExceptionGroup))[0] or several
    error: BaseException = leaves
    while error.__class__ is not None and isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error
        error = group.exceptions[0]
    return error
