"""A process that has all imported and forks a life at a time: tests that kill need hundreds of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator


class Nursery:
    """Runs a script that is told what to do by lines, and answers by lines.

    Args:
        script: its text.
        arguments: what it is started with.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )

    def say(self, line: str) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def lines(self) -> Iterator[str]:
        """What it answers from now on, until it has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.decode().strip()

    def close(self) -> None:
        """Nobody lives any more."""
        # One that still lives holds the pipe that is read to its end here.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
