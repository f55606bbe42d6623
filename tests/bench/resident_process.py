"""The sync engine as the daemon has it, in a process of its own, for others to measure.

``python -m bench.resident_process ROOT INDEX`` is a project's worker, with the store that the environment
names or one that keeps nothing. Each line on standard input is a command, answered by a line of JSON on
standard output.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from bench.engine_process import PROJECT, shown, store, tell
from pollinator.daemon.sync.engine import RULES_S
from pollinator.daemon.sync.worker import ProjectWorker
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.spec_pb2 import RunSpec
from support.looking import looked_at


class Worker(ProjectWorker):
    """One that says when it has nothing to do."""

    @property
    def at_rest(self) -> bool:
        """All is in the store, and lists of packs were sent as well, which wait for a quiet moment."""
        return self.status.state == ProjectState.PROJECT_STATE_IN_SYNC and self._rest_s >= RULES_S


class Resident:
    """Obeys commands while the worker is at work."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._mark = 0.0

    async def obey(self) -> None:
        """Until there are no more commands."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            match line.decode().split():
                case ["mark"]:
                    self._mark = time.process_time()
                    tell({})
                case ["settle"]:
                    await self._settle()
                    tell({"files": self._worker.status.files, "missed": self._worker.status.missed})
                case ["seal", count]:
                    tell({"seals": [await self._seal() for _ in range(int(count))]})
                case ["looks", count]:
                    with looked_at(self._worker.root) as paths:
                        for _ in range(int(count)):
                            await self._seal()
                    tell({"looks": len(paths)})
                case _:
                    raise ValueError(f"no command: {line!r}")

    async def _seal(self) -> dict[str, Any]:
        """Publish; ``cpu_ms`` counts from the last mark or seal."""
        sealed = await self._worker.seal(RunSpec(project=PROJECT), strict=False, git_commit="")
        now = time.process_time()
        cpu_ms, self._mark = (now - self._mark) * 1000, now
        return {**shown(sealed), "cpu_ms": cpu_ms}

    async def _settle(self) -> None:
        """Wait until the worker is at rest."""
        while not self._worker.at_rest:
            if self._worker.problem:
                raise RuntimeError(self._worker.problem)
            await self._worker.changed(self._worker.version, 0.02)


async def resident(root: Path, index: Path) -> None:
    """Work and obey until standard input ends."""
    worker = Worker(root, index, store())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.run())
        try:
            await Resident(worker).obey()
        finally:
            await worker.close()


if __name__ == "__main__":
    asyncio.run(resident(*map(Path, sys.argv[1:])))
