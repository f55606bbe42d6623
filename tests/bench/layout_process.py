"""Laying a tree out in a process of its own, as an executor does it, for others to measure.

``python -m bench.layout_process CACHE``; the store is the one that the environment names. Each line on
standard input is ``KEY DIGEST DIRECTORY``, and is answered by a line of JSON with what it took. As in an
executor, which outlives its runs, the interpreter and its imports are there already, and so is the cache.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench.engine_process import store
from pollinator.chunks.cache import PackCache
from pollinator.chunks.layout import lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.v1.tree_pb2 import SnapshotRef


def main() -> None:
    """Lay out what is asked for until standard input ends."""
    cache = Path(sys.argv[1])
    for line in sys.stdin:
        key, digest, directory = line.split()
        started_ns, cpu_s = time.perf_counter_ns(), time.process_time()
        source = store()
        reader = SnapshotReader(source, PackCache(cache / "indexes", 2**30, packs=False))
        snapshot = reader.open(SnapshotRef(key=key, digest=bytes.fromhex(digest)))
        laid = lay_out(reader, snapshot.src, Path(directory))
        source.close()
        took = {
            "wall_ms": (time.perf_counter_ns() - started_ns) / 1e6,
            "cpu_ms": (time.process_time() - cpu_s) * 1000,
            "files": laid.files,
        }
        sys.stdout.write(json.dumps(took) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
