"""Named worker threads for libraries that block. asyncio's default pool is never used: it has no owner."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Values = ParamSpec("_Values")
_Result = TypeVar("_Result")


class Pool:
    """A few threads with a name; values go in, values come out."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(
        self, work: Callable[_Values, _Result], *args: _Values.args, **kwargs: _Values.kwargs
    ) -> _Result:
        """Run ``work`` on one of the threads."""
        return await self.start(work, *args, **kwargs)

    def start(
        self, work: Callable[_Values, _Result], *args: _Values.args, **kwargs: _Values.kwargs
    ) -> asyncio.Future[_Result]:
        """The same without waiting for it."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        return loop.run_in_executor(self._threads, lambda: context.run(work, *args, **kwargs))

    def close(self) -> None:
        """Let the threads end once their work is done."""
        self._threads.shutdown(wait=False)
