"""The processes below this one, and the memory they hold, as Linux shows them under ``/proc``.

Standard library only: the supervisor imports it.
"""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


def below(pid: int | None = None, *, deep: bool = True) -> list[int]:
    """All descendants of a process, or only its children; of this one when none is named.

    Empty where there is no ``/proc``.
    """
    found: list[int] = []
    waiting = [pid or os.getpid()]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children if deep else []
    return found


def name_of(pid: int) -> str:
    """The name of a process's program, cut as the kernel does; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def resident(pid: int) -> int:
    """Bytes of memory that a process uses, pages that it shares with others included; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def proportional(pid: int) -> int:
    """The same with its part only of shared pages. Slow for big processes."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return resident(pid)


def kernel_kills() -> int:
    """How many processes of this machine were killed so far because memory ran out."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            counts = dict(line.split() for line in file)
        return int(counts["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0


def _children(pid: int) -> list[int]:
    """A child belongs to the thread that made it."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
        except OSError:
            continue
    return found
