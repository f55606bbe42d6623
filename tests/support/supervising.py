"""A workspace with a launch plan, and the supervisor as a process of its own in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.sandbox import wait_until

PYTHON = sys.executable
PATH = os.defpath


@dataclass
class Workspace:
    """One run's folder, as the local executor prepares it."""

    path: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def __post_init__(self) -> None:
        for name in ("work", "output"):
            (self.path / name).mkdir(parents=True)

    @property
    def work(self) -> Path:
        return self.path / "work"

    def plan(self, *ranks: Sequence[str], env: Mapping[str, str] | None = None, **changes: object) -> None:
        """Write the launch plan; each rank is its command."""
        plan = {
            "run_id": f"test{os.getpid()}{self.path.name}",
            "ranks": [
                {
                    "rank": rank,
                    "argv": list(argv),
                    "env": {"PATH": PATH, **(env or {})},
                    "output": str(self.path / "output" / str(rank)),
                }
                for rank, argv in enumerate(ranks)
            ],
            "cwd": str(self.work),
            "init_command": "",
            "walltime_ms": 0,
            "warning": "",
            "renew_source": False,
            "grace_ms": 500,
            "memory_bytes": 0,
        }
        (self.path / "launch.json").write_text(json.dumps(plan | changes))

    def start(
        self, *, env: Mapping[str, str] | None = None, via: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start the supervisor; ``via`` is a command that becomes it."""
        process = subprocess.Popen(
            [*via, PYTHON, "-m", "pollinator.executors.supervise", str(self.path)],
            env=os.environ | dict(env or {}),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *ranks: Sequence[str], **changes: Any) -> dict[str, Any]:
        """Run these ranks to their end; returns the exit record."""
        self.plan(*ranks, **changes)
        assert 0 == self.start().wait(40)
        return self.record()

    def record(self) -> dict[str, Any]:
        """The exit record."""
        record: dict[str, Any] = json.loads((self.path / "exit.json").read_text())
        return record

    def output(self, rank: int = 0) -> bytes:
        """What a rank printed so far."""
        try:
            return (self.path / "output" / str(rank)).read_bytes()
        except FileNotFoundError:
            return b""

    def wait_for(self, printed: bytes, rank: int = 0) -> None:
        """Wait until a rank has printed this."""
        wait_until(lambda: printed in self.output(rank), f"rank {rank} prints {printed!r}")

    def close(self) -> None:
        """End what is left, the run with it."""
        for process in self.started:
            if process.poll() is None:
                (self.path / "cancel").touch()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose supervisor does not outlive the test."""
    made = Workspace(tmp_path / "run")
    try:
        yield made
    finally:
        made.close()
