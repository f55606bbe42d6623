"""A run, a project, an executor as lines of text."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pollinator.cli.table import shown_state
from pollinator.cli.words import (
    age_text,
    bytes_text,
    count_text,
    duration_text,
    left_text,
    reason_word,
    run_time_s,
    signal_text,
    time_text,
    what_happened,
    what_to_do,
)
from pollinator.v1.project_pb2 import BigPath, Project, ProjectState
from pollinator.v1.run_pb2 import Run, RunState

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from pollinator.v1.spec_pb2 import RunSpec

Pairs = Iterator[tuple[str, str]]


def describe_run(run: Run) -> list[str]:
    """Everything about a run."""
    groups = (_identity(run), _end(run), _times(run), _resources(run.spec), _usage(run), _files(run))
    lines = [line(name, value) for group in groups for name, value in group if value]
    return [*lines, *(line("notice", notice.text) for notice in run.notices)]


def describe_waiting(run: Run) -> list[str]:
    """Where a run is, why it waits, and what became of it."""
    pairs = (("run", run.id), *_end(run), ("ended", _ending(run)))
    return [line(name, value) for name, value in pairs if value]


def describe_project(project: Project) -> list[str]:
    """What the daemon does about a project."""
    state = ProjectState.Name(project.state).removeprefix("PROJECT_STATE_").lower().replace("_", " ")
    lines = [f"{project.name}  {project.root}"]
    pairs = [
        ("state", state),
        ("problem", project.problem),
        ("backlog", _backlog(project)),
        ("largest", "\n".join(biggest_lines(project.biggest))),
        ("reading", os.fsdecode(project.activity.reading)),
        ("rate", _rate(project)),
        ("files", f"{project.files} ({bytes_text(project.bytes)})"),
        ("watched by", project.watching),
        ("degraded", project.degraded),
        ("store", project.store),
        ("last in sync", _time(project, "last_sync_time")),
        ("missed changes", str(project.missed_changes or "")),
    ]
    return lines + [textwrap.indent(line(name, value), "  ") for name, value in pairs if value]


def biggest_lines(paths: Sequence[BigPath]) -> list[str]:
    """The largest files and directories, one a line."""
    rows = [
        (
            bytes_text(each.bytes),
            count_text(each.files, "file") if each.directory else "",
            f"cfs/{os.fsdecode(each.path)}{'/' * each.directory}",
        )
        for each in paths
    ]
    sizes, files = (max((len(row[at]) for row in rows), default=0) for at in (0, 1))
    gap = 2 if files else 0
    return [f"{size:>{sizes}}{'':{gap}}{count:>{files}}  {name}" for size, count, name in rows]


def _identity(run: Run) -> Pairs:
    yield "run", run.id
    yield "project", f"{run.project}  {run.root}".rstrip()
    yield "executor", run.executor
    yield "smoke test", "a small trial before a run of the project" if run.smoke else ""
    yield "repeats", run.rerun_of
    yield "pinned", "its files and results are kept whatever its age" if run.pinned else ""
    yield "attempt", str(run.attempt) if run.attempt > 1 else ""
    yield "nodes", ", ".join(run.nodes)


def _end(run: Run) -> Pairs:
    yield "state", shown_state(run)
    yield "superseded", "a newer run takes its place" if run.superseded else ""
    # Slurm's words are long: what is missing, what is asked for, what the partition allows.
    yield "waits for", run.pending.text.replace("; ", ";\n")
    yield "what to do", run.pending.action.replace("; ", ";\n")
    yield "starts", f"{_time(run.pending, 'eta')} (estimate)" if run.pending.HasField("eta") else ""
    why = "" if run.pending.text else run.unreachable_detail
    yield "no word since", ": ".join(filter(None, [_time(run, "unreachable_since"), why]))
    yield "reason", reason_word(run)
    yield "happened", what_happened(run)
    yield "what to do", what_to_do(run)
    # A run that never started has none, and nobody knows that of one that is lost.
    known = run.HasField("outcome") and run.HasField("start_time") and run.state != RunState.RUN_STATE_LOST
    yield "exit code", str(run.outcome.exit_code) if known else ""
    yield "signal", signal_text(run.outcome.signal) if run.outcome.signal else ""


def _ending(run: Run) -> str:
    if not run.HasField("end_time"):
        return ""
    now = datetime.now(UTC)
    took = run_time_s(run, now)
    when = "before it started" if took is None else f"after {duration_text(took)}"
    return f"{time_text(run.end_time)}, {age_text(run.end_time, now)} ago, {when}"


def _times(run: Run) -> Pairs:
    took = run_time_s(run, datetime.now(UTC))
    yield "accepted", _time(run, "accept_time")
    yield "started", _time(run, "start_time")
    yield "ended", _time(run, "end_time")
    yield "ran for", "" if took is None else duration_text(took)


def _resources(spec: RunSpec) -> Pairs:
    ranks = f"{spec.nodes * spec.processes_per_node} on {count_text(spec.nodes, 'node')}"
    yield "ranks", ranks if spec.nodes else ""
    each = " on each node" if spec.nodes > 1 else ""
    yield "cpu", count_text(spec.cpu_millis / 1000, "core") + each if spec.cpu_millis else ""
    yield "memory", bytes_text(spec.memory_bytes) + each if spec.memory_bytes else ""
    yield "walltime", duration_text(spec.walltime_ms / 1000) if spec.walltime_ms else ""
    yield "gpu", f"{spec.gpu.count} {spec.gpu.name}".rstrip() if spec.gpu.count else ""
    yield "image", spec.image
    yield "command", " ".join(filter(None, [spec.command, spec.source, shlex.join(spec.arguments)]))
    yield "environment", "\n".join(f"{each.name}={each.value}" for each in spec.environment)


def _usage(run: Run) -> Pairs:
    usage = run.usage
    yield "cpu time", duration_text(usage.cpu.ToNanoseconds() / 1e9) if usage.HasField("cpu") else ""
    by = f" (measured by {usage.memory_source})" if usage.memory_source else ""
    yield "peak memory", bytes_text(usage.peak_memory_bytes) + by if usage.peak_memory_bytes else ""


def _files(run: Run) -> Pairs:
    yield "snapshot", run.snapshot.digest.hex()
    yield "git commit", run.git_commit
    yield "result", run.result.digest.hex()


def _backlog(project: Project) -> str:
    if not project.backlog_files and not project.backlog_bytes:
        return "none"
    return f"{count_text(project.backlog_files, 'file')}, {bytes_text(project.backlog_bytes)}"


def _rate(project: Project) -> str:
    activity = project.activity
    rates = [
        f"{bytes_text(round(rate))}/s {what}"
        for rate, what in ((activity.read_rate, "read"), (activity.send_rate, "sent"))
        if rate
    ]
    if activity.HasField("time_left"):
        rates.append(left_text(activity.time_left.ToMilliseconds() / 1000))
    return ", ".join(rates)


def _time(message: object, field: str) -> str:
    stamp: Timestamp = getattr(message, field)
    return time_text(stamp) if stamp.seconds else ""


def line(name: str, value: str) -> str:
    """A name and its value, in columns that fit below those of others."""
    first, *more = value.splitlines() or [""]
    return "\n".join([f"{name + ':':<18} {first}", *(f"{'':<18} {line}" for line in more)])
