"""Commands in an image under Apptainer and Singularity. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping, Sequence

from pollinator.executors.containers.inimage import CHECK, WORK, InImage
from pollinator.executors.processes import below, name_of

_HELPERS = frozenset({"squashfuse_ll", "squashfuse", "fuse-overlayfs", "fuse2fs", "gocryptfs"})
"""What carries the file system that a rank still needs while it ends."""

ENTER = f'{CHECK}exec "$@" < /dev/null\n'
"""Becomes the command, whose variables are on stdin."""


class SelfContained(InImage):
    """Apptainer and Singularity: every command is a child of this process, with a file system of its own."""

    def begin(self) -> str:
        """Prepare; why it cannot be, or nothing."""
        if set(str(self.workspace)) & set(",:"):
            return f"{self.program} cannot use {self.workspace}: its path holds , or :"
        return super().begin()

    def ask(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """Not to what carries the file system, and not to the engine, which would pass it on once more."""
        engines = set(ranks.values())
        inner = [pid for pid in below() if pid not in engines and name_of(pid) not in _HELPERS]
        # One that has not started its command yet has nothing to pass it on to.
        idle = [pid for pid in engines if not any(name_of(each) not in _HELPERS for each in below(pid))]
        _send(number, [*inner, *idle])

    def warn(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """To the children of the engine's process."""
        for pid in ranks.values():
            _send(number, [each for each in below(pid, deep=False) if name_of(each) not in _HELPERS])

    def command(self, rank: int, argv: Sequence[str]) -> list[str]:
        """How the engine is called."""
        binds: list[str] = []
        tmp = [(self.folder / "tmp", place, "rw") for place in ("/tmp", "/var/tmp")]  # noqa: S108 - the image's
        for outside, place, mode in [*self.mounts(), *tmp]:
            binds += ["--bind", f"{outside}:{place}:{mode}"]
        return [
            *(self.program, "--silent", "exec", "--cleanenv", "--no-home", "--no-mount", "tmp,hostfs"),
            *binds,
            *(*self._gpus(), "--pwd", WORK, self.image),
            *("/bin/sh", "-c", ENTER, str(rank), *argv),
        ]

    def _gpus(self) -> list[str]:
        if os.path.exists("/dev/nvidiactl"):
            return ["--nv"]
        return ["--rocm"] if os.path.exists("/dev/kfd") else []


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
