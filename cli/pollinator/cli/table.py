"""Columns for people. Programs use ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pollinator.cli.terminal import BOLD, CYAN, GREEN, RED, YELLOW, Terminal, painted
from pollinator.cli.words import age_text, duration_text, reason_word, run_time_s, state_word
from pollinator.v1.run_pb2 import Run, RunState

_COLOURS = {"succeeded": GREEN, "failed": RED, "lost": RED, "cancelled": YELLOW, "running": CYAN}


def print_table(terminal: Terminal, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header, each column as wide as its widest cell."""
    for line in table_lines(header, rows, colour=terminal.colour_out):
        terminal.print(line)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool) -> list[str]:
    """The lines of a table."""
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    lines = [painted(_line(header, widths), BOLD, colour)]
    for row in rows:
        line = _line(row, widths)
        for word, paint in _COLOURS.items():
            if word in row:
                line = line.replace(word, painted(word, paint, colour), 1)
        lines.append(line)
    return lines


def print_runs(terminal: Terminal, runs: Sequence[Run]) -> None:
    """Print a table of runs."""
    for line in run_lines(runs, colour=terminal.colour_out):
        terminal.print(line)


def run_lines(runs: Sequence[Run], *, colour: bool) -> list[str]:
    """The lines of a table of runs."""
    now = datetime.now(UTC)
    several = len({run.project for run in runs}) > 1
    kept = any(run.pinned for run in runs)
    header = ["RUN", "STATE", "WHY", "AGE", "TIME", "EXECUTOR"]
    header += ["KEPT"] * kept + ["PROJECT"] * several
    rows = [_run_row(run, now, kept=kept, several=several) for run in runs]
    return table_lines(header, rows, colour=colour)


def _run_row(run: Run, now: datetime, *, kept: bool, several: bool) -> list[str]:
    took = run_time_s(run, now)
    return [
        run.id,
        shown_state(run),
        _why(run),
        age_text(run.accept_time, now),
        "-" if took is None else duration_text(took),
        run.executor,
        *["pinned" if run.pinned else "-"] * kept,
        *[run.project] * several,
    ]


def shown_state(run: Run) -> str:
    """The state, or ``cancelling`` while the wish to end is on its way."""
    from pollinator.cli.view import ENDS

    if run.cancel_requested and run.state not in ENDS:
        return "cancelling"
    return state_word(run.state)


def _why(run: Run) -> str:
    return ", ".join(filter(None, ["smoke" if run.smoke else "", _reason(run)])) or "-"


def _reason(run: Run) -> str:
    if run.superseded and run.state == RunState.RUN_STATE_CANCELLED:
        return "superseded"
    word = reason_word(run)
    if word == "exit_code":
        return f"exit {run.outcome.exit_code}"
    return word or run.pending.code or ("no word" if run.HasField("unreachable_since") else "")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
