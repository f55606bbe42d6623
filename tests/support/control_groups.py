"""A kernel of plain files: control groups whose files appear and vanish with them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pollinator.executors.cgroups import Kernel

V2_FILES = {
    "memory.max": "max\n",
    "memory.swap.max": "max\n",
    "memory.current": "0\n",
    "memory.peak": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
}
V1_FILES = {
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "memory.usage_in_bytes": "0\n",
    "memory.max_usage_in_bytes": "0\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
}


@dataclass
class PlainKernel:
    """Groups below ``root``. Folders in ``closed`` belong to somebody else."""

    root: Path
    own: str = "0::/app.slice/pollinatord.service\n"
    closed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Files that this kernel does not have."""

    def __post_init__(self) -> None:
        self.groups = self.root / "cgroup"
        self.groups.mkdir()
        self._own = self.root / "self"

    def at(self, path: str, files: dict[str, str]) -> Path:
        """Make a group as it is from the start."""
        folder = self.groups / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    def v2(self, path: str, gives: str, has: str = "cpu memory pids") -> Path:
        """A group of version 2 that gives these controllers to those in it."""
        return self.at(path, {"cgroup.controllers": f"{has}\n", "cgroup.subtree_control": f"{gives}\n"})

    @property
    def kernel(self) -> Kernel:
        """What the code under test sees."""
        self._own.write_text(self.own)
        return Kernel(self.groups, self._own, self._make, self._remove)

    def _make(self, folder: Path) -> None:
        parent = folder.parent
        if parent.relative_to(self.groups).as_posix() in self.closed:
            raise PermissionError(13, "Permission denied", str(folder))
        folder.mkdir()
        files = {"cgroup.procs": ""}
        if (parent / "cgroup.controllers").exists():
            if "memory" in (parent / "cgroup.subtree_control").read_text():
                files |= V2_FILES
        else:
            files |= V1_FILES
        for name, text in files.items():
            if name not in self.missing:
                (folder / name).write_text(text)

    def _remove(self, folder: Path) -> None:
        if not folder.exists():
            raise FileNotFoundError(folder)
        shutil.rmtree(folder)
