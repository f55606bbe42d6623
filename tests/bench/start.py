"""How long from a typed command to the job's first instruction, beside what the imports alone cost.

The job is ``date``, which says when it started; the daemon is warm, as it is for everybody after the first
command.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.bed import Bed
from bench.harness import Measured, Row
from bench.process import run
from support.sandbox import Sandbox

SPEC = """\
projectname: bench
conditions: {executorNames: [local], cpu: 100m, mem: 200Mi, walltime: 60}
environment: {cmd: date +%s%N}
"""


def first_instruction(sandbox: Sandbox, root: Path) -> Callable[[], Measured]:
    """From the start of ``pollinator run --follow`` to the first instruction of its job."""

    def measure() -> Measured:
        started_ns = time.time_ns()
        ended = sandbox.cli("run", "--follow", cwd=root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        return Measured((int(ended.stdout) - started_ns) / 1e6)

    return measure


def whole_command(sandbox: Sandbox, root: Path, *arguments: str) -> Callable[[], Measured]:
    """From the start of a command to its end."""

    def measure() -> Measured:
        started_ns = time.perf_counter_ns()
        ended = sandbox.cli(*arguments, cwd=root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        return Measured((time.perf_counter_ns() - started_ns) / 1e6)

    return measure


def python(code: str) -> Callable[[], Measured]:
    """A bare interpreter of this environment."""

    def measure() -> Measured:
        ran = run([sys.executable, "-c", code])
        return Measured(ran.wall_ms, ran.cpu_ms)

    return measure


def start(bed: Bed) -> Row:
    """From the command line to the job's first instruction."""
    sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        root = sandbox.project("bench")
        (root / "project.yaml").write_text(SPEC)
        contenders = {
            "first instruction": first_instruction(sandbox, root),
            "run --follow": whole_command(sandbox, root, "run", "--follow"),
            "pollinator run": whole_command(sandbox, root, "run"),
            "pollinator --help": whole_command(sandbox, root, "--help"),
            "import click": python("import click"),
            "import grpc": python("import grpc"),
            "python -c pass": python("pass"),
        }
        samples = bed.interleave(contenders, part=3)
    finally:
        sandbox.close()
    return Row("start", "from the command line to the job's first instruction, warm daemon", samples)
