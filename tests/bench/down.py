"""Rows about laying a snapshot out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from bench.bed import Bed, measured, rewrite, tree_files
from bench.harness import Measured, Row, interleave, ratio
from bench.network import TESTS
from bench.resident import Seal
from bench.small import OURS, TEN_K


def lay_out(bed: Bed, rounds: int) -> Row:
    """10,000 files from the store into an empty directory."""
    bed.forget()
    root = bed.project(TEN_K, 8192)
    tree = root / "cfs" / "src"
    objects = f"s:{bed.server.bucket}/{bed.unique('rclone')}"
    bed.peer("rclone", "copy", "--transfers", "32", str(tree), objects)
    with bed.resident(root) as resident:
        seal = resident.seal()

    def peer(*command: str) -> Measured:
        with _empty(bed) as target:
            return bed.peer(*command, target)

    def ours() -> Measured:
        # A fresh process and an empty cache: nothing is at the executor yet.
        with _empty(bed) as target, Layouts(bed) as layouts:
            return layouts.lay_out(seal, target)

    contenders = {
        OURS: ours,
        "rclone copy": lambda: peer("rclone", "copy", objects),
        "cp -r": lambda: peer("cp", "-r", f"{tree}/."),
    }
    samples = interleave(contenders, rounds)
    return Row(
        "lay-out",
        "lay out 10k files x 8 KiB from S3 into an empty directory",
        samples,
        [ratio(samples, OURS, "rclone copy", 0.25), ratio(samples, OURS, "cp -r", 1.6)],
    )


def lay_out_changed(bed: Bed, rounds: int) -> Row:
    """The next snapshot, at an executor that laid the last one out."""
    root = bed.project(TEN_K, 8192)
    tree = root / "cfs" / "src"
    mirror = bed.fresh("mirror")
    shutil.copytree(tree, mirror)
    paths = tree_files(tree, 100, TEN_K)
    with bed.resident(root) as resident, Layouts(bed) as layouts, _empty(bed) as first:
        layouts.lay_out(resident.seal(), first)
        turns = iter(range(1, 1000))

        def ours() -> Measured:
            rewrite(paths, next(turns))
            seal = resident.seal()
            with _empty(bed) as target:
                return layouts.lay_out(seal, target)

        def rsync() -> Measured:
            return bed.peer("rsync", "-a", f"{tree}/", str(mirror))

        samples = interleave({OURS: ours, "rsync": rsync}, rounds)
    return Row(
        "lay-out-changed",
        "lay out 10k files x 8 KiB after 100 changed",
        samples,
        [ratio(samples, OURS, "rsync", 1.5)],
    )


class Layouts:
    """The process that lays out, with a cache of its own."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.layout_process", str(bed.fresh("cache"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env=os.environ | bed.engine_env,
        )

    def __enter__(self) -> Layouts:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def lay_out(self, seal: Seal, target: str) -> Measured:
        """One tree into an empty folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self._bed.network.traffic()
        self._process.stdin.write(f"{seal.key} {seal.digest} {target}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("laying out failed")
        took = json.loads(line)
        return measured(took["wall_ms"], took["cpu_ms"], self._bed.network.traffic().since(before))


@contextmanager
def _empty(bed: Bed) -> Generator[str]:
    target = bed.fresh("target")
    target.mkdir()
    yield str(target)
    shutil.rmtree(target)
