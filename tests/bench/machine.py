"""Where figures were taken: the machine, the programs and their versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.bed import PEERS
from bench.process import TESTS

MEMORY_DISK = Path("/dev/shm")
ENOUGH = 12 * 1024**3
"""Bytes for the big file, the server's copy, rsync's and some room."""

VERSIONS: dict[str, list[str]] = {
    "restic": ["restic", "version"],
    "rsync": ["rsync", "--version"],
    "git": ["git", "--version"],
    "rclone": [str(PEERS / "rclone"), "version"],
    "s5cmd": [str(PEERS / "s5cmd"), "version"],
    "aws": [str(PEERS / "aws"), "--version"],
    "cp": ["cp", "--version"],
}


def folder_for(rows: Sequence[str]) -> Path:
    """In memory, where that is large enough: what is measured is the programs, not a disk."""
    roomy = MEMORY_DISK.is_dir() and min(_available(), shutil.disk_usage(MEMORY_DISK).free) >= ENOUGH
    return MEMORY_DISK if roomy and "million" not in rows else Path(tempfile.gettempdir())


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return os.getloadavg()[0]


def machine(folder: Path) -> dict[str, object]:
    """Everything that is not a figure."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _first_line(["git", "-C", str(TESTS), "describe", "--always", "--dirty"]),
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "filesystem": _first_line(["stat", "--file-system", "--format=%T", str(folder)]),
        "python": platform.python_version(),
        "versions": {
            **{name: _first_line(command) for name, command in VERSIONS.items()},
            "watchdog": version("watchdog"),
            "boto3": version("boto3"),
        },
    }


def _available() -> int:
    """Bytes of memory that can be had, the cache of files included."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, check=False, text=True).stdout
    return said.partition("\n")[0].strip()
