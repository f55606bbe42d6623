"""What a daemon costs that has 100,000 files to watch and nothing to do."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.bed import Bed, make_tree
from bench.harness import Bound, Measured, Row, Sample
from bench.process import cpu_ms, resident_mb
from bench.small import HUNDRED_K, OURS
from support.sandbox import Sandbox

IDLE_S = 10.0


def idle(bed: Bed, rounds: int) -> Row:
    """A real daemon, started by the command line, after its first sync."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    box.env.update(bed.engine_env)
    try:
        root = box.project("bench")
        make_tree(root / "cfs" / "src", HUNDRED_K, 1024)
        ended = box.cli("sync", cwd=root, timeout=300)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        pid = box.daemon_pid()
        _wait_until_quiet(pid)
        before = bed.network.traffic()
        values: list[Measured] = []
        for _ in range(max(1, rounds // 2)):
            started_ms = cpu_ms(pid)
            time.sleep(IDLE_S)
            values.append(Measured(IDLE_S * 1000, cpu_ms(pid) - started_ms))
        requests = bed.network.traffic().since(before).requests
        memory = resident_mb(pid)
    finally:
        box.close()
    sample = Sample(OURS, tuple(values))
    return Row(
        "idle",
        "idle at 100k watched files, for 10 s",
        [sample],
        [
            Bound("no CPU in 10 s (ms; the kernel counts in 10 ms)", sample.median("cpu_ms") or 0.0, 0),
            Bound("at most 200 MB resident in the daemon (MB)", memory, 200),
            Bound("0 requests", requests, 0),
        ],
    )


def _wait_until_quiet(pid: int) -> None:
    """What follows a first sync is done when a second passes without work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = cpu_ms(pid)
        time.sleep(2)
        if cpu_ms(pid) - before < 20:
            return
