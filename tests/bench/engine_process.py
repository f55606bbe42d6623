"""The sync engine in a process of its own, as the daemon has it, for others to measure.

``python -m bench.engine_process MODE ROOT INDEX``; the store is the one that the environment names, or one
that keeps nothing when it names none. Modes:

* ``once``: opens the project, reads and sends everything, seals, ends. What a cold backup program does.
* ``resident``: a project's worker as the daemon runs it. Each line on standard input is a command, answered
  by a line of JSON on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.process import resident_mb
from pollinator.chunks.flow import Flow
from pollinator.chunks.store import Listed, Store
from pollinator.chunks.stores import open_store
from pollinator.daemon.sync.engine import RULES_S, SyncEngine
from pollinator.daemon.sync.sealed import Sealed
from pollinator.daemon.sync.worker import ProjectWorker
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.store_env import store_settings_from_environment
from support.looking import looked_at

PROJECT = "bench"


class Nowhere:
    """A store that takes everything and keeps only names: what is left is reading and hashing."""

    identity = "nowhere"
    requests = 0
    retries = 0

    def __init__(self) -> None:
        self.sent = Flow()
        self._keys: list[str] = []

    def put(self, key: str, data: bytes | memoryview) -> None:
        self.requests += 1
        self._keys.append(key)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        raise NotImplementedError

    def missing(self, keys: list[str]) -> list[str]:
        return []

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(self._keys))

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        return iter(())

    def delete(self, key: str) -> None:
        raise NotImplementedError

    def check(self) -> None:
        """It is always there."""

    def close(self) -> None:
        """Nothing is open."""


def store() -> Store:
    """Where the environment wants it."""
    settings = store_settings_from_environment(os.environ)
    return open_store(settings, PROJECT) if settings is not None else Nowhere()


def shown(sealed: Sealed) -> dict[str, Any]:
    """What the seal says of itself."""
    return {
        "engine_ms": sealed.report.elapsed.ToNanoseconds() / 1e6,
        "requests": sealed.report.requests,
        "bytes": sealed.report.bytes_uploaded,
        "files": sealed.report.files,
        "key": sealed.ref.key,
        "digest": sealed.ref.digest.hex(),
        "trees": [sealed.snapshot.src.digest.hex(), sealed.snapshot.data.digest.hex()],
    }


def once(root: Path, index: Path) -> None:
    """Everything from nothing."""
    target = store()
    engine = SyncEngine(root, index, target)
    try:
        while engine.step():
            pass
        tell({**shown(engine.seal(RunSpec(project=PROJECT))), "peak_mb": resident_mb(os.getpid(), "VmHWM")})
    finally:
        engine.close()
        target.close()


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


def tell(what: object) -> None:
    """Answer."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do as the arguments say."""
    mode, root, index = sys.argv[1:]
    match mode:
        case "once":
            once(Path(root), Path(index))
        case "resident":
            asyncio.run(resident(Path(root), Path(index)))
        case _:
            raise ValueError(f"no mode: {mode}")


if __name__ == "__main__":
    main()
