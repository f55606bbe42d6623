"""Starting and asking the resident engine of ``engine_process``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.network import TESTS
from bench.process import resident_mb


@dataclass(frozen=True, slots=True)
class Seal:
    """One snapshot, as the engine reports it."""

    engine_ms: float
    """What the seal took in the engine, requests included."""
    cpu_ms: float
    """CPU time of the whole process since the last mark or seal."""
    requests: int
    trees: tuple[str, ...]
    key: str
    digest: str


class Resident:
    """A project that is open in a process of its own."""

    def __init__(self, root: Path, index: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.engine_process", "resident", str(root), str(index)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env=os.environ | dict(env),
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

    @property
    def peak_mb(self) -> float:
        """The most memory it had."""
        return resident_mb(self.pid, "VmHWM")

    def mark(self) -> None:
        """Count CPU time from here."""
        self._ask("mark")

    def settle(self) -> int:
        """Wait until everything is in the store; returns the number of files."""
        return int(self._ask("settle")["files"])

    def seal(self) -> Seal:
        """Publish what is on disk now."""
        [seal] = self.seals(1)
        return seal

    def seals(self, count: int) -> list[Seal]:
        """Publish so many times in a row."""
        return [
            Seal(
                each["engine_ms"],
                each["cpu_ms"],
                each["requests"],
                tuple(each["trees"]),
                each["key"],
                each["digest"],
            )
            for each in self._ask(f"seal {count}")["seals"]
        ]

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        finally:
            self.kill()
            self._process.stdout.close()

    def _ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine has ended with {self._process.wait()}")
        return json.loads(line)
