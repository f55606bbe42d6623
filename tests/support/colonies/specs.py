"""Function specs as they come in, and as the database gives them back."""

from __future__ import annotations

import random
import re
from typing import Any

from support.colonies.decoding import anything, listed, mapped, message, text, truth, whole
from support.colonies.refusing import Refusal, storable

_GPU = message(name=text, mem=text, count=whole, nodecount=whole)
CONDITIONS = message(
    colonyname=text,
    executornames=listed(text),
    executortype=text,
    locationname=text,
    dependencies=listed(text),
    nodes=whole,
    cpu=text,
    processes=whole,
    processespernode=whole,
    mem=text,
    storage=text,
    gpu=_GPU,
    walltime=whole,
)
_KEEP = message(keeplocal=truth)
_SNAPSHOT = message(snapshotid=text, label=text, dir=text, keepfiles=truth, keepsnapshot=truth)
_DIR = message(label=text, dir=text, keepfiles=truth, onconflicts=message(onstart=_KEEP, onclose=_KEEP))
SPEC = message(
    nodename=text,
    funcname=text,
    args=listed(anything),
    kwargs=mapped(anything),
    priority=whole,
    maxwaittime=whole,
    maxexectime=whole,
    maxretries=whole,
    conditions=CONDITIONS,
    label=text,
    fs=message(mount=text, snapshots=listed(_SNAPSHOT), dirs=listed(_DIR)),
    env=mapped(text),
    channels=listed(text),
)

_UNITS = {
    "Ki": 1024,
    "KiB": 1024,
    "Mi": 1024**2,
    "MiB": 1024**2,
    "Gi": 1024**3,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "K": 1000,
    "KB": 1000,
    "Kb": 1000,
    "M": 1000**2,
    "MB": 1000**2,
    "Mb": 1000**2,
    "G": 1000**3,
    "Gb": 1000**3,
    "TB": 1000**4,
    "Tb": 1000**4,
}
_INTEGER = re.compile("[+-]?[0-9]+")
_MOST_PRIORITY = 50_000
_MIB = 1024**2
_NUMBERS = ("maxwaittime", "maxexectime", "maxretries")
_COUNTS = ("nodes", "processes", "processespernode")
_INTEGERS = 1 << 31
"""The numbers above are kept in four bytes."""


def millicores(cpu: str) -> int:
    """Only what ends with an m is read; anything else is nothing at all."""
    if not cpu.endswith("m"):
        return 0
    if not _INTEGER.fullmatch(cpu[:-1]):
        raise Refusal(400, "Error converting CPU to int")
    return int(cpu[:-1])


def size(memory: str) -> int:
    """Bytes. The units are tried in no order, and compared without case, but cut off with it."""
    if not memory:
        return 0
    units = list(_UNITS)
    random.shuffle(units)
    unit = next((each for each in units if memory.upper().endswith(each.upper())), "")
    digits = memory.removesuffix(unit) if unit else ""
    if not _INTEGER.fullmatch(digits):
        wrong = f'strconv.ParseInt: parsing "{digits}": invalid syntax'
        raise Refusal(400, f"error converting memory to int: {wrong}")
    return int(digits) * _UNITS[unit]


def check(spec: Any) -> None:
    """Raises Refusal for a spec that is not taken."""
    if not -_MOST_PRIORITY <= spec["priority"] <= _MOST_PRIORITY:
        limits = f"[{-_MOST_PRIORITY}, {_MOST_PRIORITY}]"
        raise Refusal(400, f"Failed to submit function spec, priority outside range {limits}")


def stored(spec: Any) -> tuple[Any, int, int, int]:
    """A spec as it is given back, and how much of CPU, memory and storage it wants.

    Raises:
        Refusal: the database does not take it.
    """
    wanted = spec["conditions"]
    cpu, memory, storage = millicores(wanted["cpu"]), size(wanted["mem"]), size(wanted["storage"])
    gpu_memory = size(wanted["gpu"]["mem"])
    names: list[str] | None = wanted["executornames"]
    storable(spec["nodename"], spec["funcname"], spec["label"], wanted["executortype"])
    for number in [spec[each] for each in _NUMBERS] + [wanted[each] for each in _COUNTS]:
        if not -_INTEGERS <= number < _INTEGERS:
            raise Refusal(400, f'pq: value "{number}" is out of range for type integer')
    storable(wanted["locationname"], wanted["gpu"]["name"], *(names or []))
    conditions: Any = {
        **wanted,
        "executornames": [] if names == ["*"] else names,
        "dependencies": wanted["dependencies"] or [],
        "cpu": f"{cpu}m",
        "mem": f"{memory // _MIB}Mi",
        "storage": f"{storage // _MIB}Mi",
        "gpu": {**wanted["gpu"], "mem": f"{gpu_memory // _MIB}Mi", "nodecount": 0},
    }
    kept: Any = {
        **spec,
        "args": spec["args"] or [],
        "kwargs": spec["kwargs"] or {},
        "conditions": conditions,
        "env": {},
    }
    if not wanted["locationname"]:
        del conditions["locationname"]
    if not spec["channels"]:
        del kept["channels"]
    return kept, cpu, memory, storage
