"""What ``pollinator doctor`` can check without a daemon: this installation and its surroundings."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib.util import cache_from_source
from pathlib import Path

from pollinator.wire import places

CLASHING_DISTRIBUTION = "pollinator"

FULL_BYTES = 1 << 20
"""With less than this, not even a log or a socket's folder can be written for sure."""


class Grade(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    grade: Grade
    detail: str
    hint: str = ""


def check_installation(environ: Mapping[str, str]) -> list[Finding]:
    """Look at the installation and the user's folders."""
    return [_path(environ), _bytecode(Path(__file__), environ), _clash(), *_folders()]


def _path(environ: Mapping[str, str]) -> Finding:
    own = Path(sys.executable).parent / "pollinator"
    found = shutil.which("pollinator", path=environ.get("PATH"))
    if found is None:
        return Finding("path", Grade.WARNING, "pollinator is not on PATH", f"add {own.parent} to PATH")
    if own.exists() and not os.path.samefile(os.path.realpath(found), own):
        return Finding(
            "path",
            Grade.WARNING,
            f"pollinator on PATH is {found}, this is {own}",
            "if that is not what you mean, change the order in PATH",
        )
    return Finding("path", Grade.OK, found)


def _bytecode(module: Path, environ: Mapping[str, str]) -> Finding:
    if environ.get("PYTHONDONTWRITEBYTECODE") or sys.dont_write_bytecode:
        return Finding(
            "bytecode",
            Grade.WARNING,
            "PYTHONDONTWRITEBYTECODE is set, so every command compiles the program again",
            "unset it, or run once: python -m compileall " + str(module.parent.parent),
        )
    if not Path(cache_from_source(str(module))).exists() and not os.access(module.parent, os.W_OK):
        return Finding(
            "bytecode",
            Grade.WARNING,
            f"no compiled files in {module.parent}, and they cannot be written",
            "let the owner of the installation run: python -m compileall " + str(module.parent.parent),
        )
    return Finding("bytecode", Grade.OK, "compiled files are kept")


def _clash() -> Finding:
    """Another distribution on PyPI installs a package of our import name."""
    try:
        other = importlib.metadata.version(CLASHING_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", Grade.OK, "no other package of this name")
    return Finding(
        "packages",
        Grade.FAILED,
        f"the unrelated package `pollinator` {other} is installed in the same environment",
        "pip uninstall pollinator, then pip install --force-reinstall pollinatord",
    )


def _folders() -> list[Finding]:
    folders = {
        "settings": places.config_dir(),
        "state": places.state_dir(),
        "caches": places.cache_dir(),
        "sockets": places.runtime_dir(),
    }
    return [_folder(name, path) for name, path in folders.items()]


def _folder(name: str, path: Path) -> Finding:
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(f"folder of {name}", Grade.FAILED, f"{path} cannot be written", f"look at {nearest}")
    if path.exists() and path.stat().st_uid != os.getuid():
        return Finding(
            f"folder of {name}", Grade.FAILED, f"{path} belongs to somebody else", "chown or move it"
        )
    if shutil.disk_usage(nearest).free < FULL_BYTES:
        return Finding(f"folder of {name}", Grade.FAILED, f"the disk of {path} is full", "free some space")
    return Finding(f"folder of {name}", Grade.OK, str(path))
