"""A cold sync in a process of its own, for others to measure: what a backup program does each time.

``python -m bench.engine_process ROOT INDEX`` opens the project, reads and sends everything, seals and ends.
The store is the one that the environment names, or one that keeps nothing when it names none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.process import resident_mb
from pollinator.chunks.flow import Flow
from pollinator.chunks.store import Listed, Store
from pollinator.chunks.stores import open_store
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.sealed import Sealed
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.store_env import store_settings_from_environment

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


def tell(what: object) -> None:
    """Answer."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Everything from nothing."""
    root, index = map(Path, sys.argv[1:])
    target = store()
    engine = SyncEngine(root, index, target)
    try:
        while engine.step():
            pass
        tell({**shown(engine.seal(RunSpec(project=PROJECT))), "peak_mb": resident_mb(os.getpid(), "VmHWM")})
    finally:
        engine.close()
        target.close()


if __name__ == "__main__":
    main()
