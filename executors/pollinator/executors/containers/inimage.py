"""Commands of a run in an image, whatever the engine. Standard library only.

A rank is started through the image's own shell, which reads the rank's variables from its stdin: there they
are exact whatever they hold, in no argument, in no file and in nothing that the engine keeps.
"""

from __future__ import annotations

import os
import re
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pollinator.executors.containers.inside import Entry, Inside

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
