"""An executor's way of laying files out, in a process of its own, for others to measure.

``python -m bench.layout_process FOLDER``; the store is the one that the environment names, and the folder is
where an executor keeps things for later runs. Each line on standard input is a command, answered by a line
of JSON: ``lay-out KEY DIGEST WORK`` tells what that took, ``prepare KEY DIGEST`` waits until the spare for
the next run is there, ``forget`` drops all that was kept.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from bench.engine_process import PROJECT, store
from pollinator.executors.files import CACHE_BYTES, Files
from pollinator.v1.run_pb2 import SnapshotSource, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef


def request(key: str, digest: str) -> StartRunRequest:
    """What an executor is told of a run."""
    ref = SnapshotRef(key=key, digest=bytes.fromhex(digest))
    return StartRunRequest(snapshot=SnapshotSource(snapshot=ref, spec=RunSpec(project=PROJECT)))


def lay_out(files: Files, run: StartRunRequest, work: Path) -> dict[str, float]:
    """Lay a run's files out; tells what it took."""
    started_ns, cpu_s = time.perf_counter_ns(), time.process_time()
    files.lay_out(run, work, lambda _: None)
    return {
        "wall_ms": (time.perf_counter_ns() - started_ns) / 1e6,
        "cpu_ms": (time.process_time() - cpu_s) * 1000,
    }


def prepare(files: Files, run: StartRunRequest, folder: Path) -> dict[str, float]:
    """Have the spare for the next run made, and wait for it."""
    files.prepare(run)
    deadline = time.monotonic() + 60
    while not list(folder.glob("spares/[0-9a-f]*/spare.json")):
        if time.monotonic() > deadline:
            raise RuntimeError("no spare is made")
        time.sleep(0.01)
    return {}


def main() -> None:
    """Obey until standard input ends."""
    folder = Path(sys.argv[1])
    files = Files(lambda _: store(), folder, CACHE_BYTES)
    for line in sys.stdin:
        match line.split():
            case ["lay-out", key, digest, work]:
                answer = lay_out(files, request(key, digest), Path(work))
            case ["prepare", key, digest]:
                answer = prepare(files, request(key, digest), folder)
            case ["forget"]:
                files.close()
                shutil.rmtree(folder)
                files, answer = Files(lambda _: store(), folder, CACHE_BYTES), {}
            case _:
                raise ValueError(f"no command: {line!r}")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    files.close()


if __name__ == "__main__":
    main()
