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

    await _group([worker() for _ in range(AT_ONCE)])


async def alongside(work: Coroutine[Any, Any, _Result], other: Coroutine[Any, Any, object]) -> _Result:
    """Do two things at a time; returns the result of the first."""
    made: list[_Result] = []

    async def worker() -> None:
        made.append(await work)

    await _group([worker(), other])
    return made[0]


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


async def to_its_end(work: Coroutine[Any, Any, _Result], patience_s: float) -> _Result:
    """Do something; whoever is told to stop meanwhile waits for its end first, but not longer than this."""
    # Its owner is this function, which leaves none behind.
    task = asyncio.get_running_loop().create_task(work, name="to its end")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=patience_s)
        raise
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _group(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    failed: list[Exception] = []

    async def noted(work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:
            failed.append(error)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(noted(work), name="transfer")
    except ExceptionGroup as several:
        raise failed[0] from several
