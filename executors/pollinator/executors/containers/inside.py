"""Where the commands of a run are, on the host or in an image, and what they need to know to be there.

Standard library only, because what runs beside a job imports it.

A rank is started through the image's own shell, which reads the rank's variables from its stdin: there they
are exact whatever they hold, in no argument, in no file and in nothing that the engine keeps.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pollinator.executors.cgroups import WatchedGroup

WORK = "/cfs"
"""The working folder in there, as in the original: holds src, data and result."""

OURS = "/pollinator"
HOME = f"{OURS}/home"
"""Kept from init-cmd to the ranks, and gone with the run."""

PRIVATE = f"{OURS}/private"
FOLDER = "container"
"""In the run's folder: all that a run in an image needs besides its trees."""

_SHELL_OWN = ("UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS")
"""What some shells let nobody set."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CHECK = f"""\
. /dev/stdin
: > {PRIVATE}/$0.began
case $1 in
*/*)
    if [ ! -e "$1" ]; then : > {PRIVATE}/$0.no
    elif [ -d "$1" ] || [ ! -x "$1" ]; then echo mode > {PRIVATE}/$0.no
    fi ;;
*) command -v -- "$1" > /dev/null 2>&1 || : > {PRIVATE}/$0.no ;;
esac
[ ! -e {PRIVATE}/$0.no ] || exit 127
"""
"""Takes the variables from stdin, and sees whether the command can be started at all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a command is started."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    stdin: IO[bytes]
    """To be closed after the start."""


class Inside(ABC):
    """Where a run's commands are: on the host, or in an image. The run's plan says what is called."""

    own_limits = False
    """The run is held to its memory by somebody else."""
    guard: WatchedGroup | None = None
    """By whom, once it has begun, as far as that can be seen."""

    def begin(self) -> str:
        """Prepare; why it cannot be, or nothing."""
        return ""

    def refuses(self, program: str, env: Mapping[str, str]) -> str:
        """Why a program cannot be run, as far as that can be told before."""
        return ""

    @abstractmethod
    def enter(self, rank: int, argv: Sequence[str], env: Mapping[str, str]) -> Entry:
        """How a command is started with these variables."""

    def ended(self, rank: int, code: int) -> tuple[int, str]:
        """What a command ended with, negative for a signal; and why it was never started, if so."""
        return code, ""

    @abstractmethod
    def ask(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """Send a signal to all that runs in there, given the process that was started for each rank."""

    @abstractmethod
    def warn(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """Send a signal to the ranks' own processes alone."""

    def end(self) -> None:
        """Kill all that runs in there, as far as it is not below this process."""
        return

    def close(self) -> None:
        """Let go of what was set up."""
        return

    def cpu_s(self) -> float:
        """Seconds of processor time used in there, as far as they are not this process's children's."""
        return 0.0


class InImage(Inside):
    """In an image, whatever the engine."""

    def __init__(self, workspace: Path, plan: Mapping[str, Any]) -> None:
        about: dict[str, Any] = plan["container"]
        self.workspace = workspace
        self.plan = plan
        self.program = str(about["program"])
        self.image = str(about["image"])
        self.env: dict[str, str] = about["env"]
        self.folder = workspace / FOLDER
        self.private = self.folder / "private"
        self._first: dict[int, str] = {}

    def begin(self) -> str:
        """Prepare; why it cannot be, or nothing."""
        try:
            for path in (self.folder, self.private, self.folder / "home", self.folder / "tmp"):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            return f"the container cannot be prepared: {error}"
        return ""

    def enter(self, rank: int, argv: Sequence[str], env: Mapping[str, str]) -> Entry:
        """How a command is started with these variables, and no others but those of the image."""
        for path in self.private.glob(f"{rank}.*"):
            path.unlink()
        self._first[rank] = argv[0]
        return Entry(self.command(rank, argv), self.env, "/", _as_file({"HOME": HOME, **env}))

    def ended(self, rank: int, code: int) -> tuple[int, str]:
        """What a command ended with, negative for a signal; and why it was never started, if so."""
        refused = self.private / f"{rank}.no"
        if refused.exists():
            if refused.stat().st_size:
                return 127, f"{self._first[rank]!r} is not executable; chmod +x makes it so"
            return 127, f"there is no program {self._first[rank]!r} in the image"
        if code and not (self.private / f"{rank}.began").exists():
            return code, f"{self.program} did not start it in the image; what it said is in the output"
        return self.code(rank, code), ""

    @abstractmethod
    def command(self, rank: int, argv: Sequence[str]) -> list[str]:
        """How the engine is called."""

    def code(self, rank: int, code: int) -> int:
        """What a command ended with, given what the engine's process ended with."""
        return code

    def mounts(self) -> list[tuple[Path, str, str]]:
        """What is where in there, and whether it may be changed."""
        work = self.workspace / "work"
        return [
            (work, WORK, "rw"),
            (work / "src", f"{WORK}/src", "ro"),
            (self.folder, OURS, "rw"),
        ]


def script_of(env: Mapping[str, str]) -> bytes:
    """Sets and exports variables, in the words of every POSIX shell."""
    lines: list[bytes] = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            continue
        quoted = os.fsencode(value).replace(b"'", b"'\\''")
        if name in _SHELL_OWN:
            lines.append(b"command export %s='%s' 2> /dev/null || :\n" % (name.encode(), quoted))
        else:
            lines.append(b"export %s='%s'\n" % (name.encode(), quoted))
    return b"".join(lines)


def _as_file(env: Mapping[str, str]) -> IO[bytes]:
    """The variables in a file that has no name, in memory where there is such a thing."""
    file: IO[bytes]
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("variables", os.MFD_CLOEXEC), "w+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by whoever starts the command
    file.write(script_of(env))
    file.seek(0)
    return file
