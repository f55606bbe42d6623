"""How long from a typed command to the job's first instruction, beside what the imports alone cost.

``make bench`` runs it. The job is ``date``, which says when it started; the daemon is warm, as it is for
everybody after the first command.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import interleave, report
from support.sandbox import Sandbox

ROUNDS = 25
SPEC = """\
projectname: bench
conditions: {executorNames: [local], cpu: 100m, mem: 200Mi, walltime: 60}
environment: {cmd: date +%s%N}
"""


def first_instruction(sandbox: Sandbox, root: Path) -> Callable[[], float]:
    """From the start of ``pollinator run --follow`` to the first instruction of its job."""

    def measure() -> float:
        started_ns = time.time_ns()
        ended = sandbox.cli("run", "--follow", cwd=root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        return (int(ended.stdout) - started_ns) / 1e6

    return measure


def whole_command(sandbox: Sandbox, root: Path, *arguments: str) -> Callable[[], float]:
    """From the start of a command to its end."""

    def measure() -> float:
        started_ns = time.perf_counter_ns()
        ended = sandbox.cli(*arguments, cwd=root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        return (time.perf_counter_ns() - started_ns) / 1e6

    return measure


def python(code: str) -> Callable[[], float]:
    """A bare interpreter of this environment."""

    def measure() -> float:
        started_ns = time.perf_counter_ns()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter_ns() - started_ns) / 1e6

    return measure


def main() -> None:
    """Print the table."""
    sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        root = sandbox.project("bench")
        (root / "project.yaml").write_text(SPEC)
        contenders = {
            "python -c pass": python("pass"),
            "import click": python("import click"),
            "import grpc": python("import grpc"),
            "pollinator --help": whole_command(sandbox, root, "--help"),
            "pollinator run": whole_command(sandbox, root, "run"),
            "first instruction": first_instruction(sandbox, root),
            "run --follow": whole_command(sandbox, root, "run", "--follow"),
        }
        samples = interleave(contenders, ROUNDS)
    finally:
        sandbox.close()
    report(
        "From the command line to the job's first instruction, warm daemon",
        samples,
        ["import click", "import grpc"],
    )


if __name__ == "__main__":
    main()
