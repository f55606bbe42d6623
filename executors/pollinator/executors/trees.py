"""Whole folders of runs: removing one, and having ``src`` as it was for each attempt of a run.

Standard library only: supervisors import it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

PRISTINE = "pristine"
"""In the workspace of a run that may have several attempts: ``src`` as the snapshot says."""


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, also where a program took its own right to write away."""
    shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        return
    for folder, names, _ in os.walk(path):
        for each in (folder, *(os.path.join(folder, name) for name in names)):
            if not os.path.islink(each):
                with contextlib.suppress(OSError):
                    os.chmod(each, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def renew_source(workspace: Path) -> None:
    """Have ``work/src`` as the snapshot says: an earlier attempt may have changed it in place.

    The first attempt keeps a copy for the others. ``data`` and ``result`` are left as they are.

    Raises:
        OSError: there is no room, or the folder cannot be written.
    """
    source, kept = workspace / "work" / "src", workspace / PRISTINE
    if kept.exists():
        remove_tree(source)
        shutil.copytree(kept, source, symlinks=True)
        return
    making = kept.with_suffix(".new")
    remove_tree(making)
    shutil.copytree(source, making, symlinks=True)
    making.rename(kept)
