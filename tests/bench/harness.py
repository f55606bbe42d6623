"""Rounds of contenders, in turn so that all of them meet the same machine, and what must be true of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "pollinator"
"""The contender that the others are compared with."""


class NotHere(Exception):
    """A row cannot be done, because this machine lacks what it needs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one contender took in one round."""

    wall_ms: float
    cpu_ms: float | None = None
    """Of its whole tree of processes, where that can be had."""
    requests: int | None = None
    puts: int | None = None
    sent: int | None = None
    received: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """All rounds of one contender."""

    name: str
    rounds: tuple[Measured, ...]

    def median(self, what: str = "wall_ms") -> float | None:
        """Half of the rounds had less."""
        values = self.values(what)
        return statistics.median(values) if values else None

    def p95(self, what: str = "wall_ms") -> float | None:
        """One round in twenty had more."""
        ordered = sorted(self.values(what))
        return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))] if ordered else None

    @property
    def spread(self) -> float:
        """Longest by shortest round: what is much more than 1 says that the machine was busy."""
        values = self.values("wall_ms")
        return max(values) / max(min(values), 1e-9)

    def values(self, what: str) -> list[float]:
        """One value of every round."""
        found = [getattr(each, what) for each in self.rounds]
        return [value for value in found if value is not None]

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "median": {what: self.median(what) for what in Measured.__slots__},
            "p95_ms": self.p95(),
            "spread": self.spread,
            "rounds": [asdict(each) for each in self.rounds],
        }


@dataclass(frozen=True, slots=True)
class Bound:
    """Something that must be true."""

    text: str
    value: float
    most: float
    cpu: float | None = None
    """The same for CPU time, which is not asked for, but says more on a busy machine."""
    near: bool = False
    """It can only be asked for where the store is near, for whoever is compared with uses none."""

    @property
    def met(self) -> bool:
        """It is."""
        return self.value <= self.most

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a piece of work, who did it, and what must be true of that."""

    name: str
    work: str
    samples: list[Sample]
    bounds: list[Bound] = field(default_factory=list[Bound])
    notes: list[str] = field(default_factory=list[str])
    round_trip_ms: float = 0.0

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "work": self.work,
            "round_trip_ms": self.round_trip_ms,
            "samples": [each.shown() for each in self.samples],
            "bounds": [each.shown() for each in self.bounds],
            "notes": self.notes,
        }


def interleave(
    contenders: Mapping[str, Callable[[], Measured]], rounds: int, *, warm_up: bool = True
) -> list[Sample]:
    """Let each contender measure itself once a round.

    Args:
        contenders: by name; each does its work once.
        rounds: how many are counted.
        warm_up: one round before the first is not counted.
    """
    values: dict[str, list[Measured]] = {name: [] for name in contenders}
    for counted in range(-1 if warm_up else 0, rounds):
        for name, measure in contenders.items():
            value = measure()
            if counted >= 0:
                values[name].append(value)
    return [Sample(name, tuple(each)) for name, each in values.items()]


def ratio(
    samples: list[Sample], ours: str, peer: str, most: float, what: str = "wall_ms", *, near: bool = False
) -> Bound:
    """Our median must be at most so many times the peer's."""
    by_name = {sample.name: sample for sample in samples}
    mine, other = by_name[ours], by_name[peer]
    value = _by(mine.median(what), other.median(what))
    assert value is not None
    if what == "cpu_ms":
        return Bound(f"at most {most:g} x {peer} of CPU", value, most)
    cpu = _by(mine.median("cpu_ms"), other.median("cpu_ms"))
    return Bound(f"at most {most:g} x {peer}", value, most, cpu, near)


def figure(samples: list[Sample], ours: str, what: str, most: float, text: str) -> Bound:
    """Our median must be at most so much."""
    [mine] = [sample.median(what) for sample in samples if sample.name == ours]
    assert mine is not None
    return Bound(text, mine, most)


def table(row: Row) -> str:
    """For people: every contender with its ratio to the first, and every bound."""
    latency = f", {row.round_trip_ms:g} ms added to every round trip" if row.round_trip_ms else ""
    width = max(len(sample.name) for sample in row.samples)
    lines = [f"{row.name}: {row.work}{latency}", ""]
    lines.append(
        f"  {'':<{width}}  median ms     p95 ms     CPU ms  ratio  CPU ratio  requests       sent  spread"
    )
    first = row.samples[0]
    for sample in row.samples:
        cells = [
            f"  {sample.name:<{width}}",
            _cell(sample.median(), 9, 1),
            _cell(sample.p95(), 9, 1),
            _cell(sample.median("cpu_ms"), 9, 1),
            _cell(_by(sample.median(), first.median()), 5, 2),
            _cell(_by(sample.median("cpu_ms"), first.median("cpu_ms")), 9, 2),
            _cell(sample.median("requests"), 8, 0),
            _cell(sample.median("sent"), 9, 0),
            _cell(sample.spread, 6, 2),
        ]
        lines.append("  ".join(cells))
    lines.append("")
    lines += [f"  {'met ' if each.met else 'MISS'}  {each.text}: {_value(each)}" for each in row.bounds]
    lines += [f"  note  {note}" for note in row.notes]
    return "\n".join(lines) + "\n"


def _value(bound: Bound) -> str:
    return f"{bound.value:.4g}" + (f" (CPU {bound.cpu:.4g})" if bound.cpu is not None else "")


def _by(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def _cell(value: float | None, width: int, digits: int) -> str:
    return " " * width if value is None else f"{value:>{width}.{digits}f}"
