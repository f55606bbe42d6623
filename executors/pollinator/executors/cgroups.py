"""A control group for each run, where one can be made: the kernel holds the limit and counts.

Standard library only: the supervisor imports it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

V2, V1 = "cgroup-v2", "cgroup-v1"
UNLIMITED = 1 << 60


class Kernel(NamedTuple):
    """Where control groups are and how one is made; tests have a kernel of their own."""

    groups: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")
    make: Callable[[Path], None] = Path.mkdir
    remove: Callable[[Path], None] = Path.rmdir


KERNEL = Kernel()


class _Files(NamedTuple):
    """Names of the files of a group."""

    limit: str
    swap: str
    used: str
    peak: str
    events: str


_FILES = {
    V2: _Files("memory.max", "memory.swap.max", "memory.current", "memory.peak", "memory.events"),
    V1: _Files(
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.oom_control",
    ),
}


class GroupCounts:
    """What the kernel counts for a group."""

    held_by_kernel = True

    def __init__(self, kind: str, folder: Path) -> None:
        self.source = kind
        self._folder = folder
        self._files = _FILES[kind]
        self._highest = 0
        # Asked now: a guard that cannot tell is worse than one that looks.
        if "oom_kill " not in (folder / self._files.events).read_text(encoding="ascii"):
            raise OSError("this kernel does not count whom it kills")

    def over(self) -> bool:
        """The kernel has killed a process of the group: what waits for it would wait for ever."""
        self._highest = max(self._highest, self._number(self._files.used))
        return self._kills() > 0

    def exceeded(self, code: int, largest_process: int) -> bool:
        """The kernel has killed a process of the group, whatever the rank's exit code."""
        return self._kills() > 0

    def peak(self, largest_process: int) -> int:
        """Counted by the kernel; by looking and by process before Linux 5.19."""
        return self._number(self._files.peak) or max(self._highest, largest_process)

    def _kills(self) -> int:
        return self._number(self._files.events, "oom_kill ")

    def _number(self, name: str, label: str = "") -> int:
        """The number behind a label in a file of the group; 0 when there is none."""
        try:
            text = (self._folder / name).read_text(encoding="ascii")
            return int(text.partition(label)[2].split()[0]) if label else int(text)
        except (OSError, ValueError, IndexError):
            return 0


class GroupGuard(GroupCounts):
    """A run in a group of its own."""

    def __init__(self, kind: str, folder: Path, limit: int, kernel: Kernel) -> None:
        super().__init__(kind, folder)
        self._kernel = kernel
        if limit:
            _write(folder / self._files.limit, str(limit))
            # Without swap accounting the limit is on memory alone.
            with contextlib.suppress(OSError):
                _write(folder / self._files.swap, "0" if kind == V2 else str(limit))
        # One that cannot hold is no better.
        tried = subprocess.run(self.wrap(["/bin/sh", "-c", ":"]), stderr=subprocess.DEVNULL, check=False)
        if tried.returncode:
            raise PermissionError(f"no process can be moved into {folder}")

    def wrap(self, argv: list[str]) -> list[str]:
        """The command that starts a process in the group."""
        # The shell joins the group before it becomes the program: no moment outside of the limit.
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._folder / "cgroup.procs"), *argv]

    def close(self) -> None:
        """Remove the group."""
        _remove(self._folder, self._kernel)


class GivenGroup(GroupCounts):
    """A group that somebody else made, holds to a limit, and removes: this process is in it."""

    def wrap(self, argv: list[str]) -> list[str]:
        """What this process starts is in its group."""
        return argv

    def close(self) -> None:
        """It is not ours."""


def given_group(mark: str, kernel: Kernel = KERNEL) -> GivenGroup | None:
    """The group of this process, if a folder of its path is named ``mark`` and a limit holds there."""
    for kind, folder in own_groups(kernel):
        above = [folder, *folder.parents]
        if mark in folder.parts and any(_has_limit(kind, each) for each in above):
            with contextlib.suppress(OSError):
                return GivenGroup(kind, folder)
    return None


def own_groups(kernel: Kernel = KERNEL) -> Iterator[tuple[str, Path]]:
    """The groups that account for this process's memory, of either version."""
    own = _own(kernel)
    if (kernel.groups / "cgroup.controllers").exists() and "" in own:
        yield V2, kernel.groups / own[""]
    if "memory" in own:
        yield V1, kernel.groups / "memory" / own["memory"]


class WatchedGroup(GroupCounts):
    """A group that somebody else has made and limited, such as a container engine."""

    def __init__(self, kind: str, folder: Path, cpu: Path) -> None:
        self.source = kind
        self._folder = folder
        self._files = _FILES[kind]
        self._highest = 0
        self._cpu = cpu
        self._known: dict[str, int] = {}

    def wrap(self, argv: list[str]) -> list[str]:
        """What is started here is not in the group."""
        return argv

    def close(self) -> None:
        """It is not ours."""

    def remember(self) -> None:
        """Read everything while the group is still there."""
        self.over()
        self.peak(0)
        self.cpu_s()

    def cpu_s(self) -> float:
        """Seconds of processor time that its processes have used."""
        if self.source == V1:
            return self._counted(self._cpu / "cpuacct.usage", "") / 1e9
        return self._counted(self._cpu / "cpu.stat", "usage_usec ") / 1e6

    def _number(self, name: str, label: str = "") -> int:
        return self._counted(self._folder / name, label)

    def _counted(self, path: Path, label: str) -> int:
        """As it was when it was last seen: the group goes with its last process."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = path.read_text(encoding="ascii")
            self._known[path.name] = int(text.partition(label)[2].split()[0]) if label else int(text)
        return self._known.get(path.name, 0)


def group_of(pid: int, kernel: Kernel = KERNEL) -> WatchedGroup | None:
    """The group that a process is in; None where it cannot be seen from here."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    own = {names: path.strip("/") for _, names, path in (line.split(":", 2) for line in lines)}
    v1 = {name: path for names, path in own.items() for name in names.split(",")}
    if "memory" in v1 and "cpuacct" in v1:
        folder, cpu = (kernel.groups / name / v1[name] for name in ("memory", "cpuacct"))
        found = WatchedGroup(V1, folder, cpu)
    else:
        folder = kernel.groups / own.get("", "")
        found = WatchedGroup(V2, folder, folder)
    there = own and (folder / _FILES[found.source].events).exists()
    return found if there else None


def group_guard(run_id: str, limit: int, kernel: Kernel = KERNEL) -> GroupGuard | None:
    """A group for a run in the best place there is; None when none can be made."""
    for kind, place in _places(kernel):
        if kind == V2 and not _gives_memory(place):
            continue
        folder = _folder(place, run_id)
        try:
            kernel.make(folder)
        except OSError:
            continue
        try:
            return GroupGuard(kind, folder, limit, kernel)
        except OSError:
            _remove(folder, kernel)
    return None


def kill_group(run_id: str, kernel: Kernel = KERNEL) -> set[int]:
    """Kill what is left in a run's group and remove it; returns which processes there were."""
    killed: set[int] = set()
    for _, place in _places(kernel):
        folder = _folder(place, run_id)
        try:
            pids = [int(word) for word in (folder / "cgroup.procs").read_text(encoding="ascii").split()]
        except OSError:
            continue
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        _remove(folder, kernel)
    return killed


def _places(kernel: Kernel) -> Iterator[tuple[str, Path]]:
    """Groups in which one for a run may be made, the best first; limits of all above it still hold."""
    for kind, group in own_groups(kernel):
        # A group that holds processes, as ours does, has none below it with a limit, unless it is the root:
        # so beside ours first, for example in the app.slice of the user's systemd.
        if kind == V2 and group != kernel.groups:
            yield kind, group.parent
        yield kind, group


def _own(kernel: Kernel) -> dict[str, str]:
    """Paths of the groups of this process by the names of their controllers."""
    try:
        lines = kernel.own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    own = {names: path.strip("/") for _, names, path in (line.split(":", 2) for line in lines)}
    # One with such a path lies outside of what we see of the tree.
    return {names: path for names, path in own.items() if ".." not in path.split("/")}


def _has_limit(kind: str, folder: Path) -> bool:
    """What is given as unlimited is more than any machine has, or a word."""
    try:
        return int((folder / _FILES[kind].limit).read_text(encoding="ascii")) < UNLIMITED
    except (OSError, ValueError):
        return False


def _gives_memory(place: Path) -> bool:
    """Groups made in ``place`` have limits on memory, now or after asking for it."""
    given = place / "cgroup.subtree_control"
    try:
        if "memory" in given.read_text(encoding="ascii").split():
            return True
        if "memory" not in (place / "cgroup.controllers").read_text(encoding="ascii").split():
            return False
        _write(given, "+memory")
    except OSError:
        return False
    return True


def _folder(place: Path, run_id: str) -> Path:
    return place / f"pollinator-{run_id}"


def _write(path: Path, text: str) -> None:
    """Write to a file of the kernel; one that is not there is not made."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _remove(folder: Path, kernel: Kernel) -> None:
    """A group cannot go before the last of its processes has."""
    for _ in range(50):
        try:
            kernel.remove(folder)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return
