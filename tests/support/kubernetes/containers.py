"""Containers as processes of this machine, each the first one of namespaces of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pollinator.executors.processes import below, proportional
from support.kubernetes.volumes import Bound

_INSIDE = Path(__file__).with_name("inside.py")
_PROJECT = Path(__file__).parents[3]
_CONTROLLERS = ("memory", "cpuacct")
_HIERARCHIES = Path("/sys/fs/cgroup")
_LOOK_S = 0.05
_CANNOT = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: "
)


class CannotStart(Exception):
    """A runtime could not make a container of it."""


@dataclass(frozen=True)
class Plan:
    """What a container is to be."""

    argv: list[str]
    env: Mapping[str, str]
    hostname: str
    cwd: str
    uid: int
    gid: int
    more_groups: list[int]
    binds: list[Bound]
    read_only_root: bool
    no_new_privileges: bool
    memory_bytes: int
    """0 is without a limit."""


@dataclass
class Ended:
    """How a container ended."""

    code: int
    """As a runtime gives it: 128 and the number of a signal."""
    out_of_memory: bool


@dataclass
class Container:
    """One that runs, or has."""

    process: asyncio.subprocess.Process
    groups: Mapping[str, Path]
    root: Path
    memory_bytes: int
    """It may hold so much; 0 is without a limit."""
    id: str = field(default_factory=lambda: secrets.token_hex(32))
    _over: bool = False

    @classmethod
    async def start(cls, plan: Plan, folder: Path, log: Path, mark: str) -> Container:
        """Start it.

        Args:
            plan: what it is to be.
            folder: for what belongs to it; is made.
            log: what it prints is added to this.
            mark: begins the names of its control groups; without one it has none, and is looked at.

        Raises:
            CannotStart: with what the runtime says.
        """
        root = folder / "root"
        root.mkdir(parents=True)
        groups = _make_groups(mark, plan.memory_bytes)
        wanted = _written(plan, root, groups)
        (folder / "plan.json").write_text(json.dumps(wanted))
        # Its other end is closed as soon as the command is what runs.
        os.mkfifo(folder / "told")
        reads = os.open(folder / "told", os.O_RDONLY | os.O_NONBLOCK)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--"),
                # Signals that are ignored here are not in a container.
                *("env", "--default-signal"),
                *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--"),
                *(sys.executable, "-I", "-S", str(_INSIDE), str(folder)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={},
                start_new_session=True,
            )
        made = cls(process, groups, root, plan.memory_bytes)
        try:
            why = await _told(reads, process)
        except asyncio.CancelledError:
            made.kill()
            await made.wait()
            raise
        if why:
            await made.wait()
            raise CannotStart(_CANNOT + why.decode("utf-8", "replace"))
        return made

    @property
    def runs(self) -> bool:
        """It has not ended."""
        return self.process.returncode is None

    async def wait(self) -> Ended:
        """How it ended."""
        while self.runs:
            try:
                async with asyncio.timeout(_LOOK_S if self.memory_bytes else None):
                    await self.process.wait()
            except TimeoutError:
                if self._has_no_memory():
                    # As newer kernels: all of a container or nothing.
                    self.kill()
        code = self.process.returncode or 0
        self._over = self._over or self._has_no_memory()
        self.remove()
        return Ended(128 - code if code < 0 else code, self._over)

    def signal(self, number: int) -> None:
        """To its first process, which may not listen."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
                os.kill(int(pid), number)

    def kill(self) -> None:
        """All that it is, at once."""
        # Not by its own method, which may take the exit code from who waits for it.
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)

    def remove(self) -> None:
        """What the machine keeps of it."""
        for group in self.groups.values():
            with contextlib.suppress(OSError):
                group.rmdir()
        shutil.rmtree(self.root.parent, ignore_errors=True)

    def _has_no_memory(self) -> bool:
        group = self.groups.get("memory")
        if group is None and self.memory_bytes:
            held = sum(proportional(each) for each in below(self.process.pid))
            self._over = self._over or held > self.memory_bytes
        if self._over or group is None:
            return self._over
        with contextlib.suppress(OSError):
            said = (group / "memory.oom_control").read_text()
            self._over = int(said.rpartition("oom_kill ")[2] or 0) > 0
        return self._over


def _written(plan: Plan, root: Path, groups: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "root": str(root),
        "argv": plan.argv,
        "env": dict(plan.env),
        "hostname": plan.hostname,
        "cwd": plan.cwd,
        "uid": plan.uid,
        "gid": plan.gid,
        "more_groups": plan.more_groups,
        "binds": [[each.source, each.target, each.read_only] for each in plan.binds],
        "read_only_root": plan.read_only_root,
        "no_new_privileges": plan.no_new_privileges,
        "groups": {name: str(path) for name, path in groups.items()},
        # An image may hold this project as well.
        "visible": sorted({sys.prefix, sys.base_prefix, str(_PROJECT)}),
    }


async def _told(reads: int, process: asyncio.subprocess.Process) -> bytes:
    """What is told before the command begins: why it cannot."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    with os.fdopen(reads, "rb", buffering=0) as file:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        told = loop.create_task(reader.read(), name="what a container tells")
        ended = loop.create_task(process.wait(), name="end of a container")
        try:
            await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
            return told.result() if told.done() else b""
        finally:
            for task in (told, ended):
                task.cancel()
            await asyncio.gather(told, ended, return_exceptions=True)
            transport.close()


# Control groups


def _make_groups(mark: str, memory_bytes: int) -> dict[str, Path]:
    """Where the kernel holds it to its memory, if it may be asked to."""
    made: dict[str, Path] = {}
    if not mark:
        return made
    name = f"{mark}-{secrets.token_hex(4)}"
    for controller in _CONTROLLERS:
        group = _HIERARCHIES / controller / name
        try:
            group.mkdir()
        except OSError:
            continue
        made[controller] = group
    if "memory" in made and memory_bytes:
        with contextlib.suppress(OSError):
            (made["memory"] / "memory.limit_in_bytes").write_text(str(memory_bytes))
            (made["memory"] / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
    return made


def remove_groups(mark: str) -> None:
    """Those that are left of a cluster."""
    for controller in _CONTROLLERS:
        for group in (_HIERARCHIES / controller).glob(f"{mark}-*"):
            with contextlib.suppress(OSError):
                group.rmdir()


def cannot_run() -> str:
    """Why no container can be run here; empty where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "containers are started by root, on Linux"
    for each in ("unshare", "setpriv"):
        if shutil.which(each) is None:
            return f"{each} is not installed: apt-get install util-linux"
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces can be had here: {done.stderr.strip()}" if done.returncode else ""
