"""``python -m bench.page [JSON...]``: the page on performance, from the figures of a run and of a night."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.reasons import REASONS
from bench.run import OUT

Words = Mapping[str, Any]

METHOD = Path(__file__).with_name("method.md")
HEAD = (
    "| program | ms | p95 | CPU ms | by ours | CPU by ours | requests | PUTs | bytes sent | rounds | spread |"
)


def page(words: Words) -> str:
    """The whole document."""
    rows: Sequence[Words] = words["rows"]
    near = [row for row in rows if not row["round_trip_ms"]]
    far = [row for row in rows if row["round_trip_ms"]]
    parts = [METHOD.read_text("utf-8"), _machine(words), "## What must be so\n", _bounds(near)]
    if far:
        parts += ["## The same with a server that is far away\n", _bounds(far)]
    parts += ["## What is not met, and why\n", _missed(rows)]
    if words["skipped"]:
        parts += ["## What was not measured\n", _skipped(words["skipped"])]
    parts.append("## All figures\n")
    parts += [_figures(row) for row in rows]
    return "\n".join(parts)


def _machine(words: Words) -> str:
    versions = ", ".join(f"{name}: {version}" for name, version in words["versions"].items())
    loads = [load for row in words["rows"] for load in row["load"]]
    return (
        "## Machine\n\n"
        f"{words['cores']} cores of {words['cpu']}, {words['memory_gib']:g} GiB, Linux {words['kernel']}, "
        f"files on {words['filesystem']}, Python {words['python']}. {words['runs']}. "
        f"Load average from {min(loads):.1f} to {max(loads):.1f} during the run.\n\n{versions}.\n"
    )


def _bounds(rows: Sequence[Words]) -> str:
    lines = ["| work | must be | is | met |", "|---|---|---|---|"]
    for row in rows:
        title = _title(row)
        for bound in row["bounds"]:
            lines.append(f"| {title} | {bound['text']} | {_value(bound)} | {_met(bound)} |")
            title = ""
    return "\n".join(lines) + "\n"


def _missed(rows: Sequence[Words]) -> str:
    missed = [row for row in rows if not all(bound["met"] for bound in row["bounds"])]
    if not missed:
        return "Everything is met.\n"
    lines: list[str] = []
    for row in missed:
        texts = [f"{each['text']}, is {_value(each)}" for each in row["bounds"] if not each["met"]]
        why = REASONS.get(row["name"], "")
        lines.append(f"- **{_title(row)}**: {'; '.join(texts)}. {why}".rstrip())
    return "\n".join(lines) + "\n"


def _skipped(rows: Sequence[Words]) -> str:
    return "\n".join(f"- **{row['name']}**: {row['why']}." for row in rows) + "\n"


def _figures(row: Words) -> str:
    lines = [
        f"### {_title(row)}\n",
        HEAD,
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    first = row["samples"][0]["median"]
    for sample in row["samples"]:
        own = sample["median"]
        cells = [
            sample["name"],
            _number(own["wall_ms"]),
            _number(sample["p95_ms"]),
            _number(own["cpu_ms"]),
            _by(own["wall_ms"], first["wall_ms"]),
            _by(own["cpu_ms"], first["cpu_ms"]),
            *(_number(own[what]) for what in ("requests", "puts", "sent")),
            str(len(sample["rounds"])),
            f"{sample['spread']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n{note}." for note in row["notes"]]
    return "\n".join(lines) + "\n"


def _title(row: Words) -> str:
    away = row["round_trip_ms"]
    return f"{row['work']}, {away:g} ms away" if away else str(row["work"])


def _value(bound: Words) -> str:
    return _number(bound["value"]) + (f" (CPU {_number(bound['cpu'])})" if bound["cpu"] is not None else "")


def _met(bound: Words) -> str:
    return "yes" if bound["met"] else "**no**"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _by(value: float | None, first: float | None) -> str:
    return f"{value / first:.2f}" if value is not None and first else ""


def merged(documents: Iterable[Words]) -> Words:
    """The rows of all runs, a later one in place of an earlier; and which runs they were."""
    runs = list(documents)
    told = [f"{each['at']} at commit {each['commit']}" for each in runs]
    rows = {(row["name"], row["round_trip_ms"]): row for each in runs for row in each["rows"]}
    done = {name for name, _ in rows}
    skipped = {
        row["name"]: row for each in runs for row in each.get("skipped", ()) if row["name"] not in done
    }
    return {
        **runs[0],
        "rows": list(rows.values()),
        "skipped": list(skipped.values()),
        "runs": "; ".join(told),
    }


def main() -> None:
    """Write the page to standard output."""
    paths = [Path(each) for each in sys.argv[1:]] or [OUT]
    nightly = OUT.with_name("nightly.json")
    if not sys.argv[1:] and nightly.exists():
        paths.append(nightly)
    sys.stdout.write(page(merged(json.loads(path.read_text()) for path in paths)))


if __name__ == "__main__":
    main()
