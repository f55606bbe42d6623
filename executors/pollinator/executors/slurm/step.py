"""One srun of a job: its tasks, what they are told, and what Slurm says about them. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any

BLOCK = 1 << 16
KEPT = 4000
"""Bytes of what srun said last, for people."""

_ABOUT_TASKS = re.compile(r"\btasks? [\d,\s-]+:")
"""As in ``srun: error: n2: task 3: Exited with exit code 3``."""
_OUT_OF_MEMORY = re.compile(r"out of memory|oom-kill", re.IGNORECASE)
_OURS = ("SLURM_EXPORT_ENV", "SBATCH_EXPORT", "SLURM_GET_USER_ENV")
"""The script has a clean environment of its own; what it starts gets that, and not none."""


def step_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of srun, which is that of its tasks."""
    return {name: value for name, value in environ.items() if name not in _OURS}


class Step:
    """A running srun.

    Args:
        name: of the step, for people.
        plan: what every task is told first.
        tasks_per_node: how many tasks each node runs.
        log: where everything goes that srun and the tasks' supervisors say.
    """

    def __init__(self, name: str, plan: Mapping[str, Any], tasks_per_node: int, log: IO[bytes]) -> None:
        self._log = log
        self._open = True
        self._untold = bytearray()
        self.said = b""
        self.about_tasks = False
        """Something was said about a task since this was last set to False."""
        nodes = len(plan["nodes"])
        self._child = subprocess.Popen(
            [
                "srun",
                f"--job-name={name}",
                f"--nodes={nodes}",
                f"--ntasks={nodes * tasks_per_node}",
                f"--ntasks-per-node={tasks_per_node}",
                f"--cpus-per-task={plan['cpus_per_task']}",
                "--distribution=block",
                "--export=ALL",
                # One that fails is for us to deal with: the others get time to end.
                "--kill-on-bad-exit=0",
                "--wait=0",
                "--input=all",
                "--",
                *(sys.executable, "-E", "-m", "pollinator.executors.slurm.rank"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=step_environment(os.environ),
            cwd="/",
        )
        assert self._child.stdin is not None
        # A plan may be larger than a pipe, and srun reads it when it likes.
        os.set_blocking(self._child.stdin.fileno(), False)
        self.tell(dict(plan))

    @property
    def ended(self) -> bool:
        """Every task is gone, and all that was said is in the log."""
        return not self._open and self._child.poll() is not None

    @property
    def out_of_memory(self) -> bool:
        """Slurm says that memory was why a task ended."""
        return _OUT_OF_MEMORY.search(self.said.decode(errors="replace")) is not None

    @property
    def words(self) -> str:
        """What was said last, for people."""
        return self.said.decode(errors="replace").strip()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tell every task; those that are gone do not hear it. The rest goes on as we listen."""
        self._untold += json.dumps(message).encode() + b"\n"
        self._tell_on()

    def _tell_on(self) -> None:
        assert self._child.stdin is not None
        try:
            del self._untold[: os.write(self._child.stdin.fileno(), self._untold)]
        except BlockingIOError:
            pass
        except OSError:
            # Nobody hears it any more.
            self._untold.clear()

    def listen(self, timeout_s: float) -> None:
        """Take what is said, waiting for it for a while, and pass on what was not told yet."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        if not self._open:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout_s)
            return
        hearing = [self._child.stdin] if self._untold else []
        ready, listening, _ = select.select([self._child.stdout], hearing, [], timeout_s)
        if listening:
            self._tell_on()
        if not ready:
            return
        block = os.read(self._child.stdout.fileno(), BLOCK)
        self._open = bool(block)
        with contextlib.suppress(OSError):
            self._log.write(block)
        self.said = (self.said + block)[-KEPT:]
        if _ABOUT_TASKS.search(block.decode(errors="replace")):
            self.about_tasks = True

    def end(self) -> None:
        """Have Slurm kill every task: srun does so when it is asked to end."""
        self._child.terminate()

    def kill(self) -> None:
        """End srun itself; Slurm then ends what it started."""
        self._child.kill()

    def close(self) -> None:
        """Let go of it."""
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
