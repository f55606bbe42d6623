"""A user of their own: private folders, a daemon and an executor that belong to one test, and a project."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
SPEC = """\
projectname: {name}
conditions:
  executorNames: [local]
  cpu: 100m
  mem: 200Mi
  walltime: 120
environment:
  cmd: python3
  source: main.py
"""


class Sandbox:
    """A private home with a project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "s" / "pollinator"
        self.env = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": str(folder / "c"),
            "XDG_STATE_HOME": str(folder / "s"),
            "XDG_CACHE_HOME": str(folder / "k"),
            "XDG_RUNTIME_DIR": str(folder / "r"),
            "POLLINATOR_GRACE_MS": "500",
        }
        for name in ("home", "r"):
            (folder / name).mkdir(mode=0o700)

    @property
    def socket(self) -> Path:
        """The daemon's socket."""
        return self.folder / "r" / "pollinator" / "d.sock"

    @property
    def executor_socket(self) -> Path:
        """The local executor's socket."""
        return self.folder / "r" / "pollinator" / "executor-local.sock"

    def project(self, name: str = "demo", program: str = "print('hello')\n") -> Path:
        """A new project that runs ``program``."""
        root = self.folder / name
        for tree in ("src", "data", "result"):
            (root / "cfs" / tree).mkdir(parents=True)
        (root / "project.yaml").write_text(SPEC.format(name=name))
        (root / "cfs" / "src" / "main.py").write_text(program)
        return root

    def start_cli(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the command line program as a user does."""
        return subprocess.Popen(
            [str(BIN / "pollinator"), *arguments],
            cwd=cwd,
            env=self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A test that reads a line must not take more: what communicate finds is the rest.
            bufsize=0,
            start_new_session=True,
        )

    def cli(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 50
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command line program to its end."""
        with self.start_cli(*arguments, cwd=cwd, env=env) as process:
            try:
                output, messages = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                output, messages = process.communicate()
                pytest.fail(f"pollinator {' '.join(arguments)} hangs: {output!r} {messages!r}")
        return subprocess.CompletedProcess(arguments, process.returncode, output, messages)

    def show(self, run: str, cwd: Path) -> dict[str, Any]:
        """What ``pollinator show --json`` says about a run."""
        answer = self.cli("show", run, "--json", cwd=cwd)
        assert answer.returncode == 0, answer.stderr
        shown: dict[str, Any] = json.loads(answer.stdout)
        return shown

    def reason(self, run: str, cwd: Path) -> str:
        """Why a run ended as it did."""
        outcome: Any = self.show(run, cwd)["outcome"]
        return str(outcome["reason"])

    def daemon_pid(self) -> int:
        """Process id of the daemon, 0 when there is none."""
        return next(iter(self.pids_of("pollinator.daemon.main")), 0)

    def executor_pid(self) -> int:
        """Process id of the local executor, 0 when there is none."""
        return next(iter(self.pids_of("pollinator.executors.main")), 0)

    def pids_of(self, module: str) -> list[int]:
        """Processes of this user that run a module."""
        found: list[int] = []
        for pid in self._pids():
            with contextlib.suppress(OSError):
                if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    found.append(pid)
        return found

    def command_lines(self) -> list[bytes]:
        """How every process of this user was called, as all users of the machine can see."""
        found: list[bytes] = []
        for pid in self._pids():
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        return found

    def kill_daemon(self) -> None:
        """As a crash would."""
        self._kill("pollinator.daemon.main", self.state / "daemon.lock")

    def kill_executor(self) -> None:
        """As a crash would."""
        self._kill("pollinator.executors.main", self.state / "executors" / "local" / "executor.lock")

    def kill_everything(self) -> None:
        """As a power cut would: everything this user started, and only that."""
        while pids := self._pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def close(self) -> None:
        """End everything this user started, and only that."""
        self.kill_everything()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self, module: str, lock: Path) -> None:
        # There may be several for a moment: who finds the lock taken ends by itself.
        pids = self.pids_of(module)
        assert pids, "it does not run"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _free(lock), f"{module} is gone")

    def _pids(self) -> list[int]:
        """Processes that carry this sandbox in their environment."""
        mark = f"HOME={self.folder}/home\0".encode()
        found: list[int] = []
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in Path(f"/proc/{name}/environ").read_bytes() + b"\0":
                        found.append(int(name))
        return found


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 40.0) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """No process with this id runs, whether or not somebody has taken notice of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        # The second where it goes between being found and being read.
        return True


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in a folder with a short name: paths of Unix sockets are limited."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        yield box
    finally:
        box.close()


@pytest.fixture(scope="module")
def desk() -> Iterator[Sandbox]:
    """One sandbox for the tests of a module that neither end nor damage anything; each has its project."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        yield box
    finally:
        box.close()


def _free(lock: Path) -> bool:
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
