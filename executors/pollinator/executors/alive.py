"""Several machines share the state of an executor: which of them has it, and how it is asked to let go.

``alive`` names the machine and is touched every few seconds; ``end`` asks the executor to end. A lock alone
would do where every file system passed locks on to other machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from concurrent.futures import Executor
from pathlib import Path

from pollinator.executors.records import write_private

BEAT_S = 5.0


async def stay_in_touch(state: Path, threads: Executor, stop: asyncio.Event) -> None:
    """Say that this process is alive; sets ``stop`` when another machine wants its place, or has it."""
    loop = asyncio.get_running_loop()
    alive, own = state / "alive", socket.gethostname()
    await loop.run_in_executor(threads, write_private, alive, own.encode())
    looking: asyncio.Future[bool] | None = None
    try:
        while not stop.is_set():
            looking = loop.run_in_executor(threads, _wanted, state, own)
            if await asyncio.shield(looking):
                stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await stop.wait()
    finally:
        if looking is not None:
            # Or it says once more that this process is alive.
            await asyncio.wait([looking])
        if _holder(alive) == own:
            alive.unlink(missing_ok=True)


def _wanted(state: Path, own: str) -> bool:
    """Touch the file; whether somebody else wants this place."""
    alive = state / "alive"
    holder = _holder(alive)
    if holder not in ("", own) or (state / "end").exists():
        return True
    # Never written over: another machine may be putting its name there at this moment.
    try:
        os.utime(alive)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError), alive.open("x") as file:
            file.write(own)
    return False


def _holder(alive: Path) -> str:
    """Empty when nobody has it, or somebody is about to say that he does."""
    try:
        return alive.read_text("utf-8")
    except FileNotFoundError:
        return ""
