"""From a run's spec to the function spec of a colony, as public executors need it; back is ``wanted``.

Nothing here reads or writes anything. Public executors put the command into a line ``sh -c "INIT;CMD ARGS"``,
and some put that into a script of bash, with HTML's escapes on the way: what would not survive that travels
in an alphabet that does. Executors of ours take the spec itself, which is beside it.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef

TYPE = "container-executor"
"""Type of all public executors."""
FUNCTION = "execute"
MOUNT = "/cfs"
ROOT = "/pollinator"
"""Labels and folders of projects are below it."""
PRIORITY = 5
RETRIES = 3
UNLIMITED = -1
MOST = 127
"""A colony gives nobody what asks for more nodes, or more ranks on each."""

OURS = "pollinator"
"""Name of our own part among the arguments by name, and of the software that our executors register."""
VERSION = 1

_MIB = 1024 * 1024
_LEAST_MILLIS = 10
"""Public executors refuse amounts that are written shorter."""
_USUAL_MILLIS = 1000
_USUAL_MIB = 1000
_PLAIN = re.compile(r"[A-Za-z0-9_@%=:,./;\- ]*")
"""Stays as it is in a shell, between double quotes in bash, in HTML, and in YAML."""
WORD = re.compile(r"[A-Za-z0-9_@%=:,./-]+")
"""The same for a word."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot in a bucket, without the keys of the bucket."""

    ref: SnapshotRef
    endpoint: str
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Mount:
    """One of the trees of a run in the colony's files."""

    label: str
    snapshot_id: str
    """Empty where it is what the label holds."""
    content: str = ""
    """Names all that it holds, for data."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run goes, and under which names."""

    colony: str
    run_id: str
    executor_names: Sequence[str]
    """Those of the colony that may take it; empty is any of the type."""
    executor_type: str = TYPE
    location: str = ""
    """Where those have to be, in their own words; empty is anywhere."""
    ours: bool = False
    """All that may take it are ours."""
    src: Mount | None = None
    """Its src in the colony's files; None where executors of ours find the files elsewhere."""
    data: Mount | None = None
    """The same of its data."""
    stored: Stored | None = None
    """Where executors of ours find all of it."""


def label_of(project: str, tree: str) -> str:
    """The label of a project's tree, as the original names it."""
    return f"{ROOT}/{project}/{tree}"


def result_label(project: str, run_id: str) -> str:
    """The label of the results of one run: where the original finds them among all of the project."""
    return f"{label_of(project, 'result')}/{run_id}"


def process_label(run_id: str) -> str:
    """By which a process is found again that is of this run."""
    return f"pollinator-{run_id}"


def function_spec(spec: RunSpec, target: Target) -> dict[str, Any]:
    """The function spec of a run.

    Args:
        spec: what to run. It has a walltime unless all executors are ours.
        target: where it goes.
    """
    seconds = -(-spec.walltime_ms // 1000)
    return {
        "nodename": "",
        "funcname": FUNCTION,
        "args": [],
        "kwargs": {
            "docker-image": spec.image,
            # One that is told to build it anew forgets the process.
            "rebuild-image": False,
            **_command(spec, target),
            OURS: _ours(spec, target),
        },
        "priority": PRIORITY,
        "maxwaittime": UNLIMITED,
        # It counts from when an executor takes the process, and ours hold the walltime by themselves.
        "maxexectime": UNLIMITED if target.ours else max(1, seconds - 1),
        "maxretries": RETRIES,
        "conditions": _conditions(spec, target, seconds),
        "label": process_label(target.run_id),
        "fs": _files(spec.project, target),
        "env": {name: value for name, value in _variables(spec, target.run_id).items() if _is_word(value)},
    }


def folder_of(project: str, run_id: str) -> str:
    """The working folder of a run at a public executor."""
    return f"{MOUNT}{ROOT}/{project}/{run_id}"


def data_folder(project: str, data: Mount | None) -> str:
    """Where public executors keep data for runs that have the same."""
    content = data.content if data is not None else ""
    return "/".join(filter(None, (ROOT, project, content, "data")))


def _conditions(spec: RunSpec, target: Target, seconds: int) -> dict[str, Any]:
    mebibytes = -(-spec.memory_bytes // _MIB)
    # An executor of ours that only shows that it lives would be given what asks for nothing.
    millis = max(1, spec.cpu_millis) if target.ours else max(_LEAST_MILLIS, spec.cpu_millis or _USUAL_MILLIS)
    return {
        "colonyname": target.colony,
        "executornames": list(target.executor_names),
        "executortype": target.executor_type,
        **({"locationname": target.location} if target.location else {}),
        "dependencies": [],
        "nodes": spec.nodes,
        "cpu": f"{millis}m",
        "processes": 0,
        "processespernode": spec.processes_per_node,
        "mem": f"{mebibytes or (1 if target.ours else _USUAL_MIB)}Mi",
        # With any wish for it no executor is ever given the process.
        "storage": "",
        "gpu": {"name": spec.gpu.name, "mem": "", "count": spec.gpu.count, "nodecount": 0},
        "walltime": seconds,
    }


def _files(project: str, target: Target) -> dict[str, Any]:
    if target.src is None or target.data is None:
        return {"mount": "", "snapshots": [], "dirs": []}
    here = f"{ROOT}/{project}/{target.run_id}"
    never = {"onstart": {"keeplocal": False}, "onclose": {"keeplocal": False}}
    at_the_end = {"onstart": {"keeplocal": False}, "onclose": {"keeplocal": True}}
    src = {
        "snapshotid": target.src.snapshot_id,
        "label": target.src.label,
        "dir": f"{here}/src",
        "keepfiles": True,
        "keepsnapshot": True,
    }
    result = {
        "label": result_label(project, target.run_id),
        "dir": f"{here}/result",
        "keepfiles": False,
        "onconflicts": at_the_end,
    }
    # The same folder for all runs with this content, which is fetched once, and for no others.
    data = {
        "label": target.data.label,
        "dir": data_folder(project, target.data),
        "keepfiles": True,
        "onconflicts": never,
    }
    return {"mount": MOUNT, "snapshots": [src], "dirs": [result, data]}


def _command(spec: RunSpec, target: Target) -> dict[str, Any]:
    """The command in the words of public executors, with the working folder that every run has."""
    work = folder_of(spec.project, target.run_id)
    ready = f"ln -sfn {MOUNT}{data_folder(spec.project, target.data)} {work}/data;cd {work}"
    words = _words(spec, f"{work}/src")
    variables = _variables(spec, target.run_id)
    plain = all(map(WORD.fullmatch, words)) and "=" not in words[0]
    if plain and _PLAIN.fullmatch(spec.init_command) and all(map(_is_word, variables.values())):
        init = f"{ready};{spec.init_command}" if spec.init_command else ready
        fixed = len(shlex.split(spec.command))
        return {"init-cmd": init, "cmd": " ".join(words[:fixed]), "args": words[fixed:]}
    # Read as a whole before any of it is done, so that no command takes it for its input.
    script = "\n".join(
        [
            "{ exec </dev/null",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            *([spec.init_command] if spec.init_command else []),
            f"exec {shlex.join(words)}",
            "}\n",
        ]
    )
    return {"init-cmd": ready, "cmd": _carried(script), "args": []}


def _carried(script: str) -> str:
    """A command that runs a script, in letters that no shell and no template changes.

    What is in base64 has neither ``>`` nor ``~``, and so its own base64 has no ``+``, which is escaped.
    """
    once = base64.b64encode(script.encode())
    return f"echo {base64.b64encode(once).decode()}|base64 -d|base64 -d|sh"


def _words(spec: RunSpec, src: str) -> list[str]:
    source = [f"{src}/{spec.source}"] if spec.source else []
    return [*shlex.split(spec.command), *source, *spec.arguments]


def _variables(spec: RunSpec, run_id: str) -> dict[str, str]:
    work = folder_of(spec.project, run_id)
    contract = {
        "PROJECT_DIR": work,
        "POLLINATOR_RUN_ID": run_id,
        "POLLINATOR_PROJECT": spec.project,
        "POLLINATOR_SRC": f"{work}/src",
        "POLLINATOR_DATA": f"{work}/data",
        "POLLINATOR_RESULT": f"{work}/result",
        "POLLINATOR_NNODES": str(spec.nodes),
    }
    return (
        {"PYTHONUNBUFFERED": "1"}
        | {variable.name: variable.value for variable in spec.environment}
        | contract
    )


def _is_word(value: str) -> bool:
    return not value or WORD.fullmatch(value) is not None


def _ours(spec: RunSpec, target: Target) -> dict[str, Any]:
    part: dict[str, Any] = {
        "version": VERSION,
        "run": target.run_id,
        "spec": MessageToDict(spec, preserving_proto_field_name=True),
    }
    if target.data is not None:
        part["data"] = target.data.snapshot_id
    if (stored := target.stored) is not None:
        part["snapshot"] = {
            "key": stored.ref.key,
            "digest": stored.ref.digest.hex(),
            "endpoint": stored.endpoint,
            "bucket": stored.bucket,
            "prefix": stored.prefix,
        }
    return part
