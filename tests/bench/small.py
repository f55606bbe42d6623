"""Rows about many small files on their way up."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from bench.bed import Bed, measured, rewrite, tree_files
from bench.harness import OURS, Bound, Measured, Row, Sample, figure, ratio
from bench.process import run
from bench.resident import Resident

TEN_K = 10_000
HUNDRED_K = 100_000
SEALS = 20


def cold_small(bed: Bed) -> Row:
    """10,000 files into an empty store."""
    root = bed.project(TEN_K, 8192)
    tree = str(root / "cfs" / "src")

    def ours() -> Measured:
        bed.forget()
        return bed.engine(root, bed.fresh("index"))

    def restic() -> Measured:
        bed.forget()
        return bed.peer("restic", "backup", "-q", "-r", bed.repository("restic"), tree)

    def rclone() -> Measured:
        bed.forget()
        target = f"s:{bed.server.bucket}/{bed.unique('rclone')}"
        return bed.peer("rclone", "copy", "--transfers", "32", tree, target)

    contenders = {OURS: ours, "restic": restic, "rclone --transfers 32": rclone}
    samples = bed.interleave_past_proxy(contenders)
    return Row(
        "cold-small",
        "cold, 10k files x 8 KiB",
        samples,
        [
            ratio(samples, OURS, "restic", 0.6),
            ratio(samples, OURS, "rclone --transfers 32", 0.2),
            figure(samples, OURS, "requests", 12, "at most 12 requests"),
        ],
    )


def change_one(bed: Bed) -> Row:
    """One file of 100,000."""
    root = bed.project(HUNDRED_K, 1024)
    tree = root / "cfs" / "src"
    with bed.resident(root) as resident:
        changes = _Changes(bed, resident, tree, 1, HUNDRED_K)
        samples = bed.interleave({OURS: changes.seal}, part=4)
    return Row(
        "change-one",
        "1 file of 100k changed, until published",
        samples,
        [
            figure(samples, OURS, "cpu_ms", 10, "at most 10 ms CPU"),
            figure(samples, OURS, "puts", 1, "exactly 1 PUT"),
            figure(samples, OURS, "requests", 1, "no other request"),
        ],
        notes=changes.notes,
    )


def change_hundred(bed: Bed) -> Row:
    """A hundred files of 10,000."""
    root = bed.project(TEN_K, 8192)
    tree = root / "cfs" / "src"
    repository = bed.repository("restic")
    bed.peer("restic", "backup", "-q", "-r", repository, str(tree))
    with bed.resident(root) as resident:
        changes = _Changes(bed, resident, tree, 100, TEN_K)
        backup = ["restic", "backup", "-q", "-r", repository, str(tree)]
        # Both of a round send the same changes: those that the first one's turn made.
        samples = bed.interleave({OURS: changes.seal, "restic": lambda: bed.peer(*backup)})
    return Row(
        "change-hundred",
        "100 of 10k files changed, watcher warm, engine time until published",
        samples,
        [
            ratio(samples, OURS, "restic", 0.08),
            figure(samples, OURS, "puts", 1, "1 PUT"),
            figure(samples, OURS, "requests", 1, "no other request"),
        ],
        notes=changes.notes,
    )


def no_change(bed: Bed) -> Row:
    """Sealing again what was sealed."""
    samples: list[Sample] = []
    looks = 0.0
    for name, files in (("100k files", HUNDRED_K), ("1k files", 1000)):
        root = bed.project(files, 1024)
        with bed.resident(root) as resident:
            resident.seals(SEALS)
            before = bed.network.traffic()
            seals = resident.seals(bed.rounds * 40)
            traffic = bed.network.traffic().since(before)
            looks += resident.looks(SEALS) / SEALS
        values = [Measured(seal.engine_ms, seal.cpu_ms, traffic.requests) for seal in seals]
        samples.append(Sample(name, tuple(values)))
    return Row(
        "no-change",
        "nothing changed: barrier + seal",
        samples,
        [
            figure(samples, "100k files", "wall_ms", 1, "at most 1 ms at 100k files"),
            figure(samples, "100k files", "requests", 0, "0 requests"),
            Bound("0 looks at the project, at 1k and 100k files", looks, 0),
            ratio(samples, "100k files", "1k files", 2),
        ],
    )


def first_scan(bed: Bed) -> Row:
    """Reading and hashing 100,000 files for the first time."""
    root = bed.project(HUNDRED_K, 1024)
    tree = root / "cfs" / "src"

    def ours() -> Measured:
        ran = bed.first_look(root)
        return Measured(ran.wall_ms, ran.cpu_ms)

    def git() -> Measured:
        repository = bed.fresh("repository")
        run(["git", "init", "-q", "--bare", str(repository)])
        begun = ["git", f"--git-dir={repository}", f"--work-tree={tree}"]
        ran = run([*begun, "add", "."], cwd=tree)
        return Measured(ran.wall_ms, ran.cpu_ms)

    samples = bed.interleave({OURS: ours, "git add": git}, part=0.6)
    return Row(
        "first-scan",
        "first scan + hash of 100k files x 1 KiB",
        samples,
        [ratio(samples, OURS, "git add", 2.5), ratio(samples, OURS, "git add", 2.5, "cpu_ms")],
    )


class _Changes:
    """Rewrites some files and seals."""

    def __init__(self, bed: Bed, resident: Resident, tree: Path, count: int, of: int) -> None:
        self._bed = bed
        self._resident = resident
        self._paths = tree_files(tree, count, of)
        self._seeds = itertools.count(1)
        self._later = 0

    @property
    def notes(self) -> list[str]:
        """What was sent when nobody waited."""
        return [f"between the rounds, when nothing had happened for a while, {self._later} requests of ours"]

    def seal(self) -> Measured:
        """CPU time is that of the whole process from before the first write."""
        self._later += self._bed.rest(self._resident)
        before = self._bed.network.traffic()
        self._resident.mark()
        rewrite(self._paths, next(self._seeds))
        started = time.perf_counter_ns()
        seal = self._resident.seal()
        wall_ms = (time.perf_counter_ns() - started) / 1e6
        traffic = self._bed.network.traffic().since(before)
        return measured(wall_ms, seal.cpu_ms, traffic)


def save_to_stored(bed: Bed) -> Row:
    """From the end of a save to the store's acknowledgement, nobody asking."""
    root = bed.project(1000, 8192)
    [path] = tree_files(root / "cfs" / "src", 1, 1000)
    seeds = itertools.count(1)

    def save() -> Measured:
        before = bed.network.traffic()
        rewrite([path], next(seeds))
        saved_ns = time.monotonic_ns()
        while (after := bed.network.traffic()).puts_answered == before.puts_answered:
            if time.monotonic_ns() - saved_ns > 30e9:
                raise RuntimeError("the save never reaches the store")
            time.sleep(0.005)
        # The next save is one of a person's, not of a burst.
        time.sleep(0.3)
        return measured((after.put_answered_ns - saved_ns) / 1e6, None, after.since(before))

    with bed.resident(root):
        samples = bed.interleave({OURS: save}, part=4)
    p95 = samples[0].p95()
    assert p95 is not None
    return Row(
        "save-to-stored",
        "save of a small file to chunk stored",
        samples,
        [
            figure(samples, OURS, "wall_ms", 150, "median at most 150 ms"),
            Bound("p95 at most 400 ms", p95, 400),
        ],
    )
