"""``make bench``: all rows, or those that are named, in one run; a table for people, JSON for the page."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from bench import (
    big,
    cluster_run,
    colony_follow,
    colony_line,
    colony_run,
    dev,
    down,
    far,
    idle,
    million,
    small,
    start,
    watch,
)
from bench.bed import Bed, bed
from bench.harness import NotHere, Row, table
from bench.machine import folder_for, load, machine

ROUNDS = 5
OUT = Path(__file__).parents[2] / ".cache" / "bench" / "bench.json"
FAR_MS = (20.0, 100.0)
"""Round trips that are added for the rows that use the network."""

ROWS: Mapping[str, Callable[[Bed], Row]] = {
    "cold-small": small.cold_small,
    "change-one": small.change_one,
    "change-hundred": small.change_hundred,
    "burst-rewrites": watch.rewrites,
    "burst-extraction": watch.extraction,
    "no-change": small.no_change,
    "cold-big": big.cold_big,
    "big-overwrite": big.overwrite,
    "big-insert": big.insert,
    "save-to-stored": small.save_to_stored,
    "lay-out": down.lay_out,
    "lay-out-changed": down.lay_out_changed,
    "first-scan": small.first_scan,
    "idle": idle.idle,
    "killed-big": big.killed,
    "start": start.start,
    "dev": dev.dev,
    "far-submit": far.far_submit,
    "colony-line": colony_line.colony_line,
    "colony-follow": colony_follow.colony_follow,
    "colony-run": colony_run.colony_run,
    "cluster-run": cluster_run.cluster_run,
}
NIGHTLY: Mapping[str, Callable[[Bed], Row]] = {"million": million.million}
FAR = ("cold-small", "change-one", "change-hundred", "cold-big", "save-to-stored", "lay-out")


def measure(name: str, rounds: int, folder: Path, round_trip_ms: float) -> Row:
    """Do one row on a bed of its own."""
    with bed(folder, rounds=rounds, round_trip_ms=round_trip_ms) as made:
        row = {**ROWS, **NIGHTLY}[name](made)
    bounds = [bound for bound in row.bounds if not (round_trip_ms and bound.near)]
    return dataclasses.replace(row, bounds=bounds, round_trip_ms=round_trip_ms)


def measure_all(
    names: Iterable[tuple[str, float]], rounds: int, folder: Path, skipped: list[dict[str, str]]
) -> Iterator[dict[str, object]]:
    """Do the rows one after the other; each is printed when it is done, or why it cannot be done here."""
    for name, round_trip_ms in names:
        started = time.monotonic()
        before = load()
        try:
            row = measure(name, rounds, folder, round_trip_ms)
        except NotHere as why:
            sys.stdout.write(f"{name}: skipped: {why}\n\n")
            skipped.append({"name": name, "why": str(why)})
            continue
        took_s = round(time.monotonic() - started, 1)
        sys.stdout.write(f"{table(row)}  ({took_s:.0f} s, load {before:.1f} to {load():.1f})\n\n")
        sys.stdout.flush()
        yield {**row.shown(), "took_s": took_s, "load": [before, load()]}


def _ended(*_: object) -> NoReturn:
    sys.exit(1)


def main() -> None:
    """Measure, print, and write everything down."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join([*ROWS, *NIGHTLY])}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--near", action="store_true", help="not again with a server that is far away")
    parser.add_argument("--folder", type=Path, help="for all files; in memory when there is enough of it")
    parser.add_argument("--json", type=Path, default=OUT)
    given = parser.parse_args()
    names = given.rows or list(ROWS)
    unknown = sorted(set(names) - set(ROWS) - set(NIGHTLY))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    folder = given.folder or folder_for(names)
    todo = [(name, 0.0) for name in names]
    if not given.near:
        todo += [(name, far) for far in FAR_MS for name in names if name in FAR]
    # Whoever ends it wants the memory back that its files take.
    signal.signal(signal.SIGTERM, _ended)
    words = machine(folder)
    words["rows"] = rows = list[dict[str, object]]()
    words["skipped"] = skipped = list[dict[str, str]]()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    for row in measure_all(todo, given.rounds, folder, skipped):
        # Written after each, for all of them take long.
        rows.append(row)
        given.json.write_text(json.dumps(words, indent=1) + "\n")
    given.json.write_text(json.dumps(words, indent=1) + "\n")
    sys.stdout.write(f"{given.json}\n")


if __name__ == "__main__":
    main()
