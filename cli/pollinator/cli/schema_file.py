"""The JSON Schema of project.yaml, and the copy that editors read.

The first line of a new project.yaml names the copy by a ``file:`` address, so that completion and checks work
without a network. The copy lies in the user's configuration folder and not in the installation, whose path
changes with every upgrade of Python; the address is a URI because the editors' language server ends it at the
first space.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pollinator.wire import places

_NAME = "project.schema.json"


def schema_text() -> str:
    """The schema of this installation."""
    return (Path(__file__).parent / "data" / _NAME).read_text("utf-8")


def install_schema() -> Path:
    """Write the copy, if it is not there or another version's, and return its path."""
    folder = places.config_dir()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    text = schema_text()
    with contextlib.suppress(FileNotFoundError):
        if path.read_text("utf-8") == text:
            return path
    beside = path.with_name(f"{_NAME}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    beside.replace(path)
    return path
