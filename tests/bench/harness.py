"""Rounds of contenders, taken in turn so that all of them meet the same machine, and a table of ratios."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """What one contender took, one value a round, in milliseconds."""

    name: str
    values_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Half of the rounds took less."""
        return statistics.median(self.values_ms)

    @property
    def p95_ms(self) -> float:
        """One round in twenty took more."""
        ordered = sorted(self.values_ms)
        return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> list[Sample]:
    """Let each contender measure itself once a round; one round before the first is not counted.

    Args:
        contenders: by name; each does its work once and returns the milliseconds it took.
        rounds: how many are counted.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for counted in range(-1, rounds):
        for name, measure in contenders.items():
            value = measure()
            if counted >= 0:
                values[name].append(value)
    return [Sample(name, tuple(each)) for name, each in values.items()]


def report(title: str, samples: list[Sample], peers: list[str]) -> None:
    """Print a table with ratios to the named peers on stdout, and the same as one JSON line on stderr."""
    medians = {sample.name: sample.median_ms for sample in samples}
    width = max(len(sample.name) for sample in samples)
    sys.stdout.write(f"{title}\n\n{'':<{width}}  median ms     p95 ms")
    sys.stdout.write("".join(f"  / {peer}" for peer in peers) + "\n")
    for sample in samples:
        ratios = "".join(f"  {sample.median_ms / medians[peer]:>{len(peer) + 2}.2f}" for peer in peers)
        sys.stdout.write(f"{sample.name:<{width}}  {sample.median_ms:>9.1f}  {sample.p95_ms:>9.1f}{ratios}\n")
    words = {
        "title": title,
        "load": os.getloadavg(),
        "median_ms": medians,
        "p95_ms": {sample.name: sample.p95_ms for sample in samples},
        "rounds": len(samples[0].values_ms),
    }
    sys.stderr.write(json.dumps(words) + "\n")
