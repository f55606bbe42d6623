"""``make bench``: all rows, or those that are named, in one run; a table for people, JSON for the page."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import big, down, idle, small
from bench.bed import Bed, bed
from bench.harness import Row, table

ROUNDS = 5
ROWS: dict[str, Callable[[Bed, int], Row]] = {
    "cold-small": small.cold_small,
    "change-one": small.change_one,
    "change-hundred": small.change_hundred,
    "no-change": small.no_change,
    "first-scan": small.first_scan,
    "save-to-stored": small.save_to_stored,
    "cold-big": big.cold_big,
    "big-overwrite": big.overwrite,
    "big-insert": big.insert,
    "lay-out": down.lay_out,
    "lay-out-changed": down.lay_out_changed,
    "idle": idle.idle,
}


def measure(names: Sequence[str], rounds: int, folder: Path | None) -> list[Row]:
    """Do the rows one after the other, each with its own rounds, and print each when it is done."""
    rows: list[Row] = []
    for name in names:
        started = time.monotonic()
        with bed(folder) as made:
            row = ROWS[name](made, rounds)
        rows.append(row)
        load = os.getloadavg()
        sys.stdout.write(f"{table(row)}  ({time.monotonic() - started:.0f} s, load {load[0]:.1f})\n\n")
        sys.stdout.flush()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.run")
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = measure(given.rows or list(ROWS), given.rounds, given.folder)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"rows": [row.shown() for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
