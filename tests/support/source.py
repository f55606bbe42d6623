"""The project's own files, as git or a source archive holds them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("proto", "pollinatord", "executors", "cli")
"""Every one of them is a source root and holds nothing but ``pollinator/`` to be installed."""


def project_files() -> list[str]:
    """Names of all files of the project, relative to its root: those that git would commit."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return sorted(name for name in listed.split("\0") if name and (ROOT / name).exists())
    patterns = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    return sorted(_files(ROOT, patterns))


def hand_written() -> list[str]:
    """The Python files that people write."""
    return [name for name in project_files() if name.endswith(".py") and "_pb2" not in name]


def copy_sources(target: Path, names: Iterable[str]) -> None:
    """Copy these files and folders, without what Python left there."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target / name)


def _files(folder: Path, ignored: list[str]) -> Iterator[str]:
    for path in folder.iterdir():
        if not any(fnmatch(path.name, pattern) for pattern in ignored):
            if path.is_dir():
                yield from _files(path, ignored)
            else:
                yield path.relative_to(ROOT).as_posix()
