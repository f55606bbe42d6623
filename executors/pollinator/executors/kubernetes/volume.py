"""Files of runs on a volume that the executor and all pods see: of each run its own folders alone.

Pods mount folders of the run's folder by their path on the volume. Ranks can write to what they are given, so
nothing there is believed: no link is followed, nothing is waited for, and only so much is read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.data import (
    CONTROL,
    GO,
    JOURNAL_BYTES,
    OUTPUT,
    STOP,
    WORK,
    Data,
    Parts,
)

VOLUME = "runs"
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Volume(Data):
    """A claim for a volume that holds the executor's state.

    Args:
        claim: its name.
        mount: where it is here.
        state: the executor's, on it.
        user: whom the ranks are.
        group: theirs.
    """

    def __init__(self, claim: str, mount: Path, state: Path, user: int, group: int) -> None:
        self._claim = claim
        self._state = state
        self._below = state.resolve().relative_to(mount.resolve())
        self._owner = (user, group)

    def parts(self, job: Job, attempt: int) -> Parts:
        """What the pods of an attempt have."""
        run = self._below / job.workspace.relative_to(self._state)
        folders = [
            (f"{run}/work", WORK, False),
            (f"{run}/work/src", f"{WORK}/src", True),
            (f"{run}/output", OUTPUT, False),
            (f"{run}/control/{attempt}", CONTROL, False),
        ]
        volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": self._claim}}
        mounts = [
            {"name": VOLUME, "subPath": path, "mountPath": place, "readOnly": read_only}
            for path, place, read_only in folders
        ]
        return Parts([volume], mounts)

    def prepare(self, job: Job, attempt: int) -> None:
        """Make the folders of an attempt, and give to the ranks what is to be theirs."""
        control = _control(job, attempt)
        for folder in (job.output, control.parent, control):
            folder.mkdir(mode=0o700, exist_ok=True)
        for name in (GO, STOP, *(str(node) for node in range(job.spec.nodes))):
            descriptor = os.open(control / name, _WRITE | os.O_CREAT, 0o600)
            os.close(descriptor)
        if self._owner == (os.geteuid(), os.getegid()):
            return
        # What earlier attempts had is theirs already, whatever became of it.
        for folder in (control, *([job.output, job.work] if attempt == 1 else [])):
            _give(folder, *self._owner)

    def journal(self, job: Job, attempt: int, node: int, offset: int) -> bytes:
        """What a node's journal holds from there on."""
        left = JOURNAL_BYTES - offset
        if left <= 0:
            return b""
        try:
            # Opened anew each time: on NFS only that asks the server.
            descriptor = os.open(_control(job, attempt) / str(node), _READ)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, left, offset) if _is_file(descriptor) else b""
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def tell(self, job: Job, attempt: int, name: str, text: str) -> None:
        """Fill a file in place: pods look into one that is there sooner than they find a new one."""
        descriptor = os.open(_control(job, attempt) / name, _WRITE)
        try:
            if _is_file(descriptor):
                os.pwrite(descriptor, text.encode() + b"\n", 0)
        finally:
            os.close(descriptor)

    def settled(self, job: Job, attempt: int) -> bool:
        """Have the sizes of all output as the server knows them."""
        for rank in range(job.ranks):
            with contextlib.suppress(OSError):
                os.close(os.open(job.output / str(rank), _READ))
        return True


def mount_of(path: Path) -> Path:
    """Where the file system is mounted that holds a folder."""
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    return path


def _control(job: Job, attempt: int) -> Path:
    return job.workspace / "control" / str(attempt)


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _give(folder: Path, user: int, group: int) -> None:
    """Have a folder with all that is in it belong to somebody; what does already is not touched."""
    for path in (os.fspath(folder), *_below(os.fspath(folder))):
        found = os.lstat(path)
        if (found.st_uid, found.st_gid) != (user, group):
            os.chown(path, user, group, follow_symlinks=False)


def _below(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield os.path.join(parent, name)
