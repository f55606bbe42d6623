"""The row for the night: a million files, and whether they cost ten times what a hundred thousand do."""

from __future__ import annotations

import json
import shutil

from bench.bed import Bed
from bench.harness import OURS, Bound, Measured, Row, Sample
from bench.small import HUNDRED_K

MILLION = 1_000_000


def million(bed: Bed) -> Row:
    """A first sync of each, from nothing to a published snapshot."""
    samples: list[Sample] = []
    peaks: list[float] = []
    for name, files in (("100k files", HUNDRED_K), (OURS, MILLION)):
        root = bed.project(files, 1024)
        bed.forget()
        measured: list[Measured] = []
        for _ in range(3 if files == HUNDRED_K else 1):
            measured.append(bed.engine(root, bed.fresh("index")))
            bed.forget()
        assert bed.last is not None
        peaks.append(json.loads(bed.last.output)["peak_mb"])
        samples.append(Sample(name, tuple(measured)))
        shutil.rmtree(root)
    few, many = samples
    wall = (many.median() or 0) / (few.median() or 1) / 10
    cpu = (many.median("cpu_ms") or 0) / (few.median("cpu_ms") or 1) / 10
    return Row(
        "million",
        "cold, 1 million files x 1 KiB",
        samples,
        [
            Bound("linear in the 100k figure within 1.3 x", wall, 1.3),
            Bound("linear in the 100k figure within 1.3 x of CPU", cpu, 1.3),
            Bound("under 1 GiB resident (MB)", peaks[-1], 1024),
        ],
        notes=[f"at 100k files it has at most {peaks[0]:.0f} MB"],
    )
