"""Another user: root may read everything, so whoever tests what may not be read must be somebody else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
ORDINARY = "pollssh"


@contextmanager
def nobody() -> Generator[None]:
    """Be nobody for a while, if we are root."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that nobody owns and can reach: those of pytest are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="pol-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    for below, _, _ in os.walk(folder):
        Path(below).chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture
def ordinary_user() -> str:
    """An account that is not root's, into which a key lets."""
    if os.getuid():
        pytest.skip("only root can make an account")
    try:
        pwd.getpwnam(ORDINARY)
    except KeyError:
        # A star lets keys in; an account without any password is locked.
        command = ["useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", ORDINARY]
        subprocess.run(command, check=True)
    return ORDINARY
