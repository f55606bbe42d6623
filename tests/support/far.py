"""A user whose executors are taken for being on another machine: none reaches a store of the daemon."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandbox import Sandbox

FAR = """\
import sys

if "pollinator.daemon.main" in sys.orig_argv:
    from pollinator.daemon.reach.local import LocalProcess

    LocalProcess.near = False
"""
"""Every Python program of the user begins with this."""


@pytest.fixture
def far() -> Iterator[Sandbox]:
    """A sandbox in which the executor is far."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        (box.folder / "python").mkdir()
        (box.folder / "python/sitecustomize.py").write_text(FAR)
        box.env["PYTHONPATH"] = str(box.folder / "python")
        yield box
    finally:
        box.close()
