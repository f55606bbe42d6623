"""The job script, made from data: every value is quoted, and what cannot be written down is refused.

sbatch reads ``#SBATCH`` lines with rules of its own: quotes of both kinds, a backslash before any character
also within them, no expansion, one line. The only command is an ``exec`` of our own program.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pollinator.v1.spec_pb2 import RunSpec, Slurm
from pollinator.wire.errors import InvalidInput, Violation

NAME = "pollinator-"
"""Names of jobs begin so; the run's id follows."""
COMMENT = "pollinator:"
LOG = "job.log"
"""What Slurm and our own program in the job say; nothing of the ranks is in it."""
WARNING = "USR2"
"""The signal by which Slurm tells our program in the job that its time is nearly over."""

ROOM_S = 30
"""Between our own end of a run and Slurm's: for starting and ending."""
LONGEST = 4000
"""Bytes of one value; sbatch cuts what is longer than 8191."""

_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_DIRECTIVE = re.compile(r"--([a-z][a-z0-9-]*)(?:=(.*))?", re.DOTALL)
_OURS = {
    "account": "slurm.account",
    "array": "",
    "chdir": "",
    "clusters": "",
    "comment": "",
    "constraint": "slurm.constraint",
    "cpus-per-task": "conditions.cpu",
    "error": "",
    "export": "environment.env",
    "export-file": "environment.env",
    "gpus-per-node": "conditions.gpu",
    "gres": "conditions.gpu",
    "input": "",
    "job-name": "",
    "mem": "conditions.mem",
    "no-requeue": "conditions.requeue",
    "nodes": "conditions.nodes",
    "ntasks": "conditions.processesPerNode",
    "ntasks-per-node": "conditions.processesPerNode",
    "open-mode": "",
    "output": "",
    "parsable": "",
    "partition": "slurm.partition",
    "qos": "slurm.qos",
    "quiet": "",
    "requeue": "conditions.requeue",
    "reservation": "slurm.reservation",
    "signal": "environment.signal",
    "tasks-per-node": "conditions.processesPerNode",
    "test-only": "",
    "time": "conditions.walltime",
    "wait": "",
    "wrap": "",
}
"""Options that are not for directives, and the key to use instead."""
_NOT_OURS = ("gpus",)
"""Whole names of other options, with which one of ours begins."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the script has to know about the cluster."""

    partition: str = ""
    """To be used where neither run nor settings name one; empty is Slurm's own default."""
    longest_ms: int = 0
    """Longest time that the partition allows; 0 is unlimited or unknown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the job finds its files, and how it begins."""

    run_id: str
    workspace: Path
    command: Sequence[str]
    """Our own program in the job."""
    grace_ms: int


def job_script(spec: RunSpec, wishes: Slurm, place: Place, site: Site) -> str:
    """The script.

    Args:
        spec: what to run.
        wishes: what only Slurm knows: of the settings, and of the run before them.
        place: of the run.
        site: the cluster.

    Raises:
        InvalidInput: a value cannot be written down, or a directive is not allowed.
    """
    options = [
        *_naming(place),
        *_size(spec),
        *_time(spec, place, site),
        *_where(wishes, site),
        *_directives(wishes.directives),
    ]
    _check([*options, *(("slurm.modules", "", name) for name in wishes.modules)])
    lines = [f"#SBATCH --{name}{_value(value)}" for _, name, value in options]
    modules = (
        [f"module load {' '.join(map(shlex.quote, wishes.modules))} || exit 1"] if wishes.modules else []
    )
    # The command ``module`` is made by the profile that a login shell reads.
    shell = "#!/bin/bash -l" if modules else "#!/bin/sh"
    command = " ".join(map(shlex.quote, place.command))
    return "\n".join([shell, *lines, *modules, f"exec {command}", ""])


def merged(settings: Slurm, run: Slurm) -> Slurm:
    """Wishes of a run, and those of the executor's settings where it has none."""
    both = Slurm()
    both.CopyFrom(settings)
    if run.modules:
        del both.modules[:]
    # Directives of both: later ones win.
    both.MergeFrom(run)
    return both


def tasks_cpus(spec: RunSpec) -> int:
    """Whole cores for each rank: what a node is asked for, shared by its ranks, and rounded up."""
    return max(1, -(-spec.cpu_millis // (1000 * spec.processes_per_node)))


def memory(size: int) -> str:
    """Bytes as ``--mem`` takes them: in KiB, or in MiB where that is the same."""
    kib = -(-size // 1024)
    return f"{kib}K" if kib % 1024 else f"{kib // 1024}M"


_Option = tuple[str, str, str | None]
"""The key that a user knows it by, the option of sbatch, and its value."""


def _naming(place: Place) -> list[_Option]:
    if "\\" in str(place.workspace):
        _refuse("", f"Slurm writes no output below {place.workspace}: there is a backslash in it")
    log = str(place.workspace / LOG).replace("%", "%%")
    return [
        ("", "job-name", f"{NAME}{place.run_id}"),
        ("", "comment", f"{COMMENT}{place.run_id}"),
        ("", "chdir", str(place.workspace)),
        ("", "output", log),
        ("", "open-mode", "append"),
        ("", "export", "NONE"),
    ]


def _size(spec: RunSpec) -> list[_Option]:
    found: list[_Option] = [
        ("conditions.nodes", "nodes", str(spec.nodes)),
        ("conditions.processesPerNode", "ntasks-per-node", str(spec.processes_per_node)),
        ("conditions.cpu", "cpus-per-task", str(tasks_cpus(spec))),
    ]
    if spec.memory_bytes:
        found.append(("conditions.mem", "mem", memory(spec.memory_bytes)))
    if spec.gpu.count:
        name = f"{spec.gpu.name}:" if spec.gpu.name else ""
        if not re.fullmatch(r"[\w.-]*", spec.gpu.name, re.ASCII):
            _refuse("conditions.gpu.name", f"{spec.gpu.name!r} is no name of a GPU")
        # Every version and every way to select nodes knows it; --gpus-per-node they do not.
        found.append(("conditions.gpu", "gres", f"gpu:{name}{spec.gpu.count}"))
    return found


def _time(spec: RunSpec, place: Place, site: Site) -> list[_Option]:
    found: list[_Option] = [("", "requeue" if spec.requeue else "no-requeue", None)]
    if spec.walltime_ms:
        minutes = -(-(spec.walltime_ms + place.grace_ms + ROOM_S * 1000) // 60_000)
        if site.longest_ms:
            # Our own end comes first all the same, or Slurm's at the same time.
            minutes = min(minutes, max(1, site.longest_ms // 60_000))
        found.append(("conditions.walltime", "time", str(minutes)))
    if spec.signal:
        found.append(("environment.signal", "signal", f"B:{WARNING}@{spec.signal.partition('@')[2] or 0}"))
    return found


def _where(wishes: Slurm, site: Site) -> list[_Option]:
    given = {
        "partition": wishes.partition or site.partition,
        "account": wishes.account,
        "qos": wishes.qos,
        "constraint": wishes.constraint,
        "reservation": wishes.reservation,
    }
    return [(f"slurm.{name}", name, value) for name, value in given.items() if value]


def _directives(directives: Sequence[str]) -> list[_Option]:
    found: list[_Option] = []
    for each in directives:
        parts = _DIRECTIVE.fullmatch(each)
        if parts is None:
            _refuse("slurm.directives", f"{each!r} is neither --name=value nor --name")
        name, value = parts.groups()
        if ours := _meant(name):
            instead = f"; use {_OURS[ours]}" if _OURS[ours] else ""
            _refuse("slurm.directives", f"--{ours} is set by Pollinator{instead}")
        found.append(("slurm.directives", name, value))
    return found


def _meant(name: str) -> str:
    """Which of ours it is, or empty: sbatch takes the beginning of a name for the whole one."""
    if name in _OURS:
        return name
    return next((each for each in _OURS if each.startswith(name) and name not in _NOT_OURS), "")


def _check(options: Sequence[_Option]) -> None:
    violations: list[Violation] = []
    for key, name, value in options:
        where = key or name
        if value is None:
            continue
        if bad := [char for char in value if not (char.isprintable() or char == "\t")]:
            text = f"{value!r} holds {bad[0]!r}, which no job script can"
            violations.append(Violation(where, text))
        elif len(value.encode("utf-8", "surrogateescape")) > LONGEST:
            violations.append(Violation(where, f"is longer than {LONGEST} bytes"))
        elif not value.strip() or value != value.strip():
            violations.append(Violation(where, f"{value!r} begins or ends with a blank, or is empty"))
    if violations:
        raise InvalidInput(
            "this run cannot be written down as a job script",
            reason="bad_directive",
            hint="change what is named",
            violations=violations,
        )


def _refuse(where: str, message: str) -> NoReturn:
    raise InvalidInput(
        "this run cannot be written down as a job script",
        reason="bad_directive",
        hint="change what is named",
        violations=[Violation(where, message)],
    )


def _value(value: str | None) -> str:
    """As sbatch reads it back: in its quotes a backslash stands before quotes and backslashes."""
    if value is None:
        return ""
    if _PLAIN.fullmatch(value):
        return f"={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'="{escaped}"'
