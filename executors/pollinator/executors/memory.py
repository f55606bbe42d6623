"""Limiting and measuring the memory of a run: by a cgroup where one can be made, else by looking.

Standard library only: the supervisor imports it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

_ROOT = Path("/sys/fs/cgroup")
_PAGE = os.sysconf("SC_PAGE_SIZE")

V2, V1, SAMPLED = "cgroup-v2", "cgroup-v1", "sampling"


class MemoryGuard(Protocol):
    """Holds a run to its limit."""

    source: str

    def wrap(self, argv: list[str]) -> list[str]:
        """The command that starts a process inside the limit."""
        ...

    def add(self, pid: int) -> None:
        """Take a process in."""
        ...

    def over(self, pids: Iterable[int]) -> bool:
        """The run has to be killed for its use of memory."""
        ...

    def exceeded(self) -> bool:
        """Something in the run was killed for its use of memory."""
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


def guard_memory(run_id: str, limit: int) -> MemoryGuard:
    """The best guard this machine offers; a limit of 0 only measures."""
    for kind, base in _bases():
        folder = base / f"pollinator-{run_id}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            return _CgroupGuard(kind, folder, limit)
        except OSError:
            folder.rmdir()
    return _SamplingGuard(limit)


def _bases() -> list[tuple[str, Path]]:
    """Where a child cgroup may be made: below our own, so that outer limits still hold."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    own = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
    bases: list[tuple[str, Path]] = []
    if (_ROOT / "cgroup.controllers").exists() and "" in own:
        bases.append((V2, _ROOT / own[""]))
    if "memory" in own and (_ROOT / "memory").is_dir():
        bases.append((V1, _ROOT / "memory" / own["memory"]))
    return bases


_FILES: Mapping[str, tuple[str, str, str, str, str]] = {
    V2: ("memory.max", "memory.peak", "memory.events", "cgroup.procs", "memory.swap.max"),
    V1: (
        "memory.limit_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.oom_control",
        "cgroup.procs",
        "memory.memsw.limit_in_bytes",
    ),
}


class _CgroupGuard:
    """The kernel holds the limit."""

    def __init__(self, kind: str, folder: Path, limit: int) -> None:
        self.source = kind
        self._folder = folder
        self._limit = limit
        maximum, self._peak, self._events, self._procs, swap = _FILES[kind]
        # Asked now: a guard that cannot tell is worse than one that looks.
        self._kills()
        if limit:
            (folder / maximum).write_text(str(limit), encoding="ascii")
            # Without swap accounting the limit is on memory alone.
            with contextlib.suppress(OSError):
                (folder / swap).write_text("0" if kind == V2 else str(limit), encoding="ascii")

    def wrap(self, argv: list[str]) -> list[str]:
        # The shell joins the group before it becomes the program: no moment outside of the limit.
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._folder / self._procs), *argv]

    def add(self, pid: int) -> None:
        return None

    def over(self, pids: Iterable[int]) -> bool:
        return False

    def exceeded(self) -> bool:
        return self._kills() > 0

    def peak(self, largest_process: int) -> int:
        try:
            return int((self._folder / self._peak).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return largest_process

    def close(self) -> None:
        for _ in range(50):
            try:
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.01)
            else:
                return

    def _kills(self) -> int:
        text = (self._folder / self._events).read_text(encoding="ascii")
        counts = dict(line.split() for line in text.splitlines())
        return int(counts["oom_kill"])


class _SamplingGuard:
    """No cgroup can be made: memory of all processes is added up many times a second."""

    def __init__(self, limit: int) -> None:
        self.source = SAMPLED
        self._limit = limit
        self._groups: set[int] = set()
        self._highest = 0

    def wrap(self, argv: list[str]) -> list[str]:
        return argv

    def add(self, pid: int) -> None:
        self._groups.add(pid)

    def over(self, pids: Iterable[int]) -> bool:
        used = sum(_resident(pid) for pid in _processes(self._groups))
        self._highest = max(self._highest, used)
        return self.exceeded()

    def exceeded(self) -> bool:
        return bool(self._limit) and self._highest > self._limit

    def peak(self, largest_process: int) -> int:
        return max(self._highest, largest_process)

    def close(self) -> None:
        return None


def _processes(groups: set[int]) -> list[int]:
    """All processes of these process groups."""
    found: list[int] = []
    try:
        names = os.listdir("/proc")
    except OSError:
        return list(groups)
    for name in names:
        if name.isdecimal():
            try:
                if os.getpgid(int(name)) in groups:
                    found.append(int(name))
            except (ProcessLookupError, PermissionError):
                continue
    return found


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
