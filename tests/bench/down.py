"""Rows about laying a snapshot out."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.bed import Bed, measured, rewrite, tree_files
from bench.harness import OURS, Measured, Row, ratio
from bench.process import Companion
from bench.resident import Seal
from bench.small import TEN_K

NO_SPARE = "pollinator, no spare"


def lay_out(bed: Bed) -> Row:
    """10,000 files from the store into an empty directory."""
    root = bed.project(TEN_K, 8192)
    tree = root / "cfs" / "src"
    objects = bed.objects_of(tree)
    with bed.resident(root) as resident:
        seal = resident.seal()

    def peer(*command: str) -> Measured:
        with _target(bed) as target:
            target.mkdir()
            return bed.peer(*command, str(target))

    def ours() -> Measured:
        # An executor that was at work before, and has nothing any more.
        with _target(bed) as earlier, _target(bed) as target, Layouts(bed) as layouts:
            layouts.lay_out(seal, earlier)
            layouts.forget()
            return layouts.lay_out(seal, target)

    # Its default of 4 would take minutes when the store is far away.
    transfers = ["--transfers", "32"] if bed.round_trip_ms else []
    contenders = {
        OURS: ours,
        "rclone copy": lambda: peer("rclone", "copy", *transfers, objects),
        "cp -r": lambda: peer("cp", "-r", f"{tree}/."),
    }
    samples = bed.interleave_past_proxy(contenders)
    return Row(
        "lay-out",
        "lay out 10k files x 8 KiB from S3 into an empty directory",
        samples,
        [ratio(samples, OURS, "rclone copy", 0.25), ratio(samples, OURS, "cp -r", 1.6, near=True)],
    )


def lay_out_changed(bed: Bed) -> Row:
    """The next snapshot, at an executor that laid the last one out."""
    root = bed.project(TEN_K, 8192)
    tree = root / "cfs" / "src"
    mirror = bed.fresh("mirror")
    shutil.copytree(tree, mirror)
    paths = tree_files(tree, 100, TEN_K)
    turns = itertools.count(1)
    with bed.resident(root) as resident, Layouts(bed) as layouts:

        def ours() -> Measured:
            layouts.prepare(resident.seal())
            rewrite(paths, next(turns))
            seal = resident.seal()
            with _target(bed) as target:
                return layouts.lay_out(seal, target)

        def afresh() -> Measured:
            seal = resident.seal()
            with _target(bed) as target:
                return layouts.lay_out(seal, target)

        def rsync() -> Measured:
            return bed.peer("rsync", "-a", f"{tree}/", str(mirror))

        samples = bed.interleave({OURS: ours, "rsync": rsync, NO_SPARE: afresh})
    return Row(
        "lay-out-changed",
        "lay out 10k files x 8 KiB after 100 changed",
        samples,
        [ratio(samples, OURS, "rsync", 1.5, near=True)],
    )


class Layouts(Companion):
    """An executor with its files."""

    def __init__(self, bed: Bed) -> None:
        super().__init__("layout_process", str(bed.fresh("executor")), env=bed.engine_env)
        self._bed = bed

    def lay_out(self, seal: Seal, work: Path) -> Measured:
        """The files of a run."""
        before = self._bed.network.traffic()
        took = self.ask(f"lay-out {seal.key} {seal.digest} {work}")
        return measured(took["wall_ms"], took["cpu_ms"], self._bed.network.traffic().since(before))

    def forget(self) -> None:
        """Drop all that it has kept of earlier runs."""
        self.ask("forget")

    def prepare(self, seal: Seal) -> None:
        """What an executor does while a run is at work: have the next one's files ready."""
        self.ask(f"prepare {seal.key} {seal.digest}")


@contextmanager
def _target(bed: Bed) -> Generator[Path]:
    """Where nothing is, and nothing will be."""
    target = bed.fresh("target")
    yield target
    shutil.rmtree(target)
