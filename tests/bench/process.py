"""Programs, measured from start to end with the CPU time of all that they started."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
    """CPU time that a running process has used, with its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(each) for each in fields[11:15]) * 1000 / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """Memory of a running process; ``VmHWM`` is the most that it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no {field}")
