"""Rows about bursts: a hundred thousand changes as fast as they can be made."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bed import Bed, make_tree, rewrite, tree_files
from bench.harness import OURS, Bound, Measured, Row, ratio
from bench.process import Companion, stopped
from bench.small import HUNDRED_K

HELD = "pollinator, held back until the queue overflows"
STOCK = "watchdog"
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@dataclass(frozen=True)
class _Burst:
    """Changes a project's tree at once, and puts it back."""

    root: Path
    make: Callable[[], None]
    undo: Callable[[], None]


def rewrites(bed: Bed) -> Row:
    """100,000 files are written again."""
    root = bed.project(HUNDRED_K, 1024)
    paths = tree_files(root / "cfs" / "src", HUNDRED_K, HUNDRED_K)
    turns = itertools.count(1)
    burst = _Burst(root, lambda: rewrite(paths, next(turns)), lambda: None)
    return _row(bed, "burst-rewrites", "watch burst: 100k files rewritten", burst)


def extraction(bed: Bed) -> Row:
    """An archive of 100,000 files is extracted into new directories."""
    root = bed.project()
    tree = root / "cfs" / "src"
    packed, archive = bed.fresh("packed"), bed.fresh("archive")
    packed.mkdir()
    make_tree(packed, HUNDRED_K, 1024)
    subprocess.run(["tar", "-cf", archive, "-C", packed, "."], check=True)
    shutil.rmtree(packed)

    def undo() -> None:
        shutil.rmtree(tree)
        tree.mkdir()

    def extract() -> None:
        subprocess.run(["tar", "-xf", archive, "-C", tree], check=True)

    return _row(
        bed,
        "burst-extraction",
        "watch burst: 100k-file tar into new directories",
        _Burst(root, extract, undo),
    )


def _row(bed: Bed, name: str, work: str, burst: _Burst) -> Row:
    told: dict[str, list[dict[str, Any]]] = {OURS: [], HELD: [], STOCK: []}

    def watched(contender: str) -> Measured:
        kind = "watchdog" if contender == STOCK else "ours"
        with Companion("watch_process", kind, str(burst.root / "cfs")) as watcher:
            watcher.ask("mark")
            started_ns = time.perf_counter_ns()
            with _overflowing(watcher.pid, burst.root) if contender == HELD else nullcontext():
                burst.make()
            answer = watcher.ask("barrier")
            wall_ms = (time.perf_counter_ns() - started_ns) / 1e6 - answer["counting_ms"]
        burst.undo()
        told[contender].append(answer)
        return Measured(wall_ms, answer["cpu_ms"])

    contenders = {each: (lambda each=each: watched(each)) for each in told}
    samples = bed.interleave(contenders, part=0.4, warm_up=False)
    return Row(
        name,
        work,
        samples,
        [
            Bound("0 missed after the barrier", _most(told[OURS], "missed"), 0),
            Bound("0 missed when the queue overflows", _most(told[HELD], "missed"), 0),
            Bound("rounds in which it did not overflow", sum(not each["overflow"] for each in told[HELD]), 0),
            Bound("trees sealed wrong after an overflow", _sealed_wrong(bed, burst), 0),
            ratio(samples, OURS, STOCK, 0.5, "cpu_ms"),
        ],
        notes=[f"{STOCK} missed up to {_most(told[STOCK], 'missed'):,.0f} of {HUNDRED_K:,} files"],
    )


@contextmanager
def _overflowing(watcher: int, root: Path) -> Generator[None]:
    """A watcher reads nothing meanwhile, and the kernel's queue for it is full before anything happens."""
    files = [root / "cfs" / "src" / name for name in ("left", "right")]
    with stopped(watcher):
        for file in files:
            file.touch()
        # Twice the same event in a row would be one.
        for number in range(int(QUEUE.read_text()) + 1):
            os.utime(files[number % 2])
        yield
        # They are no part of the burst: the next watcher would be asked for them.
        for file in files:
            file.unlink()


def _most(answers: list[dict[str, Any]], what: str) -> float:
    return max(float(each[what]) for each in answers)


def _sealed_wrong(bed: Bed, burst: _Burst) -> int:
    """Whether an engine that lost events publishes anything but what a first look finds."""
    with bed.resident(burst.root, {}) as resident:
        with _overflowing(resident.pid, burst.root):
            burst.make()
        seal = resident.seal()
    fresh = json.loads(bed.first_look(burst.root).output)
    burst.undo()
    return int(list(seal.trees) != fresh["trees"])
