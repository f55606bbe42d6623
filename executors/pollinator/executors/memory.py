"""Limiting and measuring the memory of a run: by a control group where one can be made, else by looking.

Standard library only: the supervisor imports it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Protocol

from pollinator.executors.cgroups import KERNEL, Kernel, group_guard
from pollinator.executors.processes import below, kernel_kills, proportional, resident

SAMPLING = "sampling"
SPARE_BYTES = 4 << 30
"""What the backstop allows beyond twice the limit: stacks of threads and memory that is never touched."""


class MemoryGuard(Protocol):
    """Holds a run to its limit; a limit of 0 only measures."""

    source: str
    """How: ``cgroup-v2``, ``cgroup-v1`` or ``sampling``."""
    held_by_kernel: bool
    """The run cannot get beyond its limit: it need not be killed in a hurry."""

    def wrap(self, argv: list[str]) -> list[str]:
        """The command that starts a process inside the limit."""
        ...

    def over(self) -> bool:
        """Look; the run has to be ended for its use of memory."""
        ...

    def exceeded(self, code: int, largest_process: int) -> bool:
        """The use of memory is why a rank ended with this exit code (negative for a signal)."""
        ...

    def peak(self, largest_process: int) -> int:
        """Most bytes in use at a time."""
        ...

    def close(self) -> None:
        """Remove what was set up."""
        ...


def memory_source() -> str:
    """How memory would be limited here."""
    probe = guard_memory(f"probe-{os.getpid()}", 1 << 30)
    probe.close()
    return probe.source


def guard_memory(run_id: str, limit: int, kernel: Kernel = KERNEL) -> MemoryGuard:
    """The best guard this machine offers. Tests ask for the last one by ``POLLINATOR_MEMORY_GUARD``."""
    if os.environ.get("POLLINATOR_MEMORY_GUARD") != SAMPLING:
        group = group_guard(run_id, limit, kernel)
        if group is not None:
            return group
    return SamplingGuard(limit)


class SamplingGuard:
    """No group can be made: the memory of all processes below this one is added up many times a second.

    Between two looks nothing holds the run but the backstop: RLIMIT_DATA, far above the limit because it
    counts what is reserved and never used, and the wish that the kernel, when memory runs out, takes this
    run and nothing else.

    Args:
        limit: bytes; 0 only measures.
        clock: tests have their own.
        of: the process whose descendants are added up, if not this one.
    """

    source = SAMPLING
    held_by_kernel = False

    def __init__(
        self, limit: int, clock: Callable[[], float] = time.monotonic, of: int | None = None
    ) -> None:
        self._limit = limit
        self._of = of
        self._clock = clock
        self._highest = 0
        self._kills = kernel_kills()
        self._careful_at = 0.0

    def wrap(self, argv: list[str]) -> list[str]:
        """The shell sets the backstop before it becomes the program."""
        if not self._limit:
            return argv
        script = '{ echo 1000 > /proc/self/oom_score_adj; ulimit -S -d "$0"; } 2> /dev/null; exec "$@"'
        return ["/bin/sh", "-c", script, str(self.backstop // 1024), *argv]

    @property
    def backstop(self) -> int:
        """Bytes of data that one process may have; an allocation beyond fails in the program."""
        soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = 2 * self._limit + SPARE_BYTES
        return wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)

    def over(self) -> bool:
        """Add up; where shared pages may have made it too much, count them once, which takes longer."""
        sizes = {pid: resident(pid) for pid in below(self._of)}
        used = sum(sizes.values())
        if self._limit and used > self._limit and max(sizes.values()) <= self._limit:
            now = self._clock()
            if now < self._careful_at:
                return False
            used = sum(map(proportional, sizes))
            # At most a tenth of the time goes into this.
            self._careful_at = now + 10 * (self._clock() - now)
        self._highest = max(self._highest, used)
        return bool(self._limit) and self._highest > self._limit

    def exceeded(self, code: int, largest_process: int) -> bool:
        """Too much was seen, or the kernel counted it, or it killed the rank as memory ran out."""
        if self._limit and max(self._highest, _own(largest_process)) > self._limit:
            return True
        return code == -9 and kernel_kills() > self._kills

    def peak(self, largest_process: int) -> int:
        """The most that was seen, or its largest process: a peak may fall between two looks."""
        return max(self._highest, largest_process)

    def close(self) -> None:
        """Nothing was set up."""


def _own(largest_process: int) -> int:
    """0 where this may be the size of this process: a child starts with its parent's."""
    return largest_process if largest_process > _largest(resource.RUSAGE_SELF) else 0


def largest_child() -> int:
    """Most memory in bytes that a single ended process below this one had."""
    return _largest(resource.RUSAGE_CHILDREN)


def _largest(who: int) -> int:
    peak = resource.getrusage(who).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024
