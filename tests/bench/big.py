"""Rows about one big file on its way up."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.bed import Bed, measured
from bench.harness import OURS, Bound, Measured, Row, Sample, figure, ratio
from bench.process import TESTS

SIZE = 2 * 1024**3
MIB = 1024**2

LIMIT = "the PUTs alone"


def cold_big(bed: Bed) -> Row:
    """2 GiB into an empty store."""
    with bed.big_project(SIZE) as root:
        file = str(root / "cfs" / "data" / "big")

        def ours() -> Measured:
            bed.forget()
            return bed.engine(root, bed.fresh("index"))

        def peer(*command: str) -> Measured:
            bed.forget()
            return bed.peer(*command, cwd=root)

        at = f"{bed.server.bucket}/big"

        def limit() -> Measured:
            bed.forget()
            return bed.puts(file)

        contenders = {
            OURS: ours,
            LIMIT: limit,
            "aws s3 cp": lambda: peer("aws", "s3", "cp", "--quiet", file, f"s3://{at}"),
            "s5cmd cp": lambda: peer("s5cmd", "cp", file, f"s3://{at}"),
            "rclone copyto": lambda: peer("rclone", "copyto", file, f"s:{at}"),
        }
        samples = bed.interleave_past_proxy(contenders, part=0.4)
        bed.forget()
    best = min(samples[2:], key=lambda sample: sample.median() or 0)
    floor = ratio(samples, LIMIT, best.name, 0).value
    return Row(
        "cold-big",
        "cold, 2 GiB random",
        samples,
        [ratio(samples, OURS, best.name, 0.75)],
        notes=[f"{LIMIT}, bytes in memory that are neither cut nor hashed, take {floor:.2f} x {best.name}"],
    )


def overwrite(bed: Bed) -> Row:
    """One byte of 2 GiB is another."""

    def change(file: Path, turn: int) -> int:
        with file.open("r+b") as opened:
            opened.seek(SIZE // 3 + turn * 17 * MIB)
            started = time.perf_counter_ns()
            opened.write(bytes([turn % 256]))
        return started

    samples = _changed(bed, change)
    sent = round(2 * MIB * 1.05)
    return Row(
        "big-overwrite",
        "1 byte overwritten in 2 GiB",
        samples,
        [
            ratio(samples, OURS, "rsync", 0.2),
            figure(samples, OURS, "sent", sent, "at most one chunk (2 MiB) + 5 % sent"),
        ],
    )


def insert(bed: Bed) -> Row:
    """One byte more in the midst of 2 GiB."""

    def change(file: Path, turn: int) -> int:
        # Written outside of the trees: what is sent is the finished file.
        other = file.parent.parent.parent / "other"
        with file.open("rb") as old, other.open("wb") as new:
            _copy(old.fileno(), new.fileno(), SIZE // 3 + turn * 17 * MIB)
            new.write(b"x")
            new.flush()
            _copy(old.fileno(), new.fileno(), SIZE)
        started = time.perf_counter_ns()
        other.replace(file)
        return started

    samples = _changed(bed, change)
    sent = round(4 * MIB * 1.05)
    return Row(
        "big-insert",
        "1 byte inserted in 2 GiB",
        samples,
        [
            ratio(samples, OURS, "rsync", 0.5),
            figure(samples, OURS, "sent", sent, "at most 4 MiB + 5 % sent"),
        ],
    )


def killed(bed: Bed) -> Row:
    """Killed with half of 2 GiB sent, and run again."""
    with bed.big_project(SIZE) as root:
        file = str(root / "cfs" / "data" / "big")
        bed.forget()
        index = bed.fresh("index")
        left = _kill_half_way(bed, bed.engine_command(root, index), os.environ | bed.engine_env)
        samples = [Sample(OURS, (bed.engine(root, index),))]
        command = ["rclone", "copyto", file, f"s:{bed.server.bucket}/big"]
        bed.forget()
        _kill_half_way(bed, command, bed.peers_env)
        samples.append(Sample("rclone copyto", (bed.peer(*command),)))
        bed.forget()
    sent = samples[0].median("sent")
    assert sent is not None
    return Row(
        "killed-big",
        "killed at half of a 2 GiB upload, run again",
        samples,
        [Bound("sends at most what was left + 64 MiB (MiB more)", (sent - left) / MIB, 64)],
    )


def _kill_half_way(bed: Bed, command: Sequence[str], env: Mapping[str, str]) -> int:
    """Kill an upload when half is sent; returns how many bytes the store has not got."""
    before = bed.network.traffic()
    with subprocess.Popen(command, env=env, cwd=TESTS, stdout=subprocess.DEVNULL) as process:
        try:
            while bed.network.traffic().since(before).sent < SIZE // 2:
                if process.poll() is not None:
                    raise RuntimeError(f"{command[0]} has ended with {process.returncode}")
                time.sleep(0.01)
        finally:
            process.kill()
    return SIZE - sum(bed.server.objects().values())


def _changed(bed: Bed, change: Callable[[Path, int], int]) -> list[Sample]:
    """Time counts from the last step of a change, which may take long: the engine begins when it does.

    ``change`` tells when that was, in ns.
    """
    with bed.big_project(SIZE) as root:
        file = root / "cfs" / "data" / "big"
        copy = bed.fresh("copy")
        shutil.copyfile(file, copy)
        turns = itertools.count(1)
        with bed.resident(root) as resident:

            def ours() -> Measured:
                before = bed.network.traffic()
                resident.mark()
                started = change(file, next(turns))
                seal = resident.seal()
                wall_ms = (time.perf_counter_ns() - started) / 1e6
                return measured(wall_ms, seal.cpu_ms, bed.network.traffic().since(before))

            def rsync() -> Measured:
                return bed.peer("rsync", "-a", "--no-whole-file", str(file), str(copy))

            samples = bed.interleave({OURS: ours, "rsync": rsync}, part=0.6)
        copy.unlink()
        bed.forget()
    return samples


def _copy(source: int, target: int, most: int) -> None:
    while most and (copied := os.copy_file_range(source, target, most)):
        most -= copied
