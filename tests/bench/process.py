"""Programs, measured from start to end with the CPU time of all that they started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TESTS = Path(__file__).parent.parent
ENDING_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that ended well."""

    wall_ms: float
    cpu_ms: float
    output: bytes


def run(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ran:
    """Run a program to its end.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as output:
        started_ns = time.perf_counter_ns()
        child = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=said
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall_ms = (time.perf_counter_ns() - started_ns) / 1e6
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise RuntimeError(f"{command[0]} ended with {child.returncode}: {said.read()[-2000:]!r}")
        output.seek(0)
        return Ran(wall_ms, (usage.ru_utime + usage.ru_stime) * 1000, output.read())


def cpu_ms(pid: int) -> float:
    """CPU time that the threads of a running process have used, to the nanosecond."""
    total_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1e6


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """Memory of a running process; ``VmHWM`` is the most that it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no {field}")


class Companion:
    """A module of the benchmarks in a process of its own, which answers each line with a line of JSON."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        via: Callable[..., list[str]] = lambda *command: list(command),
    ) -> None:
        self._name = module
        self._process = subprocess.Popen(
            via(sys.executable, "-m", f"bench.{module}", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env=os.environ | dict(env or {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, command: str) -> Any:
        """Send a command, wait for its answer.

        Raises:
            RuntimeError: the process has ended.
        """
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{command}\n".encode())
        stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next line that it says.

        Raises:
            RuntimeError: the process has ended.
        """
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"bench.{self._name} has ended with {self._process.wait()}")
        return json.loads(line)

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it end by itself: nothing more will be asked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process.stdout:
            if self._process.poll() is None:
                self._process.stdin.close()
            try:
                self._process.wait(timeout=ENDING_S)
            finally:
                self.kill()


@contextmanager
def stopped(pid: int) -> Generator[None]:
    """A process does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
