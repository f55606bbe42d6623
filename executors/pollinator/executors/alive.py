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

BEAT_S = 5.0


async def stay_in_touch(state: Path, threads: Executor, stop: asyncio.Event) -> None:
    """Say that this process is alive; sets ``stop`` when another machine wants its place, or has it."""
    loop = asyncio.get_running_loop()
    alive, own = state / "alive", socket.gethostname()
    await loop.run_in_executor(threads, alive.write_text, own)
    try:
        while not stop.is_set():
            if await loop.run_in_executor(threads, _wanted, state, own):
                stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await stop.wait()
    finally:
        if _holder(alive) == own:
            alive.unlink(missing_ok=True)


def _wanted(state: Path, own: str) -> bool:
    """Touch the file; whether somebody else wants this place."""
    alive = state / "alive"
    holder = _holder(alive)
    if holder not in ("", own) or (state / "end").exists():
        return True
    if holder:
        # Not written: another machine may be writing its name there at this moment.
        with contextlib.suppress(FileNotFoundError):
            os.utime(alive)
    else:
        alive.write_text(own)
    return False


def _holder(alive: Path) -> str:
    try:
        return alive.read_text("utf-8")
    except FileNotFoundError:
        return ""
