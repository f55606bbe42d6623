"""The one table of the keys of project.yaml: the validator, the schema and the reference are made from it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pollinator.model.quantity import (
    BYTES,
    CPU,
    DURATION,
    format_bytes,
    format_cpu,
    format_duration,
    parse_bytes,
    parse_cpu,
    parse_duration_ms,
)

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_COUNT = 1_000_000
SIGNALS = ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT")
"""Signals that a program may want as a warning."""

SIGNAL_BEFORE_S = 60
"""So long before the end a warning comes that says nothing about it."""

ENGINES = ("apptainer", "singularity", "docker", "podman", "none")
_SIGNAL = re.compile(rf"(?:SIG)?(?P<name>{'|'.join(SIGNALS)})(?:@(?P<before>.+))?")
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,19}")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    field: str
    """Field of RunSpec, with a dot for a message inside it."""
    parse: Callable[[str], Any]
    """From the written text to the field's value; raises ValueError with a sentence."""
    show: Callable[[Any], str]
    """Back to text."""
    schema: Mapping[str, object]
    """JSON Schema of the value."""
    text: str
    """What it is for."""


def passable(text: str) -> str:
    """The text itself, if a program can be given it as an argument or variable.

    Raises:
        ValueError: it holds NUL or half a character.
    """
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ValueError(f"{text!r} holds U+{ord(character):04X}, which no program can be given")
    return text


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name; use letters, digits, '.', '_' and '-', at most 128")
    return text


def _object_name(text: str) -> str:
    if text and not _OBJECT.fullmatch(text):
        raise ValueError(f"{text!r} is no name of an object: use small letters, digits, '-' and '.'")
    return text


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= MAX_COUNT:
            raise ValueError(f"{text!r} is not a whole number from {least} to {MAX_COUNT}")
        return int(text)

    return parse


def _port(text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _flag(text: str) -> bool:
    # YAML 1.1, which the original reads, has more words for it than its successor.
    if text.lower() not in ("true", "yes", "on", "false", "no", "off"):
        raise ValueError(f"write true or false, not {text!r}")
    return text.lower() in ("true", "yes", "on")


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} cannot be split into words: {error}") from None
    if not words:
        raise ValueError("the command is empty; write for example python3")
    return text


def _below_src(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"{text!r} must be a path below cfs/src")
    return text


def _signal(text: str) -> str:
    found = _SIGNAL.fullmatch(text.strip())
    if not found or not (before := parse_duration_ms(found["before"] or f"{SIGNAL_BEFORE_S}") // 1000):
        raise ValueError(f"write a signal and how long before the end it comes, as USR1@60, not {text!r}")
    return f"{found['name']}@{before}"


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"write {', '.join(words[:-1])} or {words[-1]}, not {text!r}")
        return text

    return parse


def line(text: str) -> str:
    """The text itself, if it is one line.

    Raises:
        ValueError: it holds a character that ends lines, or another that cannot be seen.
    """
    if any(not character.isprintable() for character in text):
        raise ValueError(f"{text!r} holds characters that cannot be printed")
    return text


def _bool(value: bool) -> str:
    return "true" if value else "false"


_STRING: Mapping[str, object] = {"type": "string"}
_BOOLEAN: Mapping[str, object] = {"type": "boolean"}
_PORT: Mapping[str, object] = {"type": "integer", "minimum": 1, "maximum": 65535}


def _counted(least: int) -> Mapping[str, object]:
    return {"type": "integer", "minimum": least, "maximum": MAX_COUNT}


def _amount(pattern: str, *examples: object) -> Mapping[str, object]:
    return {
        "type": ["string", "number", "null"],
        "minimum": 0,
        "pattern": f"^(?:{pattern})$",
        "examples": list(examples),
    }


KEYS: Mapping[str, Key] = {
    "projectname": Key(
        "project",
        _name,
        str,
        {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "Name of the project: the namespace of its files in every store.",
    ),
    "conditions.executorType": Key(
        "executor_type", _name, str, _STRING, "Kind of executor that may take the run."
    ),
    "conditions.location": Key(
        "location", line, str, _STRING, "Where executors of a colony have to be that may take the run."
    ),
    "conditions.nodes": Key("nodes", _count(1), str, _counted(1), "Number of nodes."),
    "conditions.processesPerNode": Key(
        "processes_per_node", _count(1), str, _counted(1), "Number of ranks on each node."
    ),
    "conditions.cpu": Key(
        "cpu_millis",
        parse_cpu,
        format_cpu,
        _amount(CPU, "1000m", 2),
        "CPU for each node: 1000m or 1 is one core.",
    ),
    "conditions.mem": Key(
        "memory_bytes", parse_bytes, format_bytes, _amount(BYTES, "1000Mi", "4Gi"), "Memory for each node."
    ),
    "conditions.walltime": Key(
        "walltime_ms",
        parse_duration_ms,
        format_duration,
        _amount(DURATION, 600, "10m", "01:30:00"),
        "Longest run time: seconds, 10m, 1h30m or HH:MM:SS; 0 is unlimited.",
    ),
    "conditions.gpu.count": Key("gpu.count", _count(0), str, _counted(0), "Number of GPUs on each node."),
    "conditions.gpu.name": Key("gpu.name", str, str, _STRING, "Model of GPU, empty for any."),
    "conditions.requeue": Key(
        "requeue",
        _flag,
        _bool,
        _BOOLEAN,
        "Run the same snapshot again, keeping data and result, until the job ends by itself.",
    ),
    "conditions.maxRequeues": Key(
        "max_requeues", _count(0), str, _counted(0), "How often at most; 0 is the executor's choice."
    ),
    "environment.docker": Key("image", str, str, _STRING, "Container image; empty runs on the host."),
    "environment.rebuildImage": Key(
        "rebuild_image", _flag, _bool, _BOOLEAN, "Build the image again before the run."
    ),
    "environment.init-cmd": Key(
        "init_command", str, str, _STRING, "Shell command that each node runs once before the ranks start."
    ),
    "environment.cmd": Key(
        "command", _command, str, {"type": "string", "minLength": 1}, "Program with its fixed arguments."
    ),
    "environment.source": Key(
        "source", _below_src, str, _STRING, "File below cfs/src, the command's first argument."
    ),
    "environment.engine": Key(
        "engine",
        _one_of(*ENGINES),
        str,
        {"enum": [*ENGINES, None]},
        "Container engine; empty for the executor's choice, none for the host.",
    ),
    "environment.signal": Key(
        "signal",
        _signal,
        str,
        {"type": "string", "pattern": f"^(?:SIG)?({'|'.join(SIGNALS)})(@.+)?$", "examples": ["USR1@60"]},
        "Signal that ranks get before their walltime is over, and how long before.",
    ),
    "slurm.partition": Key(
        "slurm.partition", line, str, _STRING, "Partition; empty takes one whose limits allow the run."
    ),
    "slurm.account": Key("slurm.account", line, str, _STRING, "Account that is charged."),
    "slurm.qos": Key("slurm.qos", line, str, _STRING, "Quality of service."),
    "slurm.constraint": Key("slurm.constraint", line, str, _STRING, "Features that nodes must have."),
    "slurm.reservation": Key("slurm.reservation", line, str, _STRING, "Reservation to run in."),
    "kubernetes.queue": Key(
        "kubernetes.queue",
        _object_name,
        str,
        {"type": "string", "pattern": f"^({_OBJECT.pattern})?$"},
        "Queue of Kueue; empty for the executor's.",
    ),
    "tunnel.user": Key("tunnel.user", str, str, _STRING, "User on the jump host."),
    "tunnel.jumpHost": Key("tunnel.jump_host", str, str, _STRING, "Name of the jump host."),
    "tunnel.jumpHostPort": Key("tunnel.jump_host_port", _port, str, _PORT, "ssh port of the jump host."),
    "tunnel.sshKey": Key("tunnel.ssh_key", str, str, _STRING, "Path of the private key."),
    "tunnel.localPort": Key("tunnel.local_port", _port, str, _PORT, "Port on this machine."),
    "tunnel.remotePort": Key("tunnel.remote_port", _port, str, _PORT, "Port on the compute node."),
    "sync.allowExternalLinks": Key(
        "allow_external_links", _flag, _bool, _BOOLEAN, "Let links in a tree point outside of it."
    ),
}
"""Keys with one plain value."""

REQUIRED = ("projectname", "environment.cmd")
"""Keys that every project has."""

LISTS: Mapping[str, tuple[str, str]] = {
    "conditions.executorNames": ("executor_names", "Names of executors, in order of preference."),
    "environment.args": ("arguments", "Arguments after the source."),
    "slurm.modules": ("slurm.modules", "Environment modules to load, in order."),
    "slurm.directives": ("slurm.directives", "Further options of sbatch, as --name=value."),
}
"""Keys with a list of strings: the field and what it is for."""

_ONE_LINE = ("slurm.modules", "slurm.directives")


def item(path: str, text: str) -> str:
    """One item of a list.

    Raises:
        ValueError: it cannot be one.
    """
    return line(passable(text)) if path in _ONE_LINE else passable(text)


VARIABLES = "environment.env"
"""The key with a mapping of variables for every rank."""

ALIASES: Mapping[str, str] = {"projectid": "projectname"}
"""Keys of older versions of the original."""

IGNORED = ("schemaVersion",)
"""Keys that say something about the file and nothing about the run."""
