"""Mounts that a test makes, where it may."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Mounts a folder on another, or a new file system; all is unmounted in the end."""
    points: list[Path] = []

    def do(point: Path, what: Path | None = None) -> None:
        source = ["--bind", str(what)] if what else ["-t", "tmpfs", "-o", "mode=755", "none"]
        done = subprocess.run(["mount", *source, str(point)], capture_output=True, check=False)
        if os.geteuid() != 0 or done.returncode:
            pytest.skip("nothing may be mounted here")
        points.append(point)

    yield do
    for point in reversed(points):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def unmount(point: Path) -> None:
    """Also where somebody uses it."""
    subprocess.run(["umount", "--lazy", point], check=True)
