"""What a daemon costs that has 100,000 files to watch and nothing to do."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.bed import Bed, make_tree
from bench.harness import OURS, Bound, Measured, Row, Sample
from bench.process import cpu_ms, resident_mb
from bench.small import HUNDRED_K
from support.sandbox import Sandbox

IDLE_S = 10.0
TICK_MS = 10.0
"""The unit in which the kernel shows CPU time: less is nothing."""


def idle(bed: Bed) -> Row:
    """A real daemon, started by the command line, after its first sync."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-", dir=bed.folder)))
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
        rounds = tuple(_idle_round(pid) for _ in range(max(1, bed.rounds // 2)))
        requests = bed.network.traffic().since(before).requests
        memory = resident_mb(pid)
    finally:
        box.close()
    sample = Sample(OURS, rounds)
    return Row(
        "idle",
        "idle at 100k watched files, for 10 s",
        [sample],
        [
            Bound(
                "no CPU in 10 s: less than a tick of the kernel's (ms)",
                sample.median("cpu_ms") or 0.0,
                TICK_MS,
            ),
            Bound("at most 200 MB resident in the daemon", memory, 200),
            Bound("0 requests", requests, 0),
        ],
    )


def _idle_round(pid: int) -> Measured:
    started_ms = cpu_ms(pid)
    time.sleep(IDLE_S)
    return Measured(IDLE_S * 1000, cpu_ms(pid) - started_ms)


def _wait_until_quiet(pid: int) -> None:
    """What follows a first sync is done when two seconds pass without work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = cpu_ms(pid)
        time.sleep(2)
        if cpu_ms(pid) - before < 2 * TICK_MS:
            return
